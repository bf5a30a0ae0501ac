//! What the CPU of a snapshot's guest can and the CPU here cannot (Intel SDM volume 2, `CPUID`).

use kvm_bindings::kvm_cpuid_entry2;

/// A register of CPUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}
use Register::{Eax, Ebx, Ecx, Edx};

/// Registers of leaves and subleaves whose bits are features, and the bits in them that are not.
const FEATURES: &[(u32, u32, Register, u32)] = &[
    // MONITOR depends on another register; OSXSAVE and OSPKE say what the guest's kernel has switched on.
    (0x1, 0, Ecx, 1 << 3 | 1 << 27),
    (0x1, 0, Edx, 0),
    (0x7, 0, Ebx, 0),
    (0x7, 0, Ecx, 1 << 4),
    (0x7, 0, Edx, 0),
    (0x7, 1, Eax, 0),
    // Components of the extended state.
    (0xd, 0, Eax, 0),
    (0xd, 1, Eax, 0),
    (0x8000_0001, 0, Ecx, 0),
    (0x8000_0001, 0, Edx, 0),
    (0x8000_0008, 0, Ebx, 0),
    // What KVM offers to its guests.
    (0x4000_0001, 0, Eax, 0),
];

/// Features that have a name in Linux's `/proc/cpuinfo`, of those that differ between CPUs in use.
const NAMES: &[(u32, u32, Register, u32, &str)] = &[
    (0x1, 0, Ecx, 0, "sse3"),
    (0x1, 0, Ecx, 1, "pclmulqdq"),
    (0x1, 0, Ecx, 9, "ssse3"),
    (0x1, 0, Ecx, 12, "fma"),
    (0x1, 0, Ecx, 13, "cx16"),
    (0x1, 0, Ecx, 17, "pcid"),
    (0x1, 0, Ecx, 19, "sse4_1"),
    (0x1, 0, Ecx, 20, "sse4_2"),
    (0x1, 0, Ecx, 21, "x2apic"),
    (0x1, 0, Ecx, 22, "movbe"),
    (0x1, 0, Ecx, 23, "popcnt"),
    (0x1, 0, Ecx, 24, "tsc_deadline_timer"),
    (0x1, 0, Ecx, 25, "aes"),
    (0x1, 0, Ecx, 26, "xsave"),
    (0x1, 0, Ecx, 28, "avx"),
    (0x1, 0, Ecx, 29, "f16c"),
    (0x1, 0, Ecx, 30, "rdrand"),
    (0x7, 0, Ebx, 0, "fsgsbase"),
    (0x7, 0, Ebx, 3, "bmi1"),
    (0x7, 0, Ebx, 5, "avx2"),
    (0x7, 0, Ebx, 7, "smep"),
    (0x7, 0, Ebx, 8, "bmi2"),
    (0x7, 0, Ebx, 9, "erms"),
    (0x7, 0, Ebx, 10, "invpcid"),
    (0x7, 0, Ebx, 16, "avx512f"),
    (0x7, 0, Ebx, 17, "avx512dq"),
    (0x7, 0, Ebx, 18, "rdseed"),
    (0x7, 0, Ebx, 19, "adx"),
    (0x7, 0, Ebx, 20, "smap"),
    (0x7, 0, Ebx, 23, "clflushopt"),
    (0x7, 0, Ebx, 24, "clwb"),
    (0x7, 0, Ebx, 28, "avx512cd"),
    (0x7, 0, Ebx, 29, "sha_ni"),
    (0x7, 0, Ebx, 30, "avx512bw"),
    (0x7, 0, Ebx, 31, "avx512vl"),
    (0x7, 0, Ecx, 2, "umip"),
    (0x7, 0, Ecx, 3, "pku"),
    (0x7, 0, Ecx, 8, "gfni"),
    (0x7, 0, Ecx, 9, "vaes"),
    (0x7, 0, Ecx, 10, "vpclmulqdq"),
    (0x7, 0, Ecx, 11, "avx512_vnni"),
    (0x7, 0, Ecx, 16, "la57"),
    (0x7, 0, Ecx, 22, "rdpid"),
    (0x7, 0, Edx, 4, "fsrm"),
    (0x7, 0, Edx, 22, "amx_bf16"),
    (0x7, 0, Edx, 24, "amx_tile"),
    (0x7, 0, Edx, 25, "amx_int8"),
    (0x7, 0, Edx, 26, "spec_ctrl"),
    (0xd, 1, Eax, 3, "xsaves"),
    (0x8000_0001, 0, Ecx, 5, "abm"),
    (0x8000_0001, 0, Ecx, 6, "sse4a"),
    (0x8000_0001, 0, Edx, 26, "pdpe1gb"),
    (0x8000_0001, 0, Edx, 27, "rdtscp"),
];

/// The features that a guest was shown and this host does not have, by name.
pub(super) fn missing(shown: &[kvm_cpuid_entry2], here: &[kvm_cpuid_entry2]) -> Vec<String> {
    let mut missing = Vec::new();
    for &(function, index, register, ignored) in FEATURES {
        let bits =
            value(shown, function, index, register) & !value(here, function, index, register) & !ignored;
        missing.extend(
            (0..32).filter(|bit| bits & 1 << bit != 0).map(|bit| name(function, index, register, bit)),
        );
    }
    missing
}

fn value(entries: &[kvm_cpuid_entry2], function: u32, index: u32, register: Register) -> u32 {
    let entry = entries.iter().find(|entry| entry.function == function && entry.index == index);
    entry.map_or(0, |entry| match register {
        Eax => entry.eax,
        Ebx => entry.ebx,
        Ecx => entry.ecx,
        Edx => entry.edx,
    })
}

fn name(function: u32, index: u32, register: Register, bit: u32) -> String {
    let known =
        NAMES.iter().find(|known| (known.0, known.1, known.2, known.3) == (function, index, register, bit));
    known.map_or_else(
        || format!("CPUID {function:#x}.{index} {register:?} bit {bit}"),
        |known| known.4.to_owned(),
    )
}

#[cfg(test)]
#[path = "features_test.rs"]
mod tests;
