use serde_json::{Value, json};

use super::{
    super::{ARCHITECTURE as MACHINE_NUMBER, LONGEST as MOST_INSTRUCTIONS, of_profile, tests::run},
    *,
};

const EPERM: u32 = SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

fn number(name: &str) -> u32 {
    syscalls::all().find(|(_, known)| *known == name).unwrap().0
}

/// What becomes of a call with these arguments.
fn outcome(document: &Value, name: &str, arguments: [u64; 6]) -> u32 {
    let program = of_profile(&document.to_string(), Capabilities::DOCKER, false).unwrap();
    run(&program, number(name), MACHINE_NUMBER, arguments).0
}

fn error(document: &Value) -> String {
    of_profile(&document.to_string(), Capabilities::DOCKER, false).unwrap_err().to_string()
}

fn one(entry: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry] })
}

#[test]
fn a_profile_of_docker_s_form_does_what_it_says() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] }],
        "syscalls": [
            { "names": ["read", "chown32", "write"], "action": "SCMP_ACT_ALLOW", "comment": "some are of other machines" },
            { "name": "mkdir", "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": null },
            { "names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS" },
            { "names": ["tkill"], "action": "SCMP_ACT_KILL" },
            { "names": ["tgkill"], "action": "SCMP_ACT_TRAP" },
            { "names": ["getpid"], "action": "SCMP_ACT_LOG" },
            { "names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "4.8" } },
            { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
            { "names": ["umount2"], "action": "SCMP_ACT_ALLOW", "excludes": { "caps": ["CAP_SYS_ADMIN"] } },
            { "names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["s390", "s390x"] } },
            { "names": ["reboot"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "99.0" } },
        ],
    });
    for (name, expected) in [
        ("read", SECCOMP_RET_ALLOW),
        ("write", SECCOMP_RET_ALLOW),
        ("mkdir", SECCOMP_RET_ERRNO | 28),
        ("kill", SECCOMP_RET_KILL_PROCESS),
        ("tkill", SECCOMP_RET_KILL_THREAD),
        ("tgkill", SECCOMP_RET_TRAP),
        ("getpid", SECCOMP_RET_LOG),
        ("ptrace", SECCOMP_RET_ALLOW),
        ("mount", ENOSYS),
        ("umount2", SECCOMP_RET_ALLOW),
        ("chroot", ENOSYS),
        ("reboot", ENOSYS),
        ("open", ENOSYS),
    ] {
        assert_eq!(outcome(&profile, name, [0; 6]), expected, "{name}");
    }
    let with = Capabilities::from_names(["SYS_ADMIN"]).unwrap();
    let profile = Profile::read(&profile.to_string(), with).unwrap();
    assert_eq!(profile.fate("mount").otherwise, SECCOMP_RET_ALLOW);
    assert_eq!(profile.fate("umount2").otherwise, ENOSYS);
}

#[test]
fn arguments_are_compared_in_all_their_bits() {
    let values = [0, 1, 7, 8, 9, 0xffff_ffff, 1 << 32, 1 << 32 | 8, 1 << 40, u64::MAX - 1, u64::MAX];
    type Truth = fn(u64, u64, u64) -> bool;
    let operators: [(&str, Truth); 7] = [
        ("EQ", |a, b, _| a == b),
        ("NE", |a, b, _| a != b),
        ("GT", |a, b, _| a > b),
        ("GE", |a, b, _| a >= b),
        ("LT", |a, b, _| a < b),
        ("LE", |a, b, _| a <= b),
        ("MASKED_EQ", |a, mask, b| a & mask == b & mask),
    ];
    for (name, holds) in operators {
        for value in values {
            let argument =
                json!({ "index": 5, "value": value, "valueTwo": 8, "op": format!("SCMP_CMP_{name}") });
            let profile =
                one(json!({ "names": ["mmap"], "action": "SCMP_ACT_ERRNO", "args": [argument] })).to_string();
            let program = of_profile(&profile, Capabilities::DOCKER, false).unwrap();
            for given in values {
                let expected = if holds(given, value, 8) { EPERM } else { SECCOMP_RET_ALLOW };
                let result = run(&program, number("mmap"), MACHINE_NUMBER, [9, 9, 9, 9, 9, given]).0;
                assert_eq!(result, expected, "{given:#x} {name} {value:#x}");
            }
        }
    }
}

