use super::*;
use crate::layout::MAX_VCPUS;

const TSC_KHZ: u32 = 2_596_150;

fn entry(function: u32, index: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
    let [eax, ebx, ecx, edx] = registers;
    kvm_cpuid_entry2 { function, index, eax, ebx, ecx, edx, ..Default::default() }
}

fn name(text: &[u8; 12]) -> [u32; 3] {
    let number = |at: usize| u32::from_le_bytes(text[at..at + 4].try_into().unwrap());
    [number(0), number(4), number(8)]
}

/// What KVM supports on some CPU of `vendor`, as far as the code looks at it.
fn supported(vendor: &[u8; 12], highest: u32) -> Vec<kvm_cpuid_entry2> {
    let [b, d, c] = name(vendor);
    let [kb, kc, kd] = name(b"KVMKVMKVM\0\0\0");
    vec![
        entry(0x0, 0, [highest, b, c, d]),
        entry(0x1, 0, [0x806f8, 0x0510_0800, 0x7ffa_3203, 0x1f8b_fbff]),
        entry(0x4, 0, [0xfc00_4121, 0x02c0_003f, 0x3f, 0]), // L1 data
        entry(0x4, 1, [0xfc00_4122, 0x01c0_003f, 0x3f, 0]), // L1 instructions
        entry(0x4, 2, [0xfc00_4143, 0x03c0_003f, 0x7ff, 0]), // L2
        entry(0x4, 3, [0xfc1f_c163, 0x0380_003f, 0xffff, 4]), // L3
        entry(0x4, 4, [0; 4]),
        entry(0x6, 0, [0; 4]),
        entry(0xb, 0, [1, 2, 0x100, 9]),
        entry(0xb, 1, [7, 64, 0x201, 9]),
        entry(0x4000_0000, 0, [0x4000_0001, kb, kc, kd]),
        entry(0x4000_0001, 0, [0x0100_7efb, 0, 0, 0]),
        entry(0x8000_0001, 0, [0, 0, 0x2, 0]),
        entry(0x8000_0008, 0, [0x3030, 0, 0x703f, 0]),
        entry(0x8000_001d, 0, [0x121, 0x01c0_003f, 0x3f, 0]),
        entry(0x8000_001d, 3, [0x3c163, 0x03c0_003f, 0x7fff, 1]),
        entry(0x8000_001e, 0, [9, 0x104, 7, 0]),
        entry(0x8000_0026, 0, [1, 2, 0x100, 9]),
    ]
}

const INTEL: &[u8; 12] = b"GenuineIntel";
const AMD: &[u8; 12] = b"AuthenticAMD";

fn template(vendor: &[u8; 12], vcpus: u8) -> Template {
    Template::new(&supported(vendor, 0x1f), vcpus, true, &Quirks::default())
}

