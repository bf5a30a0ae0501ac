//! VMs that wait for containers.

mod common;

use std::collections::HashSet;

use common::{Home, eventually};

/// Processes that keep a VM that waits.
fn waiting(home: &Home) -> HashSet<u32> {
    let is_waiting = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).nth(2) == Some(b"waiting")
    };
    home.processes().into_iter().filter(is_waiting).collect()
}

/// How many VMs the only pool has.
fn listed(home: &Home) -> u64 {
    let pool: serde_json::Value = serde_json::from_str(&home.ok(&["pool", "ls", "--json"])).expect("a pool");
    assert_eq!(pool["Image"], "busybox");
    assert_eq!(pool["Current"], true);
    pool["Waiting"].as_u64().expect("a number")
}

#[test]
fn containers_take_vms_that_wait_and_others_take_their_place() {
    let Some(home) = Home::with_busybox("containers_take_vms_that_wait_and_others_take_their_place") else {
        return;
    };
    let pool = home.ok(&["pool", "start", "-n", "2", "busybox"]);
    assert_eq!((waiting(&home).len(), listed(&home)), (2, 2));

    let (mut ids, mut keepers) = (HashSet::new(), HashSet::new());
    for name in ["one", "two"] {
        let script = "head -c 16 /dev/urandom | md5sum; hostname; exec sleep 1000";
        let id = home.ok(&["run", "-d", "--name", name, "-e", "A=b", "busybox", "sh", "-c", script]);
        let keeper = home.inspect(name)["State"]["Pid"].as_u64().expect("a pid") as u32;
        assert!(waiting(&home).contains(&keeper), "{name} has keeper {keeper}, which did not wait");
        keepers.insert(keeper);
        eventually("its output", || home.ok(&["logs", name]).lines().count() == 2);
        let said = home.ok(&["logs", name]);
        assert_eq!(said.lines().nth(1), Some(&id[..12]), "{said}");
        assert!(ids.insert(said.lines().next().unwrap_or_default().to_owned()), "{ids:?}");
    }
    let others = || waiting(&home).difference(&keepers).copied().collect::<HashSet<_>>();
    eventually("others to wait", || listed(&home) == 2 && others().len() == 2);

    // What the VMs that wait are not made for is started as ever.
    let before = others();
    assert_eq!(home.ok(&["run", "--rm", "--read-only", "busybox", "echo", "hi"]), "hi\n");
    assert_eq!(others(), before);
    // So is the next, where a keeper was killed; its VM has gone with it.
    for pid in others() {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("to kill it");
    }
    eventually("their end", || others().is_empty());
    assert_eq!(home.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi\n");
    eventually("that container's keeper to fill the pool", || listed(&home) == 2);

    // Another number.
    assert_eq!(home.ok(&["pool", "start", "-n", "1", "busybox"]), pool);
    assert_eq!((others().len(), listed(&home)), (1, 1));
    // The end, while another takes the place of one that is just taken; those that were taken go on.
    home.ok(&["run", "--rm", "-d", "busybox", "true"]);
    assert_eq!(home.ok(&["pool", "stop", pool.trim()]), pool);
    eventually("the end of all that waited", || {
        others().len() <= 1 && home.ok(&["ps", "-q"]).lines().count() == 2
    });
    assert_eq!(home.ok(&["pool", "ls"]).lines().count(), 1);
    assert_eq!(home.ok(&["ps", "-q"]).lines().count(), 2);
    // Stopped, one keeps what it wrote, and is started as ever.
    home.ok(&["stop", "-t", "0", "one"]);
    home.ok(&["start", "one"]);
    home.ok(&["rm", "-f", "one", "two"]);
    home.nothing_is_left("after a pool");
}

#[test]
fn what_cannot_wait_is_refused() {
    let Some(home) = Home::with_busybox("what_cannot_wait_is_refused") else { return };
    assert!(home.fails(1, &["pool", "start", "nothing"]).contains("No such image: nothing"));
    assert!(home.fails(1, &["pool", "start", "-n", "0", "busybox"]).contains("1 to 64"));
    assert!(home.fails(1, &["pool", "start", "--cpus", "9999", "busybox"]).contains("CPUs available"));
    assert!(home.fails(1, &["pool", "stop", "0123456789abcdef"]).contains("no such pool"));
    assert!(home.fails(1, &["pool", "stop", "../containers"]).contains("no such pool"));
    assert_eq!(home.ok(&["pool", "ls"]).lines().count(), 1);
    home.nothing_is_left("after refusals");
}
