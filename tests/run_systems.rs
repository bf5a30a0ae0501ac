//! Containers that are whole systems: their init divides their cgroup, speaks on their console, and shuts them down.

mod common;

use common::{Home, eventually};

/// Stops a container, which must end by itself, and well.
fn stops(home: &Home, container: &str) {
    home.ok(&["stop", "-t", "280", container]);
    let state = &home.inspect(container)["State"];
    assert_eq!((&state["ExitCode"], &state["Error"]), (&0.into(), &"".into()), "{container}: {state}");
}

#[test]
fn an_init_has_its_own_tree_and_is_told_to_shut_down() {
    let Some(home) = Home::with_busybox("an_init_has_its_own_tree_and_is_told_to_shut_down") else { return };
    // It has no configuration, so that Ctrl-Alt-Del is all that it understands, and has a shell ask for Enter.
    home.ok(&["run", "-d", "--name", "system", "-m", "256m", "--systemd=always", "busybox", "/bin/init"]);
    eventually("the console", || home.ok(&["logs", "system"]).contains("Please press Enter"));
    let script = "cd /sys/fs/cgroup; cat cgroup.controllers; mkdir own && echo 0 >own/cgroup.procs; \
                  for each in $(cat cgroup.procs); do echo $each >own/cgroup.procs; done; \
                  echo +pids +memory >cgroup.subtree_control; cat own/memory.max; \
                  echo max >memory.max; cat memory.max; tr '\\0' '\\n' </proc/1/environ | grep container; \
                  grep -cE ' (/run|/run/lock|/tmp) tmpfs' /proc/mounts";
    let told = home.ok(&["exec", "system", "sh", "-c", &format!("{{ {script}; }} 2>&1")]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "cpuset cpu io memory pids", "{told}");
    assert_eq!(lines[1], "max", "{told}");
    // Its own limit stands, whatever it writes there.
    assert!(lines[2].contains("ermission denied") || lines[2].contains("not permitted"), "{told}");
    assert_eq!(lines[3..], ["268435456", "container=oci", "3"], "{told}");
    // The container's own cgroup has no processes any more, and a further one is beside the first.
    assert_eq!(home.ok(&["exec", "system", "cat", "/proc/self/cgroup"]), "0::/own\n");
    stops(&home, "system");
    home.ok(&["rm", "system"]);

    // What is told not to be one is a process like any other.
    let script = "echo \"[$container]\"; mkdir /sys/fs/cgroup/x 2>&1 | grep -o Read-only";
    let told = home.ok(&["run", "--rm", "--systemd=false", "busybox", "sh", "-c", script]);
    assert_eq!(told, "[]\nRead-only\n");
    home.nothing_is_left("a system");
}
