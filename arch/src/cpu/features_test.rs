use super::*;

fn leaf(function: u32, index: u32, ebx: u32, ecx: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function, index, ebx, ecx, ..Default::default() }
}

#[test]
fn what_is_missing_is_named() {
    let shown = [leaf(1, 0, 0xff, 1 << 28 | 1 << 27 | 1 << 25), leaf(7, 0, 1 << 16 | 1 << 2, 0)];
    let here = [leaf(1, 0, 0, 1 << 25), leaf(7, 0, 0, 0)];
    assert_eq!(missing(&shown, &here), ["avx", "CPUID 0x7.0 Ebx bit 2", "avx512f"]);
    assert!(missing(&shown, &shown).is_empty());
    // More is no harm, and a leaf that is not there has no features.
    assert!(missing(&here, &shown).is_empty());
    assert_eq!(missing(&shown, &here[..1]), ["avx", "CPUID 0x7.0 Ebx bit 2", "avx512f"]);
    assert!(missing(&[], &[]).is_empty());
}
