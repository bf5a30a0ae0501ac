use super::*;

#[test]
fn limits_become_files() {
    let limits = Limits {
        memory: Some(64 << 20),
        guest_memory: Some(1 << 30),
        cpus: Some(3),
        cpu_millis: Some(1500),
        pids: Some(20),
        cpuset: String::new(),
        cpu_weight: Some(39),
        memory_low: Some(7 << 20),
        ..Limits::default()
    };
    let text: Vec<_> = settings(&limits).into_iter().map(|(c, f, v)| format!("{c} {f} {v}")).collect();
    assert_eq!(
        text,
        [
            "memory memory.max 67108864",
            "memory memory.swap.max 0",
            "cpuset cpuset.cpus 0-2",
            "cpu cpu.max 150000 100000",
            "cpu cpu.weight 39",
            "memory memory.low 7340032",
            "pids pids.max 20",
        ]
    );
}

#[test]
fn no_limits_switch_no_controller_on() {
    assert!(settings(&Limits::default()).is_empty());
}

#[test]
fn the_smallest_share_of_a_cpu_is_one_the_kernel_takes() {
    let limits = Limits { cpu_millis: Some(1), ..Limits::default() };
    assert_eq!(settings(&limits)[0].2, "1000 100000");
    let limits = Limits { cpu_millis: Some(500), cpu_period: Some(20_000), ..Limits::default() };
    assert_eq!(settings(&limits)[0].2, "10000 20000");
}

#[test]
fn what_is_no_disk_is_not_limited() {
    let limit = |device: &str| DiskLimit { device: device.to_owned(), what: DiskCount::Reads, rate: 5 };
    for device in ["/dev/null", "/nonexistent", ""] {
        let failure = disk_setting(&limit(device)).unwrap_err();
        assert!(failure.message.ends_with("is no disk of the guest"), "{}", failure.message);
    }
}

#[test]
fn counters_are_found_by_their_whole_name() {
    let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
    assert_eq!(counter(events, "oom_kill"), 2);
    assert_eq!(counter(events, "oom"), 3);
    assert_eq!(counter(events, "kill"), 0);
    assert_eq!(counter("oom_kill many", "oom_kill"), 0);
}
