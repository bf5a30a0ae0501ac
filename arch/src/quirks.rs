//! What is special about the host, all of it in this file.
//!
//! One host is special: one whose `/dev/kvm` is the `kvm_pvm` module, KVM without hardware virtualization. There
//! guest user space runs natively, but the guest's kernel is interpreted by KVM's instruction emulator, which does
//! not know every instruction. What follows from that for the kernel's command line, for CPUID and for the user is
//! said here; on every other host there are no quirks.

use std::path::Path;

use serde::{Deserialize, Serialize};

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
    /// Looks at this host.
    pub fn detect() -> Self {
        Self::detect_at(Path::new("/"))
    }

    /// Looks at the host whose file system is at `root`.
    pub fn detect_at(root: &Path) -> Self {
        Quirks { pvm: root.join("sys/module/kvm_pvm").exists() }
    }

    /// Arguments that every kernel needs on this host.
    pub fn kernel_arguments(&self) -> &'static [&'static str] {
        if self.pvm { PVM_ARGUMENTS } else { &[] }
    }

    /// Bits of KVM's feature leaf (0x4000_0001, EAX) that a guest must not be offered on this host.
    pub fn kvm_features_to_hide(&self) -> u32 {
        if self.pvm { PVM_HYPERCALL_FEATURES } else { 0 }
    }

    /// What `hull doctor` says of this host.
    pub fn warnings(&self) -> &'static [Warning] {
        if self.pvm { PVM_WARNINGS } else { &[] }
    }
}

/// Instructions the emulator lacks are switched off one by one; `mitigations=off` and `rodata=off` because nothing in
/// an interpreted kernel speculates, and changing page attributes takes a second.
const PVM_ARGUMENTS: &[&str] = &[
    "hull_pvm",
    "noxsave",
    "clearcpuid=popcnt,cx16,smap,fsgsbase,pcid,invpcid,rdpid,serialize,erms,fsrm,clflushopt,clwb,movdir64b,movdiri",
    "mitigations=off",
    "rodata=off",
];

/// Features that make a guest call its hypervisor by `VMCALL`, which never completes here: PV_UNHALT, PV_SEND_IPI,
/// PV_SCHED_YIELD and MAP_GPA_RANGE.
const PVM_HYPERCALL_FEATURES: u32 = 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16;

const PVM_WARNINGS: &[Warning] = &[];
