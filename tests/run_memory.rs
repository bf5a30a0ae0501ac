//! Memory of VMs: one size for all containers, and more when it is needed.

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use common::Home;

/// Takes memory without touching it, so that it does not take long where guests are slow: pages of a tmpfs, 2 MiB each.
const TAKE: &str = "fallocate -l 400M /t/big && stat -c %s /t/big && grep MemTotal /proc/meminfo";

/// Writes 80 MiB and frees them.
const USE_AND_FREE: &str = "dd if=/dev/zero of=/t/big bs=1M count=80 2>/dev/null && echo used && read free && \
                            rm /t/big && echo freed && read end";

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

/// Four times what the VM begins with.
#[test]
fn a_process_may_ask_for_memory_that_is_still_to_come() {
    let Some(home) = Home::with_busybox("a_process_may_ask_for_memory_that_is_still_to_come") else { return };
    home.ok(&["run", "--rm", "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=2G", "count=0"]);
}

/// dd fills a buffer of 8 MiB: 2048 small pages.
#[test]
fn a_process_gets_memory_in_large_pieces() {
    let Some(home) = Home::with_busybox("a_process_gets_memory_in_large_pieces") else { return };
    let script = "dd if=/dev/zero of=/dev/null bs=8M count=1 2>/dev/null; cut -d' ' -f11 /proc/$$/stat";
    let faults = home.ok(&["run", "--rm", "busybox", "sh", "-c", script]);
    let faults: u32 = faults.trim().parse().expect("page faults of children");
    // The two that are started take some of their own.
    assert!((128..900).contains(&faults), "{faults} page faults");
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

#[test]
fn what_a_container_has_freed_the_host_has_back() {
    let Some(home) = Home::with_busybox("what_a_container_has_freed_the_host_has_back") else { return };
    let options = ["run", "--rm", "-i", "--tmpfs", "/t:size=400m,huge=always", "busybox", "sh", "-c"];
    let mut run = home.hull(&[&options[..], &[USE_AND_FREE]].concat());
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("hull");
    let mut input = run.stdin.take().expect("stdin");
    let mut lines = BufReader::new(run.stdout.take().expect("stdout")).lines();
    let mut expect = |line| assert_eq!(lines.next().expect("a line").expect("text"), line);
    let own = || {
        let vmm = home.find("vmm").expect("a VMM").as_raw_nonzero();
        let rollup = std::fs::read_to_string(format!("/proc/{vmm}/smaps_rollup")).expect("smaps_rollup");
        megabytes(rollup.lines().find(|line| line.starts_with("Anonymous:")))
    };

    expect("used");
    let used = own();
    assert!(used > 80, "{used} MB");
    input.write_all(b"\n").expect("a reader");
    expect("freed");
    let begun = Instant::now();
    while own() + 70 > used {
        assert!(begun.elapsed() < Duration::from_secs(120), "of {used} MB there are still {}", own());
        sleep(Duration::from_millis(100));
    }
    eprintln!("{used} MB are {} MB {:?} later", own(), begun.elapsed());
    input.write_all(b"\n").expect("a reader");
    assert!(run.wait().expect("an end").success());
}
