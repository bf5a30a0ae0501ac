//! Exit codes and error texts of `hull run`, as Docker has them.

mod common;

use common::Home;

/// What needs no VM: the request is refused before.
#[test]
fn requests_that_make_no_sense_are_125() {
    let Some(home) = Home::with_busybox("requests_that_make_no_sense_are_125") else { return };
    for (arguments, expected) in [
        (&["run", "-p", "80:80", "busybox"][..], "hull: --publish: networking is not built yet"),
        (&["run", "-v", "/a:/b", "busybox"], "hull: --volume: volumes and bind mounts are not built yet"),
        (&["run", "--nonsense", "busybox"], "--nonsense"),
        (&["run", "--pull", "never", "nothing"], "No such image: nothing"),
        (&["run", "UPPER", "true"], "invalid reference format"),
        (&["run", "--name=-x", "busybox"], "Invalid container name (-x)"),
        (&["run", "-m", "1m", "busybox"], "Minimum memory limit allowed is 6MB"),
        (&["run", "-m", "100t", "busybox"], "more than the host has"),
        (&["run", "--cpus", "10000", "busybox"], "CPUs available"),
        (&["run", "--entrypoint", "", "busybox"], "no command specified"),
        (&["run", "-w", "relative", "busybox"], "needs to be an absolute path"),
        (&["run", "--cap-add", "NOPE", "busybox"], "unknown capability: \"NOPE\""),
        (&["run", "--ulimit", "nope=1", "busybox"], "--ulimit"),
        (&["run", "--tmpfs", "relative", "busybox"], "mount path must be absolute"),
        (&["run", "--stop-signal", "NOPE", "busybox"], "invalid signal: NOPE"),
        (&["run", "--env-file", "/nonexistent", "busybox"], "/nonexistent"),
        (&["run", "-a", "stdout", "-d", "busybox"], "Conflicting options: -a and -d"),
    ] {
        let errors = home.fails(125, arguments);
        assert!(errors.contains(expected), "hull {arguments:?}: {errors}");
    }
    assert!(home.fails(125, &["run"]).contains("IMAGE"));
    // Nothing is left of any of them.
    assert_eq!(home.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_name_that_is_taken_is_told_with_its_owner() {
    let Some(home) = Home::with_busybox("a_name_that_is_taken_is_told_with_its_owner") else { return };
    let id = home.ok(&["create", "--name", "web", "busybox"]);
    let errors = home.fails(125, &["run", "--name", "web", "busybox", "true"]);
    let expected = format!(
        "hull: Conflict. The container name \"/web\" is already in use by container \"{}\". You have to remove",
        id.trim()
    );
    assert!(errors.starts_with(&expected), "{errors}");
    assert_eq!(home.ok(&["rm", "web"]), "web\n");
    assert!(home.fails(1, &["rm", "web"]).contains("No such container: web"));
}

#[test]
fn the_exit_code_is_the_command_s() {
    let Some(home) = Home::with_busybox("the_exit_code_is_the_command_s") else { return };
    let run = |arguments: &[&str]| {
        let all = [&["run", "--rm", "busybox"], arguments].concat();
        let output = home.run(&all);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run(&["true"]), (Some(0), String::new()));
    assert_eq!(run(&["sh", "-c", "exit 3"]), (Some(3), String::new()));
    // The first process of a namespace cannot be killed from within, so a child is.
    assert_eq!(run(&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]), (Some(137), "Killed\n".to_owned()));
    let (code, errors) = run(&["no-such-command"]);
    assert_eq!(code, Some(127), "{errors}");
    assert!(errors.contains("\"no-such-command\": executable file not found in $PATH"), "{errors}");
    let (code, errors) = run(&["/nowhere/command"]);
    assert_eq!(code, Some(127), "{errors}");
    let (code, errors) = run(&["/etc/passwd"]);
    assert_eq!(code, Some(126), "{errors}");
    assert!(errors.contains("permission denied"), "{errors}");
    home.await_quiet();
    assert_eq!(home.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_user_that_is_not_there_is_125() {
    let Some(home) = Home::with_busybox("a_user_that_is_not_there_is_125") else { return };
    let errors = home.fails(125, &["run", "--rm", "-u", "nobody-here", "busybox", "true"]);
    assert!(errors.contains("unable to find user nobody-here"), "{errors}");
}

#[test]
fn the_process_sees_what_was_asked_for() {
    let Some(home) = Home::with_busybox("the_process_sees_what_was_asked_for") else { return };
    let script = "hostname; pwd; id -u; echo $A-$B-$HOME; cat /sys/fs/cgroup/pids.max; echo $$; mount | grep ' /t '; \
                  touch /x 2>&1; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; cat /etc/hostname";
    let output = home.ok(&[
        "run",
        "--rm",
        "--hostname",
        "ship",
        "-w",
        "/new/dir",
        "-u",
        "7:8",
        "-e",
        "A=1",
        "-e",
        "B=2 3",
        "--pids-limit",
        "50",
        "--read-only",
        "--tmpfs",
        "/t:size=1m",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(&lines[..6], ["ship", "/new/dir", "7", "1-2 3-/", "50", "1"], "{output}");
    assert!(lines[6].contains("size=1024k") && lines[6].contains("noexec"), "{output}");
    assert!(lines[7].contains("Read-only file system"), "{output}");
    assert_eq!(
        &lines[8..],
        ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "ship"],
        "{output}"
    );
}
