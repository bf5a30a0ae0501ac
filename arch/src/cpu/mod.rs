//! What a vCPU looks like when it starts: CPUID, MSRs, local APIC, registers.
//!
//! The interrupt controllers are KVM's (`KVM_CREATE_IRQCHIP`). The PIT is left out: a kernel that knows the frequency
//! of its TSC (from kvm-clock, or leaf 0x15) and has the TSC-deadline timer needs none. A foreign kernel older than 5.3
//! may; `KVM_CREATE_PIT2` before the first vCPU and [`crate::tables::Machine::pit`] give it one.

mod cpuid;
mod features;
mod registers;
pub(crate) mod segments;
mod state;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_msr_entry};
use kvm_ioctls::{Cap, Kvm, VcpuFd};

pub use self::registers::configure_boot_vcpu;
pub use self::state::{StateFormat, VcpuState, VmState};

use crate::layout::MAX_VCPUS;
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
    /// KVM does not know an MSR.
    #[error("KVM refuses to set MSR {0:#x}")]
    Msr(u32),
    /// A saved extended state that is none, or one larger than any CPU's.
    #[error("the saved extended state of a vCPU is damaged; take the snapshot again")]
    ExtendedState,
    /// KVM's list of what the CPU can is longer than KVM takes back.
    #[error("the host's CPU has more CPUID leaves than KVM takes")]
    Cpuid,
}

impl CpuError {
    /// For `map_err`: that KVM refused to do `what`.
    fn kvm(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |source| CpuError::Kvm { what, source }
    }
}

/// What KVM can virtualize of the host's CPU.
#[derive(Debug, Clone)]
pub struct Supported {
    cpuid: CpuId,
    deadline_timer: bool,
}

impl Supported {
    /// Asks KVM, which takes a quarter of a millisecond for it.
    ///
    /// # Errors
    /// When KVM refuses to say.
    pub fn by(kvm: &Kvm) -> Result<Self, CpuError> {
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(CpuError::kvm("say what the CPU can (KVM_GET_SUPPORTED_CPUID)"))?;
        Ok(Self { cpuid, deadline_timer: kvm.check_extension(Cap::TscDeadlineTimer) })
    }
}

/// What all vCPUs of a VM have in common.
#[derive(Debug, Clone)]
pub struct CpuModel {
    template: cpuid::Template,
}

impl CpuModel {
    /// The host's CPU as KVM can virtualize it, for a VM of `vcpus` (1 to [`MAX_VCPUS`]).
    pub fn new(supported: &Supported, vcpus: u8, quirks: &Quirks) -> Result<Self, CpuError> {
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(CpuError::Vcpus(vcpus));
        }
        let Supported { cpuid, deadline_timer } = supported;
        let template = cpuid::Template::new(cpuid.as_slice(), vcpus, *deadline_timer, quirks);
        Ok(CpuModel { template })
    }

    /// Bits of a guest-physical address.
    pub fn address_bits(&self) -> u8 {
        self.template.address_bits()
    }

    /// Features that a saved vCPU has and this host's CPU or KVM does not, by name. Where guests see the CPU's own CPUID, only
    /// KVM's are compared: KVM knows nothing of the others.
    pub fn lacks(&self, saved: &VcpuState, quirks: &Quirks) -> Vec<String> {
        let here = self.template.for_vcpu(0, None);
        let of_kvm = |entry: &&kvm_cpuid_entry2| entry.function >> 16 == 0x4000;
        let compared: Vec<_> =
            saved.cpuid().iter().filter(|entry| !quirks.native_cpuid() || of_kvm(entry)).copied().collect();
        features::missing(&compared, &here)
    }

    /// Configures vCPU number `index`, which is also its APIC id: CPUID, MSRs, local APIC, floating point. To be called
    /// for every vCPU before it runs.
    pub fn configure(&self, vcpu: &VcpuFd, index: u8) -> Result<(), CpuError> {
        // A KVM that cannot say it leaves the guest to calibrate.
        let tsc_khz = vcpu.get_tsc_khz().ok().filter(|khz| *khz != 0);
        let entries = self.template.for_vcpu(index, tsc_khz);
        let cpuid = CpuId::from_entries(&entries).map_err(|_| CpuError::Cpuid)?;
        vcpu.set_cpuid2(&cpuid).map_err(CpuError::kvm("set CPUID"))?;
        set_msrs(vcpu, &BOOT_MSRS)?;
        registers::set_fpu(vcpu)?;
        registers::set_local_interrupts(vcpu)
    }
}

/// `IA32_MISC_ENABLE`: fast string operations.
const MISC_ENABLE: (u32, u64) = (0x1a0, 1);
/// `IA32_MTRR_DEF_TYPE`: MTRRs on, all memory write-back. As firmware leaves it; off would mean uncached.
const MTRR_DEFAULT_TYPE: (u32, u64) = (0x2ff, 1 << 11 | 6);
/// MSRs that are not right as KVM resets them.
const BOOT_MSRS: [(u32, u64); 2] = [MISC_ENABLE, MTRR_DEFAULT_TYPE];

fn set_msrs(vcpu: &VcpuFd, msrs: &[(u32, u64)]) -> Result<(), CpuError> {
    let entries: Vec<_> =
        msrs.iter().map(|&(index, data)| kvm_msr_entry { index, data, ..Default::default() }).collect();
    let set = vcpu
        .set_msrs(&Msrs::from_entries(&entries).map_err(|_| CpuError::Msr(msrs[0].0))?)
        .map_err(CpuError::kvm("set MSRs"))?;
    // KVM stops at the first one it does not take.
    msrs.get(set).map_or(Ok(()), |&(index, _)| Err(CpuError::Msr(index)))
}

#[cfg(test)]
#[path = "guest_test.rs"]
mod guest;

#[cfg(test)]
#[path = "cpu_test.rs"]
mod tests;
