//! Each of the three processes killed, at each stage: nothing is left behind, and nothing is said that is not so.

mod common;

use std::process::{Child, Stdio};
use std::time::Duration;

use common::printed::Printed;
use common::pty::Terminal;
use common::{Home, code, eventually, soak};
use rustix::process::{Pid, Signal, kill_process};

/// Kills one of the processes of a front end; returns whether it was there.
fn kill(home: &Home, front_end: &mut Child, victim: &str) -> bool {
    if victim == "front end" { front_end.kill().is_ok() } else { home.kill(victim) }
}

#[test]
fn whoever_is_killed_nothing_is_left_of_a_container_that_is_not_kept() {
    let test = "whoever_is_killed_nothing_is_left_of_a_container_that_is_not_kept";
    let Some(home) = Home::with_busybox(test) else { return };
    for victim in ["front end", "keeper", "vmm"] {
        let mut front_end = home
            .hull(&["run", "--rm", "--name", "gone", "busybox", "sh", "-c", "echo ready; exec sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hull");
        let stdout = Printed::of(front_end.stdout.take().expect("its output"));
        let stderr = Printed::of(front_end.stderr.take().expect("its errors"));
        stdout.expect("ready\n");
        assert!(kill(&home, &mut front_end, victim), "no {victim}");
        let (code, errors) = (code(&mut front_end), stderr.rest());
        match victim {
            "keeper" => assert!(errors.contains("keeper was killed"), "{errors}"),
            "vmm" => assert_eq!((code, errors.contains("signal 9")), (Some(137), true), "{errors}"),
            _ => {}
        }
        home.nothing_is_left(victim);
    }
}

#[test]
fn a_container_that_is_kept_is_known_to_have_died() {
    let Some(home) = Home::with_busybox("a_container_that_is_kept_is_known_to_have_died") else { return };
    let died = |name: &str| {
        home.await_quiet();
        assert_eq!(home.ok(&["wait", name]), "137\n");
        let state = &home.inspect(name)["State"];
        assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &137.into()), "{state}");
        assert!(state["Error"].as_str().expect("a text").contains("killed"), "{state}");
        home.ok(&["rm", name]);
        home.nothing_is_left(name);
    };

    // On a terminal: its front end lives on and puts it back.
    let mut terminal = Terminal::start(home.hull(&["run", "-it", "--name", "keeper", "busybox", "sh"]));
    terminal.expect("/ # ");
    home.kill("keeper");
    assert_ne!(code(&mut terminal.child), Some(0));
    assert!(terminal.is_cooked());
    terminal.expect("keeper was killed");
    died("keeper");

    // One that outlives its front end.
    let mut front_end = home
        .hull(&["run", "--name", "vmm", "busybox", "sh", "-c", "echo ready; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("hull");
    Printed::of(front_end.stdout.take().expect("its output")).expect("ready\n");
    front_end.kill().expect("a front end");
    front_end.wait().expect("hull");
    assert!(home.ok(&["ps"]).contains("vmm"));
    home.kill("vmm");
    died("vmm");
}

/// At moments all over a start, when nothing is settled.
#[test]
fn killed_at_any_moment_of_a_start() {
    let Some(home) = Home::with_busybox("killed_at_any_moment_of_a_start") else { return };
    let template = home.ok(&["template", "build", "busybox"]);
    let rounds = if soak() { 100 } else { 12 };
    for round in 0..rounds {
        for victim in ["front end", "keeper", "vmm"] {
            // In turn of a VM that goes on from a template, and of one that boots.
            let options: &[_] = if round % 2 == 0 { &[] } else { &["--no-template"] };
            let mut front_end = home
                .hull(&[&["run", "--rm", "--name", "gone"], options, &["busybox", "true"]].concat())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("hull");
            // Fine steps at first, where most is done, then coarse ones, into what the guest does.
            let step: u64 = round * 12 / rounds;
            std::thread::sleep(Duration::from_micros(500 * step.pow(3) + 7 * round));
            if !kill(&home, &mut front_end, victim) {
                // It is not there yet: do not wait for a boot.
                let _ = front_end.kill();
            }
            code(&mut front_end);
            home.nothing_is_left(&format!("{victim} killed in round {round}"));
        }
    }
    // It was none of the template's fault.
    assert!(home.ok(&["template", "ls"]).contains(template.trim()));
}

#[test]
fn ctrl_c_before_the_container_runs_ends_everything() {
    let Some(home) = Home::with_busybox("ctrl_c_before_the_container_runs_ends_everything") else { return };
    // Else it would end the building of that, and be an end by a signal.
    home.ok(&["template", "build", "busybox"]);
    let mut front_end =
        home.hull(&["run", "--rm", "busybox", "sleep", "1000"]).stderr(Stdio::piped()).spawn().expect("hull");
    let stderr = Printed::of(front_end.stderr.take().expect("its errors"));
    eventually("a VM", || home.find("vmm").is_some());
    kill_process(Pid::from_child(&front_end), Signal::INT).expect("a front end");
    // By itself or, before it has taken its signals, by this one: a shell says 130 of both.
    assert!(matches!(code(&mut front_end), Some(130) | None), "{}", stderr.rest());
    home.nothing_is_left("Ctrl-C");
}
