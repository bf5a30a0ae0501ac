use super::*;

fn refusal(host_config: &HostConfig) -> String {
    check(host_config).unwrap_err().to_string()
}

#[test]
fn shares_become_weights_as_docker_s_do() {
    assert_eq!(
        [0, 1, 2, 1024, 262_144, u64::MAX].map(weight),
        [None, Some(1), Some(1), Some(39), Some(10_000), Some(10_000)]
    );
}

#[test]
fn a_quota_is_a_number_of_cpus() {
    let cpus = |cpu_quota, cpu_period| HostConfig { cpu_quota, cpu_period, ..HostConfig::default() }.cpus();
    assert_eq!(cpus(50_000, 0), 500_000_000);
    assert_eq!(cpus(30_000, 20_000), 1_500_000_000);
    assert_eq!((cpus(-1, 20_000), cpus(0, 0)), (0, 0));
    assert_eq!(cpus(i64::MAX, 1000), u64::MAX);
    assert_eq!(HostConfig { nano_cpus: 7, ..HostConfig::default() }.cpus(), 7);
}

#[test]
fn what_cannot_be_is_refused_in_docker_s_words() {
    let mib = 1u64 << 20;
    let none = HostConfig::default;
    check(&HostConfig { memory: 64 * mib, memory_swap: -1, memory_reservation: 32 * mib, ..none() }).unwrap();
    check(&HostConfig { memory: 64 * mib, memory_swap: 128 << 20, ..none() }).unwrap();
    for (host_config, expected) in [
        (HostConfig { cpu_shares: 512, ..none() }, "--cpu-shares"),
        (HostConfig { memory_reservation: mib, ..none() }, "Minimum memory reservation"),
        (
            HostConfig { memory: 8 * mib, memory_reservation: 9 * mib, ..none() },
            "less than memory reservation",
        ),
        (HostConfig { memory_swap: 1 << 30, ..none() }, "always set the Memory limit"),
        (HostConfig { memory: 64 * mib, memory_swap: 1 << 20, ..none() }, "larger than memory limit"),
        (HostConfig { memory_swap: -2, ..none() }, "larger than memory limit"),
        (HostConfig { nano_cpus: 1, cpu_quota: 5000, ..none() }, "Nano CPUs and CPU Quota"),
        (HostConfig { nano_cpus: 1, cpu_period: 5000, ..none() }, "Nano CPUs and CPU Period"),
        (HostConfig { cpu_period: 999, ..none() }, "CPU cfs period"),
        (HostConfig { cpu_quota: 999, ..none() }, "CPU cfs quota"),
    ] {
        let error = refusal(&host_config);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn only_the_guest_s_own_disks_are_limited() {
    let rate = |path: &str, rate| vec![DeviceRate { path: path.to_owned(), rate }];
    let both = HostConfig {
        blkio_device_read_bps: rate("/dev/vdb", 1 << 20),
        blkio_device_write_iops: rate("/dev/vdc", 100),
        ..HostConfig::default()
    };
    check(&both).unwrap();
    let told: Vec<_> = disks(&both).into_iter().map(|limit| (limit.device, limit.what, limit.rate)).collect();
    let expected = [
        ("/dev/vdb".to_owned(), DiskCount::ReadBytes, 1 << 20),
        ("/dev/vdc".to_owned(), DiskCount::Writes, 100),
    ];
    assert_eq!(told, expected);
    let error = refusal(&HostConfig { blkio_device_write_bps: rate("/dev/sda", 1), ..HostConfig::default() });
    assert!(error.starts_with("--device-write-bps /dev/sda: ") && error.contains("/dev/vdc"), "{error}");
    let error = refusal(&HostConfig { blkio_device_read_iops: rate("/dev/vdc", 0), ..HostConfig::default() });
    assert!(error.contains("positive"), "{error}");
}
