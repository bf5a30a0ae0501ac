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
    assert!(quirks.kernel_arguments().is_empty() && quirks.warnings().is_empty());
    assert_eq!(quirks.kvm_features_to_hide(), 0);
}

#[test]
fn instructions_that_are_not_emulated_are_switched_off() {
    let arguments = Quirks { pvm: true }.kernel_arguments();
    let cleared = arguments.iter().find_map(|argument| argument.strip_prefix("clearcpuid=")).unwrap();
    let cleared: Vec<_> = cleared.split(',').collect();
    for feature in ["popcnt", "cx16", "smap", "erms", "fsrm", "bmi1", "bmi2", "rdpid"] {
        assert!(cleared.contains(&feature), "{feature}");
    }
    assert!(arguments.contains(&"noxsave") && arguments.contains(&"hull_pvm"));
}