#[test]
fn conditions_hold_together_and_rules_one_by_one() {
    let equal = |index: u8, value: u64| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    let both =
        one(json!({ "names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [equal(0, 1), equal(1, 2)] }));
    assert_eq!(outcome(&both, "ioctl", [1, 2, 0, 0, 0, 0]), EPERM);
    assert_eq!(outcome(&both, "ioctl", [1, 3, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
    assert_eq!(outcome(&both, "ioctl", [0, 2, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
    let either =
        one(json!({ "names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [equal(0, 1), equal(0, 2)] }));
    for (argument, expected) in [(1, EPERM), (2, EPERM), (3, SECCOMP_RET_ALLOW)] {
        assert_eq!(outcome(&either, "ioctl", [argument, 0, 0, 0, 0, 0]), expected);
    }
    // All six arguments, and a rule for the rest: the longest jumps there are.
    let all: Vec<Value> = (0..6).map(|index| equal(index, u64::from(index) << 33)).collect();
    let mut six = one(json!({ "names": ["mmap"], "action": "SCMP_ACT_ERRNO", "args": all }));
    six["syscalls"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "names": ["mmap"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7, "args": [equal(5, 1)] }));
    let right = [0, 1, 2, 3, 4, 5].map(|index: u64| index << 33);
    assert_eq!(outcome(&six, "mmap", right), EPERM);
    for wrong in 0..6 {
        let mut arguments = right;
        arguments[wrong] += 1;
        assert_eq!(outcome(&six, "mmap", arguments), SECCOMP_RET_ALLOW, "argument {wrong}");
    }
    assert_eq!(outcome(&six, "mmap", [0, 0, 0, 0, 0, 1]), SECCOMP_RET_ERRNO | 7);
    // The broader rule wins, wherever it stands.
    let mut broad = either;
    broad["syscalls"].as_array_mut().unwrap().push(json!({ "names": ["ioctl"], "action": "SCMP_ACT_LOG" }));
    assert_eq!(outcome(&broad, "ioctl", [1, 0, 0, 0, 0, 0]), SECCOMP_RET_LOG);
}

#[test]
fn an_entry_that_says_what_is_done_anyway_is_no_rule() {
    let netlink = json!([{ "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }]);
    let result = |default: &str, broad: Value, narrow: &str, family| {
        let narrow = json!({ "names": ["socket"], "action": narrow, "args": netlink });
        // Wherever it stands.
        let results = [vec![broad.clone(), narrow.clone()], vec![narrow, broad]].map(|entries| {
            let document = json!({ "defaultAction": default, "syscalls": entries });
            outcome(&document, "socket", [family, 0, 0, 0, 0, 0])
        });
        assert_eq!(results[0], results[1], "{default} {family}");
        results[0]
    };
    let broad = |action: &str| json!({ "names": ["socket"], "action": action });
    let (allow, refuse) = ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO");
    assert_eq!(result(allow, broad(allow), refuse, 16), EPERM);
    assert_eq!(result(allow, broad(allow), refuse, 2), SECCOMP_RET_ALLOW);
    assert_eq!(result(refuse, broad(refuse), allow, 16), SECCOMP_RET_ALLOW);
    assert_eq!(result(refuse, broad(refuse), allow, 2), EPERM);
    // Another error is another action.
    let other = json!({ "names": ["socket"], "action": refuse, "errnoRet": 22 });
    assert_eq!(result(refuse, other, allow, 16), SECCOMP_RET_ERRNO | 22);
}

#[test]
fn a_profile_of_podman_s_form_is_read() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "defaultErrno": "ENOSYS",
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] }],
        "architectures": null,
        "flags": null,
        "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {} },
            { "names": ["bpf"], "action": "SCMP_ACT_ERRNO", "args": null, "comment": null, "includes": null,
              "excludes": { "caps": ["CAP_SYS_ADMIN"], "arches": null }, "errnoRet": 1, "errno": "EPERM" },
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errno": "EINVAL", "includes": { "caps": null } },
            { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errno": "EINVAL", "errnoRet": 28 },
            { "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errno": "", "errnoRet": null },
        ],
    });
    for (name, expected) in [
        ("read", SECCOMP_RET_ALLOW),
        ("bpf", EPERM),
        ("socket", SECCOMP_RET_ERRNO | 22),
        ("mkdir", SECCOMP_RET_ERRNO | 28),
        ("kill", EPERM),
        ("open", ENOSYS),
    ] {
        assert_eq!(outcome(&profile, name, [0; 6]), expected, "{name}");
    }
    let named = json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS", "archMap": null, "syscalls": null });
    assert_eq!(outcome(&named, "read", [0; 6]), ENOSYS);
    let unknown = json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOTHING" });
    assert!(error(&unknown).contains("ENOTHING"), "{}", error(&unknown));
}

#[test]
fn calls_that_nobody_knows_of_are_granted_by_those_who_grant_all() {
    let unknown = |action: &str| {
        let profile = json!({ "defaultAction": action }).to_string();
        let program = of_profile(&profile, Capabilities::DOCKER, false).unwrap();
        run(&program, 3000, MACHINE_NUMBER, [0; 6]).0
    };
    assert_eq!(unknown("SCMP_ACT_ALLOW"), SECCOMP_RET_ALLOW);
    assert_eq!(unknown("SCMP_ACT_KILL_PROCESS"), ENOSYS);
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW" }).to_string();
    let program = of_profile(&profile, Capabilities::DOCKER, false).unwrap();
    assert_eq!(run(&program, 1, 0x4000_0003, [0; 6]).0, SECCOMP_RET_KILL_PROCESS, "another machine's calls");
}

#[test]
fn in_a_shared_vm_no_profile_leads_to_the_host() {
    for profile in [
        json!({ "defaultAction": "SCMP_ACT_ALLOW" }),
        one(json!({ "names": ["socket", "io_uring_setup"], "action": "SCMP_ACT_ALLOW" })),
        one(
            json!({ "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 40, "op": "SCMP_CMP_EQ" }] }),
        ),
    ] {
        let program = of_profile(&profile.to_string(), Capabilities::DOCKER, true).unwrap();
        let result = |name, family| run(&program, number(name), MACHINE_NUMBER, [family, 0, 0, 0, 0, 0]).0;
        assert_eq!(result("socket", 40), EPERM);
        assert_eq!(result("socket", 1 << 32 | 40), EPERM);
        assert_eq!(result("socket", 2), SECCOMP_RET_ALLOW);
        assert_eq!(result("io_uring_setup", 2), EPERM);
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let rule = |entry: Value| one(entry);
    let argument =
        |argument: Value| rule(json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [argument] }));
    for (document, expected) in [
        (json!([]), "invalid seccomp profile"),
        (json!({}), "defaultAction"),
        (json!({ "defaultAction": "SCMP_ACT_MAYBE" }), "SCMP_ACT_MAYBE"),
        (json!({ "defaultAction": "SCMP_ACT_NOTIFY" }), "SCMP_ACT_NOTIFY"),
        (json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x" }), "listenerPath"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"] }),
            "SECCOMP_FILTER_FLAG_LOG",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ARM"] }),
            "SCMP_ARCH_X86_64",
        ),
        (json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096 }), "4096"),
        (json!({ "defaultAction": "SCMP_ACT_ALLOW", "rules": [] }), "rules"),
        (rule(json!({ "names": [], "action": "SCMP_ACT_ALLOW" })), "names"),
        (rule(json!({ "name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW" })), "either"),
        (rule(json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 70000 })), "70000"),
        (rule(json!({ "names": ["read"], "action": "x", "includes": { "caps": ["CAP_BPF"] } })), "\"x\""),
        (
            rule(
                json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "new" } }),
            ),
            "new",
        ),
        (argument(json!({ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" })), "index 6"),
        (argument(json!({ "index": 0, "value": -1, "op": "SCMP_CMP_EQ" })), "-1"),
        (argument(json!({ "index": 0, "value": 0, "op": "==" })), "=="),
    ] {
        let message = error(&document);
        assert!(message.contains(expected), "{document}: {message}");
    }
    let conditions: Vec<Value> = (0..MOST_INSTRUCTIONS)
        .map(|value| json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }))
        .collect();
    let message = error(&rule(json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": conditions })));
    assert!(message.contains("are possible"), "{message}");
    let conditions = vec![json!({ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }); 3000];
    let names = ["read", "write", "open", "read"].repeat(1000);
    let message = error(&rule(json!({ "names": names, "action": "SCMP_ACT_ERRNO", "args": conditions })));
    assert!(message.contains("more than"), "{message}");
    let long = format!("{{\"defaultAction\":\"{}\"}}", "x".repeat(LONGEST));
    assert!(Profile::read(&long, Capabilities::DOCKER).is_err());
}
