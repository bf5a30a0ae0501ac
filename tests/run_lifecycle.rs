//! Containers in the background: listed, watched, stopped, started again, removed.

mod common;

use std::io::Write;
use std::process::Stdio;

use common::{Home, eventually};

fn inspect(home: &Home, name: &str) -> serde_json::Value {
    let text = home.ok(&["inspect", name]);
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON")[0].take()
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
    eventually("the first output", || home.ok(&["logs", "web"]) == "ready\n");
    // Two streams are two connections: neither waits for the other.
    eventually("the first error", || home.run(&["logs", "web"]).stderr == b"oops\n");

    let list = home.ok(&["ps"]);
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].starts_with("CONTAINER ID   IMAGE     COMMAND"), "{list}");
    assert!(lines[1].starts_with(&id[..12]) && lines[1].ends_with("web"), "{list}");
    assert!(lines[1].contains("\"sh -c test -e /kept…\""), "{list}");
    assert!(lines[1].contains("Up "), "{list}");
    assert_eq!(home.ok(&["ps", "-q", "--no-trunc"]).trim(), id);

    let shown = inspect(&home, "web");
    assert_eq!(shown["Id"], id);
    assert_eq!(shown["Name"], "/web");
    assert_eq!(shown["Path"], "sh");
    assert_eq!(shown["State"]["Status"], "running");
    assert_eq!(shown["State"]["Running"], true);
    assert_eq!(shown["Config"]["Labels"]["a"], "b");
    assert!(shown["State"]["Pid"].as_u64().expect("a number") > 0);

    home.ok(&["kill", "-s", "USR1", &id[..6]]);
    eventually("the signal to arrive", || home.ok(&["logs", "--tail", "1", "web"]) == "got it\n");
    let stamped = home.ok(&["logs", "-t", "web"]);
    assert!(stamped.starts_with("20") && stamped.contains("Z ready\n"), "{stamped}");
    assert_eq!(home.ok(&["logs", "--since", "1h", "--tail", "1", "web"]), "got it\n");
    assert_eq!(home.ok(&["logs", "--until", "1h", "web"]), "");

    let errors = home.fails(1, &["rm", "web"]);
    assert!(errors.contains("cannot remove container \"/web\": container is running"), "{errors}");
    let waiting = home.hull(&["wait", "web"]).stdout(Stdio::piped()).spawn().expect("hull");
    let following = home.hull(&["logs", "-f", "web"]).stdout(Stdio::piped()).spawn().expect("hull");
    assert_eq!(home.ok(&["stop", "-t", "1", "web"]), "web\n");
    assert_eq!(waiting.wait_with_output().expect("hull").stdout, b"137\n");
    assert_eq!(following.wait_with_output().expect("hull").stdout, b"ready\ngot it\n");
    home.await_quiet();

    assert_eq!(home.ok(&["ps", "-q"]), "");
    assert!(home.ok(&["ps", "-a"]).contains("Exited (137) "));
    let shown = inspect(&home, "web");
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
    eventually("the second output", || home.ok(&["logs", "web"]).ends_with("again\nready\n"));
    assert!(home.fails(1, &["rmi", "-f", "busybox"]).contains("is being used by running container"));
    assert_eq!(home.ok(&["rm", "-f", "web"]), "web\n");
    home.await_quiet();
    assert_eq!(home.ok(&["ps", "-aq"]), "");
    let state = home.folder.path().join("state/hull");
    for folder in ["containers", "names"] {
        assert_eq!(std::fs::read_dir(state.join(folder)).expect("a folder").count(), 0, "{folder}");
    }
}

#[test]
fn stop_lets_a_process_end_by_itself() {
    let Some(home) = Home::with_busybox("stop_lets_a_process_end_by_itself") else { return };
    // Not the first process, so SIGTERM has its default action.
    home.ok(&["run", "-d", "--init", "--name", "plain", "busybox", "sleep", "1000"]);
    assert_eq!(home.ok(&["stop", "-t", "100", "plain"]), "plain\n");
    assert_eq!(inspect(&home, "plain")["State"]["ExitCode"], 143);
    home.ok(&["rm", "plain"]);

    let script = "trap 'exit 7' INT; echo ready; while :; do sleep 0.2; done";
    home.ok(&["run", "-d", "--stop-signal", "INT", "--name", "polite", "busybox", "sh", "-c", script]);
    eventually("the handler", || home.ok(&["logs", "polite"]) == "ready\n");
    home.ok(&["stop", "polite"]);
    assert_eq!(inspect(&home, "polite")["State"]["ExitCode"], 7);
}

#[test]
fn a_front_end_attaches_to_what_runs() {
    let Some(home) = Home::with_busybox("a_front_end_attaches_to_what_runs") else { return };
    home.ok(&["run", "-d", "-i", "--name", "echo", "busybox", "cat"]);
    let mut child =
        home.hull(&["attach", "echo"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("hull");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(b"hello\n").expect("somebody who reads");
    eventually("the echo", || home.ok(&["logs", "echo"]) == "hello\n");
    // Its input stays open in the background, so it goes on until it is killed.
    drop(stdin);
    home.ok(&["kill", "echo"]);
    let output = child.wait_with_output().expect("hull");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(137), &b"hello\n"[..]));
}

#[test]
fn signals_to_the_front_end_reach_the_container() {
    let Some(home) = Home::with_busybox("signals_to_the_front_end_reach_the_container") else { return };
    let script =
        "trap 'echo int' INT; trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.2; done";
    let child = home
        .hull(&["run", "--name", "proxy", "busybox", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("hull");
    eventually("the handlers", || home.run(&["logs", "proxy"]).stdout == b"ready\n");
    let signal = |signal| {
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("a front end");
    };
    signal(rustix::process::Signal::INT);
    eventually("the first signal", || home.ok(&["logs", "proxy"]).ends_with("int\n"));
    signal(rustix::process::Signal::TERM);
    let output = child.wait_with_output().expect("hull");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(output.stdout, b"ready\nint\nterm\n");
}