/// The registers of a leaf.
fn leaf(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> [u32; 4] {
    let mut found = entries.iter().filter(|entry| (entry.function, entry.index) == (function, index));
    let entry = found.next().unwrap_or_else(|| panic!("no leaf {function:#x}.{index}"));
    assert!(found.next().is_none(), "leaf {function:#x}.{index} twice");
    [entry.eax, entry.ebx, entry.ecx, entry.edx]
}

#[test]
fn all_leaves_agree_on_the_topology() {
    for vendor in [INTEL, AMD] {
        for vcpus in 1..=MAX_VCPUS {
            let template = template(vendor, vcpus);
            let (count, last) = (u32::from(vcpus), u32::from(vcpus) - 1);
            for index in 0..vcpus {
                let entries = template.for_vcpu(index, Some(TSC_KHZ));
                let id = u32::from(index);
                let [_, ebx, ecx, edx] = leaf(&entries, 0x1, 0);
                assert_eq!((ebx >> 24, ebx >> 16 & 0xff), (id, count));
                assert_eq!(edx & HYPER_THREADING != 0, vcpus > 1);
                assert_eq!(ecx & (HYPERVISOR | X2APIC | TSC_DEADLINE), HYPERVISOR | X2APIC | TSC_DEADLINE);

                for cache in 0..4 {
                    let eax = leaf(&entries, 0x4, cache)[0];
                    assert_eq!((eax >> 26, eax >> 14 & 0xfff), (last, if cache == 3 { last } else { 0 }));
                }
                assert_eq!(leaf(&entries, 0x4, 4), [0; 4]);

                assert_eq!(leaf(&entries, 0xb, 0), [0, 1, 0x100, id]);
                let [shift, processors, kind, apic_id] = leaf(&entries, 0xb, 1);
                assert_eq!((processors, kind, apic_id), (count, 0x201, id));
                assert!(last >> shift == 0 && (shift == 0 || last >> (shift - 1) != 0));
                assert_eq!(leaf(&entries, 0xb, 2), [0, 0, 2, id]);

                let [_, _, cores, _] = leaf(&entries, 0x8000_0008, 0);
                assert_eq!((cores & 0xff, cores >> 12 & 0xf), (last, shift));
                assert_eq!(leaf(&entries, 0x8000_001d, 3)[0] >> 14 & 0xfff, last);
                assert_eq!(leaf(&entries, 0x8000_001d, 0)[0] >> 14 & 0xfff, 0);
                assert_eq!(leaf(&entries, 0x8000_001e, 0), [id, id, 0, 0]);
                assert!(entries.iter().all(|entry| entry.function != 0x8000_0026));
            }
        }
    }
}

#[test]
fn frequencies_are_told_in_every_way_the_vendor_has() {
    let entries = template(INTEL, 2).for_vcpu(0, Some(TSC_KHZ));
    let [denominator, numerator, crystal, _] = leaf(&entries, 0x15, 0).map(u64::from);
    assert_eq!(crystal * numerator / denominator, u64::from(TSC_KHZ) * 1000);
    assert_eq!(leaf(&entries, 0x16, 0), [2596, 2596, 100, 0]);
    assert_eq!(leaf(&entries, 0x4000_0010, 0), [TSC_KHZ, 1_000_000, 0, 0]);
    assert_eq!(leaf(&entries, 0x4000_0000, 0)[0], 0x4000_0010);

    let entries = template(AMD, 2).for_vcpu(0, Some(TSC_KHZ));
    assert!(entries.iter().all(|entry| !matches!(entry.function, 0x15 | 0x16)));
    assert_eq!(leaf(&entries, 0x4000_0010, 0), [TSC_KHZ, 1_000_000, 0, 0]);

    let entries = template(INTEL, 2).for_vcpu(0, None);
    assert_eq!(leaf(&entries, 0x4000_0000, 0)[0], 0x4000_0001);
}

#[test]
fn an_old_cpu_gets_no_leaves_beyond_its_last_but_the_apic_id() {
    let entries =
        Template::new(&supported(INTEL, 0xa), 2, false, &Quirks::default()).for_vcpu(1, Some(TSC_KHZ));
    assert_eq!(leaf(&entries, 0x0, 0)[0], 0xb);
    assert_eq!(leaf(&entries, 0xb, 0)[3], 1);
    assert!(entries.iter().all(|entry| !matches!(entry.function, 0x15 | 0x16 | 0x1f)));
    assert_eq!(leaf(&entries, 0x1, 0)[2] & TSC_DEADLINE, 0);
}

#[test]
fn nobody_is_offered_hypercalls_that_never_return() {
    let quirks = Quirks { pvm: true };
    let entries = Template::new(&supported(AMD, 0x10), 2, true, &quirks).for_vcpu(0, None);
    assert_eq!(leaf(&entries, 0x4000_0001, 0)[0] & (1 << 7 | 1 << 11 | 1 << 13 | 1 << 16), 0);
    let entries = template(AMD, 2).for_vcpu(0, None);
    assert_eq!(leaf(&entries, 0x4000_0001, 0)[0], 0x0100_7efb);
}

#[test]
fn the_narrower_of_the_address_widths_counts() {
    let mut template = template(INTEL, 1);
    assert_eq!(template.address_bits(), 48);
    template.edit(0x8000_0008, |leaf| leaf.eax = 0x2e_3034);
    assert_eq!(template.address_bits(), 46);
    template.entries.retain(|entry| entry.function != 0x8000_0008);
    assert_eq!(template.address_bits(), 36);
}
