//! Each of the three processes killed, at each stage: nothing is left behind, and nothing is said that is not so.

mod common;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::{Home, eventually, soak};
use rustix::process::{Pid, Signal, kill_process};

/// Processes of the home that are of this kind: `keeper` or `vmm`.
fn find(home: &Home, kind: &str) -> Option<Pid> {
    home.processes().into_iter().find_map(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<_> = command.split(|byte| *byte == 0).collect();
        let is_kind = words.get(1) == Some(&&b"internal"[..]) && words.get(2) == Some(&kind.as_bytes());
        is_kind.then(|| Pid::from_raw(pid.cast_signed())).flatten()
    })
}

/// Kills one of the processes of a front end, if it is there.
fn kill(home: &Home, front_end: &mut Child, victim: &str) {
    if victim == "front end" {
        let _ = front_end.kill();
    } else if let Some(pid) = find(home, victim) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// No process, no container, no name, no socket, no temporary file.
fn nothing_is_left(home: &Home, what: &str) {
    home.await_quiet();
    assert_eq!(home.ok(&["ps", "-aq"]), "", "{what}");
    let state = home.folder.path().join("state/hull");
    assert_eq!(entries(&state.join("containers")), 0, "{what}");
    assert_eq!(entries(&state.join("names")), 0, "{what}");
    let others: Vec<_> = std::fs::read_dir(&state)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .filter(|name| !["containers", "names", "lock", "events"].contains(&name.as_str()))
        .collect();
    assert!(others.is_empty(), "{what}: {others:?}");
}

#[test]
fn whoever_is_killed_nothing_is_left_of_a_container_that_is_not_kept() {
    let test = "whoever_is_killed_nothing_is_left_of_a_container_that_is_not_kept";
    let Some(home) = Home::with_busybox(test) else { return };
    for victim in ["front end", "keeper", "vmm"] {
        let mut front_end = home
            .hull(&["run", "--rm", "--name", "gone", "busybox", "sh", "-c", "echo ready; sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hull");
        eventually("the container to run", || home.run(&["logs", "gone"]).stdout == b"ready\n");
        kill(&home, &mut front_end, victim);
        let output = front_end.wait_with_output().expect("hull");
        let errors = String::from_utf8_lossy(&output.stderr);
        match victim {
            "keeper" => assert!(errors.contains("keeper was killed"), "{errors}"),
            "vmm" => {
                assert_eq!((output.status.code(), errors.contains("signal 9")), (Some(137), true), "{errors}")
            }
            _ => {}
        }
        nothing_is_left(&home, victim);
    }
}

#[test]
fn a_container_that_is_kept_outlives_its_front_end_and_is_known_to_have_died() {
    let test = "a_container_that_is_kept_outlives_its_front_end_and_is_known_to_have_died";
    let Some(home) = Home::with_busybox(test) else { return };
    for victim in ["keeper", "vmm"] {
        let mut front_end = home
            .hull(&["run", "--name", victim, "busybox", "sh", "-c", "echo ready; sleep 1000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("hull");
        eventually("the container to run", || home.run(&["logs", victim]).stdout == b"ready\n");
        kill(&home, &mut front_end, "front end");
        front_end.wait().expect("hull");
        assert!(home.ok(&["ps"]).contains(victim));
        kill(&home, &mut front_end, victim);
        home.await_quiet();
        assert_eq!(home.ok(&["wait", victim]), "137\n");
        let shown: serde_json::Value = serde_json::from_str(&home.ok(&["inspect", victim])).expect("JSON");
        assert_eq!(shown[0]["State"]["Status"], "exited");
        assert!(shown[0]["State"]["Error"].as_str().expect("a text").contains("killed"), "{shown}");
        home.ok(&["rm", victim]);
        nothing_is_left(&home, victim);
    }
}

/// At moments all over the first second of a start, when nothing is settled.
#[test]
fn killed_at_any_moment_of_a_start() {
    let Some(home) = Home::with_busybox("killed_at_any_moment_of_a_start") else { return };
    let rounds = if soak() { 100 } else { 12 };
    for round in 0..rounds {
        for victim in ["front end", "keeper", "vmm"] {
            let mut front_end = home
                .hull(&["run", "--rm", "--name", "gone", "busybox", "true"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("hull");
            // Fine steps at first, where most is done, then coarse ones.
            std::thread::sleep(Duration::from_micros(300 * round * round));
            kill(&home, &mut front_end, victim);
            if find(&home, "vmm").is_some() || find(&home, "keeper").is_some() {
                // Nobody was hit, or a front end was: the keeper ends by itself. Do not wait for a boot.
                let _ = front_end.kill();
            }
            front_end.wait().expect("hull");
            nothing_is_left(&home, &format!("{victim} killed in round {round}"));
        }
    }
}

#[test]
fn ctrl_c_before_the_container_runs_ends_everything() {
    let Some(home) = Home::with_busybox("ctrl_c_before_the_container_runs_ends_everything") else { return };
    let front_end =
        home.hull(&["run", "--rm", "busybox", "sleep", "1000"]).stderr(Stdio::piped()).spawn().expect("hull");
    eventually("a VM", || find(&home, "vmm").is_some());
    kill_process(Pid::from_child(&front_end), Signal::INT).expect("a front end");
    let output = front_end.wait_with_output().expect("hull");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    nothing_is_left(&home, "Ctrl-C");
}
