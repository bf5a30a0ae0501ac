//! Memory of VMs: one size for all containers, and more when it is needed.

mod common;

use common::Home;

/// Takes memory without touching it, so that it does not take long where guests are slow: pages of a tmpfs, 2 MiB each.
const TAKE: &str = "fallocate -l 400M /t/big && stat -c %s /t/big && grep MemTotal /proc/meminfo";

fn megabytes(line: Option<&str>) -> u64 {
    let kilobytes =
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|word| word.parse::<u64>().ok());
    kilobytes.expect("a size") >> 10
}

#[test]
fn no_memory_limit_makes_another_template() {
    let Some(home) = Home::with_busybox("no_memory_limit_makes_another_template") else { return };
    // Templates of its own: others build, too.
    let cache = home.folder.path().join("cache");
    let hull = |arguments: &[&str]| {
        let output = home.hull(arguments).env("XDG_CACHE_HOME", &cache).output().expect("hull");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let run = |options: &[&str]| {
        let command = ["busybox", "cat", "/sys/fs/cgroup/memory.max"];
        hull(&[&["run", "--rm", "--cpus", "1"], options, &command[..]].concat())
    };
    assert_eq!(run(&[]), "max\n");
    let templates = hull(&["template", "ls"]);
    for limit in [32, 300, 900] {
        assert_eq!(run(&["-m", &format!("{limit}m")]), format!("{}\n", limit << 20));
    }
    assert_eq!(hull(&["template", "ls"]), templates, "one was built, or used as if it were another");
}

#[test]
fn a_vm_gets_more_memory_when_its_container_needs_it() {
    let Some(home) = Home::with_busybox("a_vm_gets_more_memory_when_its_container_needs_it") else { return };
    let told = home.ok(&["run", "--rm", "--tmpfs", "/t:size=1g,huge=always", "busybox", "sh", "-c", TAKE]);
    let mut lines = told.lines();
    assert_eq!(lines.next(), Some("419430400"));
    assert!(megabytes(lines.next()) > 600, "{told}");
}

#[test]
fn a_container_gets_no_more_than_its_limit() {
    let Some(home) = Home::with_busybox("a_container_gets_no_more_than_its_limit") else { return };
    // More than its VM begins with, but less than it takes.
    let limits = ["--name", "big", "-m", "380m", "--tmpfs", "/t:size=1g,huge=always"];
    let output = home.run(&[&["run"], &limits[..], &["busybox", "sh", "-c", TAKE]].concat());
    assert!(!output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("419430400"));
    assert_eq!(home.inspect("big")["HostConfig"]["Memory"], 380 << 20);
}
