use super::*;

const HOST: Host = Host { memory: 8 << 30, cpus: 6, default_vcpus: 4 };

fn size(memory: u64, nano_cpus: u64) -> Result<VmSize> {
    HOST.vm_size(&HostConfig { memory, nano_cpus, ..HostConfig::default() })
}

#[test]
fn a_vm_holds_its_container_and_the_guest() {
    let mib = |memory: u64| size(memory * Size::MIB, 0).unwrap().memory / Size::MIB;
    assert_eq!(mib(0), 512);
    assert_eq!(mib(6), 128);
    assert_eq!(mib(64), 160);
    assert_eq!(mib(1024), 1120);
    assert_eq!(mib(33), 130);
}

#[test]
fn cpus_are_rounded_up() {
    let vcpus = |nano_cpus| size(0, nano_cpus).unwrap().vcpus;
    assert_eq!(vcpus(0), 4);
    assert_eq!(vcpus(500_000_000), 1);
    assert_eq!(vcpus(1_500_000_000), 2);
    assert_eq!(vcpus(6_000_000_000), 6);
}

#[test]
fn limits_out_of_range_are_refused() {
    let error = |memory, cpus| size(memory, cpus).unwrap_err().to_string();
    assert_eq!(error(5 << 20, 0), "Minimum memory limit allowed is 6MB");
    assert!(error(9 << 30, 0).contains("more than the host has"));
    assert!(error(0, 6_000_000_001).contains("only 6 CPUs available"));
}
