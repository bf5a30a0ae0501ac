//! Containers in the background: listed, watched, stopped, started again, removed.

mod common;

use std::io::Write;
use std::process::{Child, Stdio};

use common::printed::Printed;
use common::{Home, code};
use rustix::process::{Pid, Signal, kill_process};

/// Follows a container's log: what its process prints, and the process that prints it here.
fn follow(home: &Home, name: &str) -> (Child, Printed, Printed) {
    let mut child =
        home.hull(&["logs", "-f", name]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hull");
    let stdout = Printed::of(child.stdout.take().expect("its output"));
    let stderr = Printed::of(child.stderr.take().expect("its errors"));
    (child, stdout, stderr)
}

/// The first process of a PID namespace ignores every signal that it has no handler for, SIGTERM too.
#[test]
fn a_container_lives_in_the_background() {
    let Some(home) = Home::with_busybox("a_container_lives_in_the_background") else { return };
    let script = "test -e /kept && echo again; touch /kept; trap 'echo got it' USR1; echo ready; echo oops >&2; \
                  while :; do sleep 0.2; done";
    let id = home.ok(&["run", "-d", "--name", "web", "--label", "a=b", "busybox", "sh", "-c", script]);
    let id = id.trim();
    assert_eq!(id.len(), 64);
    let (mut following, stdout, stderr) = follow(&home, "web");
    stdout.expect("ready\n");
    // Two streams are two connections: neither waits for the other.
    stderr.expect("oops\n");
    assert_eq!(home.ok(&["logs", "web"]), "ready\n");

    let list = home.ok(&["ps"]);
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].starts_with("CONTAINER ID   IMAGE     COMMAND"), "{list}");
    assert!(lines[1].starts_with(&id[..12]) && lines[1].ends_with("web"), "{list}");
    assert!(lines[1].contains("\"sh -c test -e /kept…\""), "{list}");
    assert!(lines[1].contains("Up "), "{list}");
    assert_eq!(home.ok(&["ps", "-q", "--no-trunc"]).trim(), id);

    let shown = home.inspect("web");
    assert_eq!(shown["Id"], id);
    assert_eq!(shown["Name"], "/web");
    assert_eq!(shown["Path"], "sh");
    assert_eq!(shown["State"]["Status"], "running");
    assert_eq!(shown["State"]["Running"], true);
    assert_eq!(shown["Config"]["Labels"]["a"], "b");
    assert!(shown["State"]["Pid"].as_u64().expect("a number") > 0);

    let told: serde_json::Value = serde_json::from_str(&home.ok(&["stats", "--json", "web"])).expect("JSON");
    assert_eq!(told["Name"], "web");
    let memory = |name: &str| told["Memory"][name].as_u64().expect("a size");
    assert!(0 < memory("unshared") && memory("unshared") <= memory("proportional"), "{told}");
    assert!(home.ok(&["stats", "--no-stream"]).lines().nth(1).is_some_and(|line| line.contains("web")));

    home.ok(&["kill", "-s", "USR1", &id[..6]]);
    stdout.expect("got it\n");
    let stamped = home.ok(&["logs", "-t", "web"]);
    assert!(stamped.starts_with("20") && stamped.contains("Z ready\n"), "{stamped}");
    assert_eq!(home.ok(&["logs", "--since", "1h", "--tail", "1", "web"]), "got it\n");
    assert_eq!(home.ok(&["logs", "--until", "1h", "web"]), "");

    let errors = home.fails(1, &["rm", "web"]);
    assert!(errors.contains("cannot remove container \"/web\": container is running"), "{errors}");
    let waiting = home.hull(&["wait", "web"]).stdout(Stdio::piped()).spawn().expect("hull");
    assert_eq!(home.ok(&["stop", "-t", "1", "web"]), "web\n");
    assert_eq!(waiting.wait_with_output().expect("hull").stdout, b"137\n");
    assert_eq!((code(&mut following), stdout.rest().as_str()), (Some(0), ""));
    home.await_quiet();

    assert_eq!(home.ok(&["ps", "-q"]), "");
    assert!(home.ok(&["ps", "-a"]).contains("Exited (137) "));
    let shown = home.inspect("web");
    assert_eq!(shown["State"]["ExitCode"], 137);
    assert_eq!(shown["State"]["Status"], "exited");
    assert_eq!(shown["State"]["OOMKilled"], false);
    assert_eq!(shown["State"]["Error"], "");
    assert!(home.fails(1, &["kill", "web"]).contains("is not running"));
    assert!(home.fails(1, &["attach", "web"]).contains("cannot attach to a stopped container"));
    assert_eq!(home.ok(&["stop", "web"]), "web\n");
    assert!(home.fails(1, &["rmi", "busybox"]).contains("is being used by stopped container"));

    // Started again it has what it wrote, and its log goes on.
    assert_eq!(home.ok(&["start", "web"]), "web\n");
    let (_following, stdout, _) = follow(&home, "web");
    stdout.expect("again\nready\n");
    assert!(home.fails(1, &["rmi", "-f", "busybox"]).contains("is being used by running container"));
    assert_eq!(home.ok(&["rm", "-f", "web"]), "web\n");
    home.nothing_is_left("a removed container");
}

