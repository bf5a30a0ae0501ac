//! Limits of containers.

mod common;

use common::{Home, soak};

#[test]
fn processes_cpus_and_memory_are_limited() {
    let Some(home) = Home::with_busybox("processes_cpus_and_memory_are_limited") else { return };
    // A process too many is refused. The first process may take what is below the limit, but no more.
    // To fill memory takes a while where guests are slow.
    let (limit, more) = if soak() { (64, 80) } else { (16, 32) };
    let script = format!(
        "cd /sys/fs/cgroup; cat cpu.max pids.max memory.max; nproc; \
         dd if=/dev/zero of=/dev/null bs=1M count=1 2>/dev/null && echo fits; \
         (for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done); exec dd if=/dev/zero of=/dev/null bs={more}M"
    );
    let memory = format!("{limit}m");
    let limits = ["-m", &memory, "--cpus", "0.9", "--pids-limit", "5"];
    let output =
        home.run(&[&["run", "--name", "big"], &limits[..], &["busybox", "sh", "-c", &script]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(137), "{errors}");
    let expected = format!("90000 100000\n5\n{}\n1\nfits\n", limit << 20);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{errors}");
    assert!(errors.contains("fork"), "{errors}");
    let shown = home.inspect("big");
    assert_eq!(shown["State"]["OOMKilled"], true);
    assert_eq!(shown["State"]["ExitCode"], 137);
    assert_eq!(shown["HostConfig"]["Memory"], limit << 20);
}
