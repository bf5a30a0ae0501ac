use super::*;

/// The kernel's machine, as far as filters here use it. Also counts the instructions it ran.
pub fn run(program: &[u64], number: u32, architecture: u32, arguments: [u64; 6]) -> (u32, usize) {
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(architecture.to_ne_bytes());
    data.extend(0x1234_5678_u64.to_ne_bytes());
    arguments.iter().for_each(|argument| data.extend(argument.to_ne_bytes()));
    let (mut at, mut accumulator, mut steps) = (0, 0, 0);
    loop {
        let word = program[at];
        let (code, operand) = ((word >> 48) as u32, word as u32);
        let (jump_true, jump_false) = ((word >> 40) as u8, (word >> 32) as u8);
        at += 1;
        steps += 1;
        let jump = |condition: bool| usize::from(if condition { jump_true } else { jump_false });
        match code {
            0x20 => {
                let bytes = data[operand as usize..operand as usize + 4].try_into().unwrap();
                accumulator = u32::from_ne_bytes(bytes);
            }
            0x54 => accumulator &= operand,
            0x15 => at += jump(accumulator == operand),
            0x25 => at += jump(accumulator > operand),
            0x35 => at += jump(accumulator >= operand),
            0x05 => at += operand as usize,
            0x06 => return (operand, steps),
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn allowed(capabilities: Capabilities, name: &str, arguments: [u64; 6]) -> u32 {
    let (number, _) = syscalls::all().find(|(_, known)| *known == name).unwrap();
    run(&docker_default(capabilities).unwrap(), number, ARCHITECTURE, arguments).0
}

const EPERM: u32 = SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

fn named(names: &[&str]) -> Capabilities {
    Capabilities::DOCKER.with(Capabilities::from_names(names.iter().copied()).unwrap())
}

#[test]
fn the_program_does_what_the_policy_says_for_every_number() {
    let policy = Policy::docker_default().unwrap();
    for capabilities in [Capabilities::NONE, Capabilities::DOCKER, named(&["SYS_ADMIN"]), Capabilities::ALL] {
        let program = docker_default(capabilities).unwrap();
        let names: std::collections::HashMap<u32, &str> = syscalls::all().collect();
        for number in (0..1000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            for argument in [0, 1, 8, 38, 40, 0x11, 0x0002_0000, 0x1000_0000, 0xffff_ffff, 1 << 32 | 40] {
                let expected = match names.get(&number).map(|name| policy.outcome(name, capabilities)) {
                    None => ENOSYS,
                    Some(Outcome::Allow) => SECCOMP_RET_ALLOW,
                    Some(Outcome::Errno(errno)) => SECCOMP_RET_ERRNO | u32::from(errno),
                    Some(Outcome::Check(check)) => {
                        let value = argument as u32 & check.mask;
                        let right = check.is.contains(&value)
                            || (check.is.is_empty() && !check.is_not.contains(&value));
                        if right { SECCOMP_RET_ALLOW } else { EPERM }
                    }
                };
                let result = run(&program, number, ARCHITECTURE, [argument, 0, 0, 0, 0, 0]).0;
                assert_eq!(result, expected, "{:?} with {argument:#x}", names.get(&number));
            }
        }
    }
}

#[test]
fn what_docker_blocks_is_blocked() {
    // The table in Docker's documentation, but for what it allows with the right kernel.
    for name in [
        "acct",
        "add_key",
        "bpf",
        "clock_settime",
        "create_module",
        "delete_module",
        "finit_module",
        "get_kernel_syms",
        "get_mempolicy",
        "init_module",
        "ioperm",
        "iopl",
        "io_uring_setup",
        "kcmp",
        "kexec_file_load",
        "kexec_load",
        "keyctl",
        "lookup_dcookie",
        "mbind",
        "mount",
        "move_pages",
        "nfsservctl",
        "open_by_handle_at",
        "perf_event_open",
        "pivot_root",
        "query_module",
        "quotactl",
        "reboot",
        "request_key",
        "set_mempolicy",
        "setns",
        "settimeofday",
        "swapon",
        "swapoff",
        "sysfs",
        "_sysctl",
        "umount2",
        "unshare",
        "uselib",
        "userfaultfd",
        "ustat",
        "vhangup",
    ] {
        assert_eq!(allowed(Capabilities::DOCKER, name, [0; 6]), EPERM, "{name}");
    }
    assert_eq!(allowed(Capabilities::DOCKER, "clone3", [0; 6]), ENOSYS);
}

#[test]
fn capabilities_unlock_their_calls() {
    for (capability, name) in [
        ("SYS_ADMIN", "mount"),
        ("SYS_ADMIN", "clone3"),
        ("SYS_TIME", "clock_settime"),
        ("SYS_MODULE", "init_module"),
        ("SYSLOG", "syslog"),
        ("BPF", "bpf"),
    ] {
        assert_eq!(allowed(named(&[capability]), name, [0; 6]), SECCOMP_RET_ALLOW, "{name}");
    }
    assert_eq!(allowed(Capabilities::NONE, "chroot", [0; 6]), EPERM);
    assert_eq!(allowed(Capabilities::DOCKER, "chroot", [0; 6]), SECCOMP_RET_ALLOW);
}

#[test]
fn arguments_are_looked_at() {
    let with = |name, argument| allowed(Capabilities::DOCKER, name, [argument, 0, 0, 0, 0, 0]);
    for family in [1, 2, 10, 16, 17] {
        assert_eq!(with("socket", family), SECCOMP_RET_ALLOW, "address family {family}");
    }
    for family in [38, 40, 1 << 32 | 40] {
        assert_eq!(with("socket", family), EPERM, "address family {family}");
    }
    // fork, a thread, and each kind of namespace.
    assert_eq!(with("clone", 0x0120_0011), SECCOMP_RET_ALLOW);
    assert_eq!(with("clone", 0x003d_0f00), SECCOMP_RET_ALLOW);
    for bit in [17, 25, 26, 27, 28, 29, 30] {
        assert_eq!(with("clone", 0x11 | 1 << bit), EPERM, "clone flag {bit}");
    }
    assert_eq!(with("personality", 0xffff_ffff), SECCOMP_RET_ALLOW);
    assert_eq!(with("personality", 0x0040_0000), EPERM);
}

#[test]
fn other_architectures_are_killed() {
    let program = docker_default(Capabilities::ALL).unwrap();
    assert_eq!(run(&program, 1, 0x4000_0003, [0; 6]).0, SECCOMP_RET_KILL_PROCESS);
}

#[test]
fn the_program_is_a_short_search() {
    let program = docker_default(Capabilities::DOCKER).unwrap();
    assert!(program.len() < 300, "{} instructions", program.len());
    let steps = |number| run(&program, number, ARCHITECTURE, [0; 6]).1;
    let longest = (0..syscalls::END).map(steps).max().unwrap();
    assert!(longest <= 16, "{longest} instructions");
}

#[test]
fn a_search_over_more_than_jumps_reach_is_right() {
    let fates: Vec<_> =
        (0..2000).map(|number| (number * 3, Outcome::Errno((number % 4000) as u16))).collect();
    let program: Vec<u64> = [Instruction::load(NUMBER_AT)]
        .into_iter()
        .chain(search(&fates, conclude))
        .map(Instruction::encode)
        .collect();
    for number in 0..6000 {
        assert_eq!(run(&program, number, 0, [0; 6]).0, SECCOMP_RET_ERRNO | (number / 3), "{number}");
    }
}

#[test]
fn every_name_in_the_policy_is_a_system_call_and_a_capability() {
    let text = include_str!("../../../resources/seccomp-default.json");
    let policy: serde_json::Value = serde_json::from_str(text).unwrap();
    let known: std::collections::HashSet<&str> = syscalls::all().map(|(_, name)| name).collect();
    let names = |value: &serde_json::Value| {
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut used = names(&policy["allow"]);
    for (capability, allowed) in policy["allow_with_capability"].as_object().unwrap() {
        assert!(Capabilities::from_names([capability.as_str()]).is_some(), "{capability}");
        used.extend(names(allowed));
    }
    used.extend(policy["allow_with_argument"].as_object().unwrap().keys().cloned());
    for name in used {
        assert!(known.contains(name.as_str()), "{name}");
    }
}