#[test]
fn stop_lets_a_process_end_by_itself() {
    let Some(home) = Home::with_busybox("stop_lets_a_process_end_by_itself") else { return };
    // Not the first process, so SIGTERM has its default action.
    home.ok(&["run", "-d", "--init", "--name", "plain", "busybox", "sleep", "1000"]);
    assert_eq!(home.ok(&["stop", "-t", "200", "plain"]), "plain\n");
    assert_eq!(home.inspect("plain")["State"]["ExitCode"], 143);
    home.ok(&["rm", "plain"]);
    home.nothing_is_left("a container that was stopped");
}

#[test]
fn a_front_end_attaches_to_what_runs() {
    let Some(home) = Home::with_busybox("a_front_end_attaches_to_what_runs") else { return };
    let script = "trap 'exit 7' INT; while read line; do echo \"got $line\"; done; sleep 1000 & wait";
    home.ok(&["run", "-d", "-i", "--stop-signal", "INT", "--name", "echo", "busybox", "sh", "-c", script]);
    let mut front_end =
        home.hull(&["attach", "echo"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("hull");
    let stdout = Printed::of(front_end.stdout.take().expect("its output"));
    let mut stdin = front_end.stdin.take().expect("its input");
    stdin.write_all(b"hello\n").expect("somebody who reads");
    stdout.expect("got hello\n");
    // The end of one front end's input is not that of a container in the background.
    drop(stdin);
    let mut another =
        home.hull(&["attach", "echo"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("hull");
    another.stdin.take().expect("its input").write_all(b"again\n").expect("somebody who reads");
    stdout.expect("got again\n");
    assert_eq!(home.ok(&["stop", "-t", "200", "echo"]), "echo\n");
    assert_eq!((code(&mut front_end), code(&mut another)), (Some(7), Some(7)));
    assert_eq!(stdout.rest(), "");
    assert_eq!(home.ok(&["logs", "echo"]), "got hello\ngot again\n");
}

#[test]
fn signals_to_the_front_end_reach_the_container() {
    let Some(home) = Home::with_busybox("signals_to_the_front_end_reach_the_container") else { return };
    let script =
        "trap 'echo int' INT; trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.2; done";
    let mut front_end = home
        .hull(&["run", "--rm", "busybox", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("hull");
    let stdout = Printed::of(front_end.stdout.take().expect("its output"));
    let signal = |signal| kill_process(Pid::from_child(&front_end), signal).expect("a front end");
    stdout.expect("ready\n");
    signal(Signal::INT);
    stdout.expect("int\n");
    signal(Signal::TERM);
    stdout.expect("term\n");
    assert_eq!((code(&mut front_end), stdout.rest().as_str()), (Some(5), ""));
    home.nothing_is_left("signals");
}
