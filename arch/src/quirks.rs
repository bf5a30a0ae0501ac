//! What is special about the host, all of it in this file.
//!
//! One host is special: one whose `/dev/kvm` is the `kvm_pvm` module, KVM without hardware virtualization. There
//! guest user space runs natively, but the guest's kernel is interpreted by KVM's instruction emulator, which does
//! not know every instruction. What follows from that for the kernel's command line, for CPUID and for the user is
//! said here; on every other host there are no quirks.

use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::arguments::KernelKind;

/// What is special about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quirks {
    /// KVM is `kvm_pvm`.
    pub pvm: bool,
}

/// Something about the host that its user should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warning {
    /// What it is.
    pub what: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Quirks {
    /// Looks at this host; once in a process, which may be confined later and see nothing of it.
    pub fn detect() -> Self {
        static DETECTED: OnceLock<Quirks> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::detect_at(Path::new("/")))
    }

    /// Looks at the host whose file system is at `root`.
    pub fn detect_at(root: &Path) -> Self {
        Quirks { pvm: root.join("sys/module/kvm_pvm").exists() }
    }

    /// Arguments that a kernel needs on this host.
    pub fn kernel_arguments(&self, kernel: KernelKind) -> &'static [&'static str] {
        match (self.pvm, kernel) {
            (false, _) => &[],
            (true, KernelKind::Hull) => PVM_ARGUMENTS,
            (true, KernelKind::Foreign) => PVM_FOREIGN_ARGUMENTS,
        }
    }

    /// Bits of KVM's feature leaf (0x4000_0001, EAX) that a guest must not be offered on this host.
    pub fn kvm_features_to_hide(&self) -> u32 {
        if self.pvm { PVM_HYPERCALL_FEATURES } else { 0 }
    }

    /// Whether guests see the CPU's own feature bits, whatever KVM is told to show them.
    pub fn native_cpuid(&self) -> bool {
        self.pvm
    }

    /// Whether guests read the host's own TSC, whatever KVM is told to show them.
    pub fn native_tsc(&self) -> bool {
        self.pvm
    }

    /// How many times as long as elsewhere a guest may take for what has a time limit.
    pub fn patience(&self) -> u32 {
        if self.pvm { 5 } else { 1 }
    }

    /// Most virtual CPUs of a VM when nobody says how many. Where ring 0 is interpreted a second CPU costs its own
    /// start, a second or more, and waits for the first in loops that are interpreted too.
    pub fn default_vcpus(&self) -> u64 {
        if self.pvm { 1 } else { 4 }
    }

    /// Variables that programs in guests need on this host, as `NAME=VALUE`.
    pub fn environment(&self) -> &'static [&'static str] {
        if self.pvm { PVM_ENVIRONMENT } else { &[] }
    }

    /// What `hull doctor` says of this host.
    pub fn warnings(&self) -> &'static [Warning] {
        if self.pvm { PVM_WARNINGS } else { &[] }
    }
}

/// `hull_pvm` switches on what hull's own kernel does about system calls, switches off what the emulator lacks, and
/// leaves undone what only costs time here (patch 0002). Nothing speculates in a kernel that is interpreted, so there is
/// nothing to mitigate. The last is for the agent: the kernel hands it to its first process.
const PVM_ARGUMENTS: &[&str] = &["hull_pvm", "mitigations=off", NO_AVX];

/// Keeps programs from AVX, as far as glibc uses it. Ring 3 sees the host's own CPUID and XCR0, which say that there is AVX,
/// but the guest's kernel saves only what FXSAVE does: a program that is interrupted while it copies with AVX may go on with
/// another's data. (glibc knows the features by two generations of names, and ignores what it does not know.)
const NO_AVX: &str = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,\
                      -AVX_Fast_Unaligned_Load,-AVX_Usable,-AVX2_Usable,-AVX512F_Usable";
const PVM_ENVIRONMENT: &[&str] = &[NO_AVX];

/// For a kernel that has hull's patch for system calls but was built by somebody else: `hull_pvm`, and what the emulator
/// lacks switched off by feature. Hiding it in CPUID has no effect here, guests see the CPU's own bits. ERMS and FSRM
/// the emulator has, but takes string instructions byte by byte, so that copies in larger units are eight times as fast.
///
/// The features are `popcnt cx16 smap fsgsbase pcid invpcid rdpid serialize erms fsrm clflushopt clwb movdir64b movdiri
/// bmi1 bmi2`, by number (32 × word + bit, as in the kernel's `cpufeatures.h`; these words are CPUID's own and stay): the
/// search for sixteen names takes the kernel 0.1 s here.
const PVM_FOREIGN_ARGUMENTS: &[&str] = &[
    "hull_pvm",
    "noxsave",
    "clearcpuid=151,141,308,288,145,298,534,590,297,580,311,312,540,539,291,296",
    "mitigations=off",
    "rodata=off",
    "noreplace-smp",
    NO_AVX,
];

/// Features that make a guest call its hypervisor by `VMCALL`, which never completes here: PV_UNHALT, PV_SEND_IPI,
/// PV_SCHED_YIELD and MAP_GPA_RANGE.
const PVM_HYPERCALL_FEATURES: u32 = 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16;

const PVM_WARNINGS: &[Warning] = &[
    Warning {
        what: "AVX is unsafe in guests: their kernel cannot save the upper halves of vector registers, so programs that use \
               AVX corrupt each other's data silently; hull keeps glibc from it by GLIBC_TUNABLES in each container's \
               environment",
        remedy: "do not run programs here that find AVX themselves and use it (Go's and OpenSSL's do), or that were built \
                 for x86-64-v3 or with -march=native, with data that matters",
    },
    Warning {
        what: "kernels other than hull's own end at the first instruction that is not emulated here",
        remedy: "leave the kernel to hull, or build your own with the patches in resources/kernel",
    },
];

#[cfg(test)]
#[path = "quirks_test.rs"]
mod tests;
