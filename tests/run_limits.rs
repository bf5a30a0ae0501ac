//! Limits of containers.

mod common;

use common::Home;

#[test]
fn a_process_that_takes_more_memory_than_its_limit_is_killed() {
    let Some(home) = Home::with_busybox("a_process_that_takes_more_memory_than_its_limit_is_killed") else {
        return;
    };
    // A file in memory is memory; `tail` keeps all of a file without newlines.
    let output = home.run(&["run", "--name", "big", "-m", "64m", "busybox", "tail", "/dev/zero"]);
    assert_eq!(output.status.code(), Some(137), "{}", String::from_utf8_lossy(&output.stderr));
    let shown: serde_json::Value = serde_json::from_str(&home.ok(&["inspect", "big"])).expect("JSON");
    assert_eq!(shown[0]["State"]["OOMKilled"], true);
    assert_eq!(shown[0]["State"]["ExitCode"], 137);
    assert_eq!(shown[0]["HostConfig"]["Memory"], 64 << 20);
    // Within the limit there is room for what fits.
    let script = "head -c 30000000 /dev/zero | tail -c 30000000 | wc -c; cat /sys/fs/cgroup/memory.max";
    assert_eq!(home.ok(&["run", "--rm", "-m", "64m", "busybox", "sh", "-c", script]), "30000000\n67108864\n");
}

#[test]
fn processes_and_cpus_are_limited() {
    let Some(home) = Home::with_busybox("processes_and_cpus_are_limited") else { return };
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; cat /sys/fs/cgroup/cpu.max";
    let output =
        home.run(&["run", "--rm", "--pids-limit", "5", "--cpus", "0.5", "busybox", "sh", "-c", script]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("fork"), "{errors}");
    let output = home.ok(&[
        "run",
        "--rm",
        "--cpus",
        "0.5",
        "busybox",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/cpu.max; nproc",
    ]);
    assert_eq!(output, "50000 100000\n1\n");
}
