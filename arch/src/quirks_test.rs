use vmm_sys_util::tempdir::TempDir;

use super::*;

#[test]
fn the_module_is_what_makes_the_host_special() {
    let root = TempDir::new().unwrap();
    let detect = || Quirks::detect_at(root.as_path());
    assert_eq!(detect(), Quirks { pvm: false });
    std::fs::create_dir_all(root.as_path().join("sys/module/kvm_pvm")).unwrap();
    assert_eq!(detect(), Quirks { pvm: true });
}

#[test]
fn other_hosts_change_nothing() {
    let quirks = Quirks::default();
    for kernel in [KernelKind::Hull, KernelKind::Foreign] {
        assert!(quirks.kernel_arguments(kernel).is_empty());
    }
    assert!(quirks.warnings().is_empty());
    assert_eq!((quirks.patience(), quirks.default_vcpus()), (1, 4));
    assert_eq!(quirks.kvm_features_to_hide(), 0);
}

#[test]
fn instructions_that_are_not_emulated_are_switched_off() {
    let arguments = Quirks { pvm: true }.kernel_arguments(KernelKind::Foreign);
    assert!(arguments.contains(&"noxsave") && arguments.contains(&"hull_pvm"));
    let cleared = arguments.iter().find_map(|argument| argument.strip_prefix("clearcpuid=")).unwrap();
    let mut cleared: Vec<u32> = cleared.split(',').map(|number| number.parse().unwrap()).collect();

    // Words of Linux that are registers of CPUID.
    const LEAF_1_ECX: u32 = 4;
    const LEAF_7_EBX: u32 = 9;
    const LEAF_7_ECX: u32 = 16;
    const LEAF_7_EDX: u32 = 18;
    let mut expected: Vec<u32> = [
        ("popcnt", LEAF_1_ECX, 23),
        ("cx16", LEAF_1_ECX, 13),
        ("pcid", LEAF_1_ECX, 17),
        ("smap", LEAF_7_EBX, 20),
        ("fsgsbase", LEAF_7_EBX, 0),
        ("invpcid", LEAF_7_EBX, 10),
        ("erms", LEAF_7_EBX, 9),
        ("clflushopt", LEAF_7_EBX, 23),
        ("clwb", LEAF_7_EBX, 24),
        ("bmi1", LEAF_7_EBX, 3),
        ("bmi2", LEAF_7_EBX, 8),
        ("rdpid", LEAF_7_ECX, 22),
        ("movdiri", LEAF_7_ECX, 27),
        ("movdir64b", LEAF_7_ECX, 28),
        ("fsrm", LEAF_7_EDX, 4),
        ("serialize", LEAF_7_EDX, 14),
    ]
    .map(|(_, word, bit)| 32 * word + bit)
    .into();
    cleared.sort_unstable();
    expected.sort_unstable();
    assert_eq!(cleared, expected);
}
