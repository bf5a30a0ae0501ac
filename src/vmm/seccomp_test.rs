use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::*;

/// Runs the named test of this file again in a process of its own, where it may be killed.
fn signal_of(test: &str) -> Option<i32> {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("vmm::seccomp::tests::{test}"), "--nocapture", "--test-threads=1"])
        .env("HULL_SECCOMP_CHILD", "1")
        .status()
        .unwrap()
        .signal()
}

fn in_child() -> bool {
    std::env::var_os("HULL_SECCOMP_CHILD").is_some()
}

#[test]
fn every_list_compiles() {
    for thread in [Thread::Events, Thread::Vcpu, Thread::Disk] {
        assert!(!filter(thread).unwrap().is_empty());
    }
}

#[test]
fn opening_a_path_is_the_end() {
    if in_child() {
        confine(&filter(Thread::Events).unwrap()).unwrap();
        let _ = std::fs::File::open("/dev/null");
        return;
    }
    assert_eq!(signal_of("opening_a_path_is_the_end"), Some(libc::SIGSYS));
}

#[test]
fn executable_memory_is_the_end() {
    if in_child() {
        confine(&filter(Thread::Vcpu).unwrap()).unwrap();
        // SAFETY: asks for a fresh mapping and never touches it.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_EXEC, flags, -1, 0)
        };
        return;
    }
    assert_eq!(signal_of("executable_memory_is_the_end"), Some(libc::SIGSYS));
}
