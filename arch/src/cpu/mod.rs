//! What a vCPU looks like when it starts: CPUID, MSRs, local APIC, registers.
//!
//! The interrupt controllers are KVM's (`KVM_CREATE_IRQCHIP`). The PIT is left out: a kernel that knows the frequency
//! of its TSC (kvm-clock, or leaf 0x15) and has the TSC-deadline timer needs none. Foreign kernels older than 5.3
//! may; `KVM_CREATE_PIT2` before the first vCPU and [`crate::tables::Machine::pit`] give them one.

use kvm_bindings::CpuId;
use kvm_ioctls::{Kvm, VcpuFd};

use crate::boot::Entry;
use crate::quirks::Quirks;

/// Why a vCPU cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// Too few or too many.
    #[error("a VM has 1 to 32 virtual CPUs, not {0}")]
    Vcpus(u8),
    /// KVM said no.
    #[error("KVM refuses to {what}")]
    Kvm {
        /// What it was asked.
        what: &'static str,
        /// Why.
        source: kvm_ioctls::Error,
    },
}

/// What all vCPUs of a VM have in common.
#[derive(Debug, Clone)]
pub struct CpuModel {
    vcpus: u8,
    cpuid: CpuId,
}

impl CpuModel {
    /// The host's CPU as KVM can virtualize it, for a VM of `vcpus` (1 to [`crate::layout::MAX_VCPUS`]).
    pub fn new(kvm: &Kvm, vcpus: u8, quirks: &Quirks) -> Result<Self, CpuError> {
        let _ = (kvm, vcpus, quirks);
        unimplemented!("being written")
    }

    /// Bits of a guest-physical address.
    pub fn address_bits(&self) -> u8 {
        let _ = (self.vcpus, &self.cpuid);
        unimplemented!("being written")
    }

    /// Configures vCPU number `index`, which is also its APIC id: CPUID, MSRs, local APIC. To be called for every
    /// vCPU, before it runs and before [`configure_boot_vcpu`].
    pub fn configure(&self, vcpu: &VcpuFd, index: u8) -> Result<(), CpuError> {
        let _ = (vcpu, index);
        unimplemented!("being written")
    }
}

/// Points vCPU 0 at the kernel. The others wait for it to start them.
pub fn configure_boot_vcpu(vcpu: &VcpuFd, entry: &Entry) -> Result<(), CpuError> {
    let _ = (vcpu, entry);
    unimplemented!("being written")
}
