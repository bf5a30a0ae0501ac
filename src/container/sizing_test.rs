use super::*;

const HOST: Host = Host { memory: (8 << 30) - 12345, cpus: 6, default_vcpus: 4 };

fn host_config(memory: u64, nano_cpus: u64) -> HostConfig {
    HostConfig { memory, nano_cpus, ..HostConfig::default() }
}

#[test]
fn no_memory_limit_makes_another_vm() {
    let size = |memory| HOST.vm_size(&host_config(memory, 0)).unwrap();
    let one = size(0);
    assert_eq!((one.memory >> 20, one.growth >> 20), (512, 8192));
    for limit in [6 << 20, 300 << 20, 7 << 30, HOST.memory] {
        assert_eq!(size(limit), one);
        let share = HOST.share(&host_config(limit, 0)).unwrap().memory;
        assert!(share >= limit + (96 << 20) && share <= one.memory + one.growth, "{limit}");
    }
    assert_eq!(HOST.share(&host_config(0, 0)).unwrap().memory, HOST.memory / 2);
    let small = Host { memory: 600 << 20, ..HOST };
    assert_eq!(small.share(&host_config(0, 0)).unwrap().memory >> 20, 512);
}

#[test]
fn few_numbers_of_cpus_make_another_vm() {
    let host = Host { cpus: 40, ..HOST };
    let both = |cpus: u64| {
        let host_config = host_config(0, cpus * 1_000_000_000 / 2);
        (host.share(&host_config).unwrap().cpus, host.vm_size(&host_config).unwrap().vcpus)
    };
    assert_eq!(both(0), (4, 4));
    assert_eq!(both(1), (1, 1));
    assert_eq!(both(3), (2, 2));
    assert_eq!([both(5), both(6), both(8)], [(3, 4), (3, 4), (4, 4)]);
    assert_eq!([both(10), both(16)], [(5, 8), (8, 8)]);
    assert_eq!([both(40), both(80)], [(20, 32), (32, 32)]);
}

#[test]
fn limits_out_of_range_are_refused() {
    let error = |memory, cpus| HOST.vm_size(&host_config(memory, cpus)).unwrap_err().to_string();
    assert_eq!(error(5 << 20, 0), "Minimum memory limit allowed is 6MB");
    assert!(error(9 << 30, 0).contains("more than the host has"));
    assert!(error(0, 6_000_000_001).contains("only 6 CPUs available"));
}

#[test]
fn cpus_are_lists_of_ranges() {
    assert_eq!([highest_cpu("0"), highest_cpu("0-3"), highest_cpu("0-1,7,2")], [Some(0), Some(3), Some(7)]);
    for wrong in ["", ",", "a", "1-", "-1", "3-1", "0,,1", "+1", "0-1-2"] {
        assert_eq!(highest_cpu(wrong), None, "{wrong}");
    }
}
