//! Exit codes and error texts of `hull run`, as Docker has them.

mod common;
mod images;

use std::{fs, process::Command};

use common::Home;
use serde_json::json;

/// What needs no VM: the request is refused before.
#[test]
fn requests_that_make_no_sense_are_125() {
    let Some(home) = Home::with_busybox("requests_that_make_no_sense_are_125") else { return };
    for (arguments, expected) in [
        (&["run", "-p", "80:0", "busybox"][..], "invalid port"),
        (&["run", "--network", "host", "busybox"], "publish its ports with -p"),
        (&["run", "--network", "nothing", "busybox"], "no such network: nothing"),
        (&["run", "--network", "none", "--ip", "172.17.0.9", "busybox"], "conflicting options"),
        (&["run", "--ip", "10.9.9.9", "busybox"], "10.9.9.9 is no address for a container in network bridge"),
        (&["run", "--add-host", "x", "busybox"], "bad format for add-host"),
        (&["run", "--dns", "x", "busybox"], "IP address is not correctly formatted: x"),
        (
            &["run", "--mount", "type=bind,source=/nonexistent,target=/b", "busybox"],
            "bind source path does not exist",
        ),
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
    assert!(errors.lines().any(|line| line.starts_with(&expected)), "{errors}");
    assert_eq!(home.ok(&["rm", "web"]), "web\n");
    assert!(home.fails(1, &["rm", "web"]).contains("No such container: web"));
}

/// Each in a VM of its own, because each is the end of one.
#[test]
fn what_cannot_be_run_is_125_126_or_127() {
    let Some(home) = Home::with_busybox("what_cannot_be_run_is_125_126_or_127") else { return };
    for (code, arguments, expected) in [
        (127, &["busybox", "no-such-command"][..], "\"no-such-command\": executable file not found in $PATH"),
        (126, &["busybox", "/etc/passwd"], "permission denied"),
        (125, &["-u", "nobody-here", "busybox", "true"], "unable to find user nobody-here"),
    ] {
        let errors = home.fails(code, &[&["run", "--rm"], arguments].concat());
        assert!(errors.contains(expected), "{errors}");
        home.nothing_is_left(expected);
    }
}

#[test]
fn the_process_sees_what_was_asked_for_and_its_exit_code_is_hull_s() {
    let test = "the_process_sees_what_was_asked_for_and_its_exit_code_is_hull_s";
    let Some(home) = Home::with_busybox(test) else { return };
    // The first process of a namespace cannot be killed from within, so a child is.
    let script = "hostname; pwd; id -u; echo $A-$B-$HOME; cat /sys/fs/cgroup/pids.max; echo $$; mount | grep ' /t '; \
                  touch /x 2>&1; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; cat /etc/hostname; \
                  sh -c 'kill -9 $$'; echo $?; exit 3";
    let output = home.run(&[
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
    assert_eq!(String::from_utf8_lossy(&output.stderr), "Killed\n");
    assert_eq!(output.status.code(), Some(3));
    let output = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(&lines[..6], ["ship", "/new/dir", "7", "1-2 3-/", "50", "1"], "{output}");
    assert!(lines[6].contains("size=1024k") && lines[6].contains("noexec"), "{output}");
    assert!(lines[7].contains("Read-only file system"), "{output}");
    assert_eq!(
        &lines[8..],
        ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "ship", "137"],
        "{output}"
    );
    home.nothing_is_left("a run");
}

/// An image can ask for what a command line cannot.
#[test]
fn an_images_configuration_that_makes_no_sense_is_told() {
    let test = "an_images_configuration_that_makes_no_sense_is_told";
    let Some(home) = Home::with_busybox(test) else { return };
    // busybox's layer in images of other configurations.
    let archive = common::need_image(test, "busybox").expect("it was there a moment ago");
    let status =
        Command::new("tar").arg("-xf").arg(&archive).arg("0.tar").current_dir(home.folder.path()).status();
    assert!(status.expect("tar").success());
    let layer = fs::read(home.folder.path().join("0.tar")).expect("the layer");
    let load = |name: &str, key: &str, value: serde_json::Value| {
        let mut image = images::parts(name, std::slice::from_ref(&layer));
        image.config["config"]["Cmd"] = json!(["pwd"]);
        image.config["config"][key] = value;
        let path = home.folder.path().join("image.tar");
        fs::write(&path, image.docker_archive()).expect("a file");
        home.ok(&["load", "-i", path.to_str().expect("a path in UTF-8")]);
    };
    load("nobody:latest", "User", json!("nosuchuser"));
    let errors = home.fails(125, &["run", "--rm", "nobody"]);
    assert!(errors.contains("unable to find user nosuchuser"), "{errors}");
    assert_eq!(home.ok(&["run", "--rm", "-u", "0", "nobody"]), "/\n");

    load("idle:latest", "Cmd", json!(null));
    assert!(home.fails(125, &["run", "--rm", "idle"]).contains("no command specified"));
    load("empty:latest", "Cmd", json!([""]));
    assert!(home.fails(125, &["run", "--rm", "empty"]).contains("no command specified"));

    // Docker makes a working directory that is missing.
    load("elsewhere:latest", "WorkingDir", json!("/not/there/yet"));
    assert_eq!(home.ok(&["run", "--rm", "elsewhere"]), "/not/there/yet\n");
    load("relative:latest", "WorkingDir", json!("not/absolute"));
    assert!(home.fails(125, &["run", "--rm", "relative"]).contains("absolute"), "a relative one");
    home.nothing_is_left(test);
}
