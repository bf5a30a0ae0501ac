//! Containers that are started again when they end, and those whose health is watched.

mod common;

use common::{Home, eventually};

#[test]
fn a_container_is_started_again_as_its_policy_says() {
    let Some(home) = Home::with_busybox("a_container_is_started_again_as_its_policy_says") else { return };
    assert!(
        home.fails(125, &["run", "--rm", "--restart", "always", "busybox"]).contains("Conflicting options")
    );
    assert!(home.fails(125, &["run", "--restart", "often", "busybox"]).contains("invalid restart policy"));

    // Its writable layer stays, and it is counted.
    let script = "echo x >> /runs; echo run $(wc -l < /runs); exit 3";
    home.ok(&["run", "-d", "--name", "failing", "--restart", "on-failure:2", "busybox", "sh", "-c", script]);
    let status = |name: &str| home.ok(&["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name]);
    eventually("it to be given up", || status("failing") == "exited 2\n");
    assert_eq!(home.ok(&["logs", "failing"]), "run 1\nrun 2\nrun 3\n");
    let told = home.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--format",
        "{{.Action}}",
        "--filter",
        "container=failing",
    ]);
    assert_eq!(
        told.split_whitespace().collect::<Vec<_>>(),
        ["create", "start", "die", "start", "die", "start", "die"]
    );

    // What ends well has not failed.
    home.ok(&["run", "-d", "--name", "fine", "--restart", "on-failure", "busybox", "true"]);
    assert_eq!(home.ok(&["wait", "fine"]), "0\n");
    eventually("it to be over", || status("fine") == "exited 0\n");

    // What is stopped stays so, whether it runs or waits to.
    home.ok(&[
        "run",
        "-d",
        "--name",
        "always",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "sleep 1; exit 0",
    ]);
    eventually("it to be started again", || home.inspect("always")["RestartCount"].as_u64() >= Some(1));
    assert_eq!(home.ok(&["ps", "-q", "--filter", "name=always"]).lines().count(), 1);
    assert_eq!(home.ok(&["stop", "-t", "0", "always"]), "always\n");
    let count = status("always");
    assert!(count.starts_with("exited "), "{count}");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(status("always"), count);
    home.ok(&["start", "always"]);
    eventually("it to run", || status("always").starts_with("running 0"));
    home.ok(&["rm", "-f", "always", "failing", "fine"]);
    home.nothing_is_left("containers with restart policies");
}

#[test]
fn the_health_of_a_container_is_watched() {
    let Some(home) = Home::with_busybox("the_health_of_a_container_is_watched") else { return };
    let check = "test -e /well && echo is well || { echo is ill; exit 4; }";
    home.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--health-cmd",
        check,
        "--health-interval",
        "200ms",
        "--health-retries",
        "2",
        "--health-timeout",
        "100s",
        "busybox",
        "sleep",
        "100000",
    ]);
    let health = || home.ok(&["inspect", "-f", "{{.State.Health.Status}}", "web"]);
    let status = || home.ok(&["ps", "--format", "{{.Status}}"]);
    assert!(["starting\n", "unhealthy\n"].contains(&&*health()));
    eventually("it to be unhealthy", || health() == "unhealthy\n");
    assert!(status().trim().ends_with("(unhealthy)"), "{}", status());
    let told = &home.inspect("web")["State"]["Health"];
    let last = told["Log"].as_array().and_then(|log| log.last()).expect("a result");
    assert_eq!((&last["ExitCode"], &last["Output"]), (&4.into(), &"is ill\n".into()));
    assert!(told["FailingStreak"].as_u64() >= Some(2), "{told}");
    home.ok(&["exec", "web", "touch", "/well"]);
    eventually("it to be healthy", || health() == "healthy\n");
    assert!(status().trim().ends_with("(healthy)"), "{}", status());
    assert_eq!(home.ok(&["ps", "-q", "--filter", "health=healthy"]).lines().count(), 1);
    assert_eq!(home.ok(&["ps", "-q", "--filter", "health=unhealthy"]), "");
    let told = home.ok(&["events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}"]);
    let changes: Vec<_> = told.lines().filter(|line| line.starts_with("health_status")).collect();
    assert_eq!(changes, ["health_status: unhealthy", "health_status: healthy"]);
    home.ok(&["rm", "-f", "web"]);

    // One that takes too long has failed, and does not go on.
    home.ok(&[
        "run",
        "-d",
        "--name",
        "slow",
        "--health-cmd",
        "sleep 1234",
        "--health-interval",
        "100ms",
        "--health-timeout",
        "300ms",
        "--health-retries",
        "1",
        "busybox",
        "sleep",
        "100000",
    ]);
    let health = || home.inspect("slow")["State"]["Health"].clone();
    eventually("it to be unhealthy", || health()["Status"] == "unhealthy");
    assert_eq!(health()["Log"][0]["ExitCode"], -1);
    let output = health()["Log"][0]["Output"].as_str().unwrap_or_default().to_owned();
    assert!(output.contains("exceeded timeout (0.3s)"), "{output}");
    home.ok(&["rm", "-f", "slow"]);
    home.nothing_is_left("containers with health checks");
}
