//! What is done to containers between their start and their end, and what is told of it.

mod common;

use common::{Home, eventually};

#[test]
fn a_container_is_paused_renamed_and_started_again() {
    let Some(home) = Home::with_busybox("a_container_is_paused_renamed_and_started_again") else { return };
    // Nothing is printed while it stands still: each line has the time at which it was printed.
    let script = "echo start; while :; do echo tick; sleep 0.1; done";
    let id = home.ok(&["run", "-d", "--name", "one", "busybox", "sh", "-c", script]);
    let id = id.trim();
    eventually("it to run", || home.ok(&["logs", "one"]).contains("tick"));
    assert_eq!(home.ok(&["pause", "one"]), "one\n");
    let line = home.ok(&["ps"]).lines().nth(1).expect("the container").to_owned();
    assert!(line.contains("(Paused)"), "{line}");
    let state = &home.inspect("one")["State"];
    assert_eq!(
        (&state["Status"], &state["Paused"], &state["Running"]),
        (&"paused".into(), &true.into(), &true.into())
    );
    let before = home.ok(&["logs", "one"]);
    let errors = home.fails(1, &["pause", "one"]);
    assert!(errors.contains("is already paused"), "{errors}");
    assert!(home.fails(1, &["exec", "one", "ls"]).contains("is paused"));
    assert_eq!(home.ok(&["logs", "one"]), before);
    assert!(home.fails(1, &["start", "one"]).contains("try unpause instead"));
    assert!(home.ok(&["stats", "--no-stream"]).contains("one"));
    assert_eq!(home.ok(&["unpause", "one"]), "one\n");
    eventually("it to go on", || home.ok(&["logs", "one"]).len() > before.len());
    assert!(home.fails(1, &["unpause", "one"]).contains("is not paused"));

    assert_eq!(home.ok(&["rename", "one", "two"]), "");
    assert_eq!(home.inspect("two")["Name"], "/two");
    assert!(home.fails(1, &["rename", "one", "three"]).contains("No such container: one"));
    assert!(home.fails(1, &["rename", "two", "two"]).contains("same name"));

    // A pause is no obstacle to a stop.
    home.ok(&["pause", "two"]);
    assert_eq!(home.ok(&["restart", "-t", "0", "two"]), "two\n");
    eventually("it to run again", || home.ok(&["logs", "two"]).matches("start").count() == 2);
    assert_eq!(home.ok(&["container", "ls", "-q", "--no-trunc"]).trim(), id);

    let happened =
        |options: &[&str]| home.ok(&[&["events", "--since", "1h", "--until", "0s"], options].concat());
    let told = happened(&["--filter", "container=two", "--filter", "type=container"]);
    let actions: Vec<_> = told.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    let wanted = ["pause", "unpause", "rename", "pause", "stop", "unpause", "kill", "kill", "die", "start"];
    // What was done under the old name is not the new one's.
    assert!(actions.iter().all(|action| wanted.contains(action)), "{told}");
    assert_eq!(actions.first().zip(actions.last()), Some((&"rename", &"start")), "{told}");
    let told = happened(&["--filter", "event=create", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("a line of JSON");
    assert_eq!((&told["Actor"]["ID"], &told["Actor"]["Attributes"]["name"]), (&id.into(), &"one".into()));

    home.ok(&["run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "1000"]);
    assert!(home.fails(1, &["restart", "brief"]).contains("--rm"));
    home.ok(&["rm", "-f", "brief"]);
    let told: serde_json::Value = serde_json::from_str(&home.ok(&["info", "--json"])).expect("JSON");
    assert_eq!((&told["Containers"], &told["ContainersRunning"]), (&1.into(), &1.into()));
    home.ok(&["create", "--name", "other", "--label", "keep=yes", "busybox"]);
    let told = home.ok(&["container", "prune", "-f", "--filter", "label!=keep"]);
    assert!(told.starts_with("Total reclaimed space: "), "{told}");
    home.ok(&["stop", "-t", "0", "two"]);
    let told = home.ok(&["container", "prune", "-f", "--filter", "label!=keep"]);
    assert!(told.starts_with(&format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: ")), "{told}");
    assert_eq!(home.ok(&["ps", "-aq"]).lines().count(), 1);
    home.ok(&["container", "rm", "other"]);
    home.nothing_is_left("containers that were pruned");
}
