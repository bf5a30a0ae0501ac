//! A vCPU's state and that of KVM's interrupt controllers and clock, for a snapshot (the kernel's
//! `Documentation/virt/kvm/api.rst`).
//!
//! All of it is saved while no vCPU runs, and given to vCPUs that have not run. What KVM gets in between, by its own
//! words, depends on order, and the order is here.

use std::time::{Duration, SystemTime};

use kvm_bindings::{
    CpuId, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_MAX_CPUID_ENTRIES,
    KVM_MP_STATE_RUNNABLE, Msrs, Xsave, kvm_clock_data, kvm_cpuid_entry2, kvm_debugregs, kvm_irqchip,
    kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_pit_state2, kvm_regs, kvm_sregs, kvm_vcpu_events,
    kvm_xcrs,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use super::{CpuError, set_msrs};

/// MSRs at once; KVM takes no more.
const MSR_BATCH: usize = 128;
/// Arms the timer, so it needs the TSC and the local APIC in place.
const TSC_DEADLINE: u32 = 0x6e0;
/// The time-stamp counter.
const TSC: u32 = 0x10;

/// All that a vCPU is, but for its index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VcpuState {
    cpuid: Vec<kvm_cpuid_entry2>,
    /// `None` where KVM cannot say; then the TSC runs as it does on the host.
    tsc_khz: Option<u32>,
    mp_state: kvm_mp_state,
    regs: kvm_regs,
    sregs: kvm_sregs,
    /// The extended state in words of 32 bits.
    xsave: Vec<u32>,
    xcrs: kvm_xcrs,
    debugregs: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
}

impl VcpuState {
    /// What it was told of itself.
    pub(super) fn cpuid(&self) -> &[kvm_cpuid_entry2] {
        &self.cpuid
    }

    /// Has it find that this time has passed. Its timers are late then.
    pub fn advance(&mut self, time: Duration) {
        // Without its frequency the counter is left alone.
        let cycles = time.as_nanos() * u128::from(self.tsc_khz.unwrap_or(0)) / 1_000_000;
        for msr in self.msrs.iter_mut().filter(|msr| msr.index == TSC) {
            msr.data = msr.data.wrapping_add(cycles as u64);
        }
    }

    /// Has its timer be due, armed or not. For hosts whose TSC guests read as it is: it has moved since, or began anew. hull's
    /// kernel, which sees to that, does so at an interrupt.
    pub fn expire_timer(&mut self) {
        const PAST: u64 = 1;
        for msr in self.msrs.iter_mut().filter(|msr| msr.index == TSC_DEADLINE) {
            msr.data = PAST;
        }
    }

    /// Whether it waits for an interrupt, or has never run: then an interrupt is the first that happens to it.
    pub fn rests(&self) -> bool {
        self.mp_state.mp_state != KVM_MP_STATE_RUNNABLE
    }

    /// Whether its TSC is ahead of the host's own.
    pub fn is_of_another_boot(&self) -> bool {
        // SAFETY: every x86_64 CPU has it.
        let now = unsafe { core::arch::x86_64::_rdtsc() };
        self.msrs.iter().any(|msr| msr.index == TSC && msr.data > now)
    }
}

/// What there is of state in a VM's vCPUs on this host; saves and restores it.
#[derive(Debug, Clone)]
pub struct StateFormat {
    msrs: Vec<u32>,
    /// Words of the extended state.
    xsave_words: usize,
}

/// Words of the extended state that every KVM has.
const XSAVE_WORDS: usize = 1024;

impl StateFormat {
    /// Asks KVM. To be called once for a VM.
    pub fn new(kvm: &Kvm, vm: &VmFd) -> Result<Self, CpuError> {
        let list = kvm.get_msr_index_list().map_err(CpuError::kvm("list its MSRs"))?;
        let mut msrs = list.as_slice().to_vec();
        msrs.sort_by_key(|&index| index == TSC_DEADLINE);
        // 0 before Linux 5.17, which has no more than that.
        let bytes = usize::try_from(vm.check_extension_int(Cap::Xsave2)).unwrap_or(0);
        Ok(StateFormat { msrs, xsave_words: bytes.div_ceil(size_of::<u32>()).max(XSAVE_WORDS) })
    }

    /// Saves a vCPU that is not running.
    ///
    /// An exit that asked for an answer (a read, or MMIO) must have been completed, by a run with `immediate_exit` set: until
    /// then the answer is in KVM's hands and would be lost.
    pub fn save(&self, vcpu: &VcpuFd) -> Result<VcpuState, CpuError> {
        Ok(VcpuState {
            // First: it makes KVM take up INIT and SIPI, which change what follows.
            mp_state: vcpu.get_mp_state().map_err(CpuError::kvm("save the state of being run"))?,
            regs: vcpu.get_regs().map_err(CpuError::kvm("save the registers"))?,
            sregs: vcpu.get_sregs().map_err(CpuError::kvm("save the control registers"))?,
            xsave: self.save_xsave(vcpu)?,
            xcrs: vcpu.get_xcrs().map_err(CpuError::kvm("save XCR0"))?,
            debugregs: vcpu.get_debug_regs().map_err(CpuError::kvm("save the debug registers"))?,
            // Before the local APIC: KVM clears the timer's deadline when it delivers the interrupt there. In this order one
            // that falls in between is saved twice, in the other not at all.
            msrs: self.save_msrs(vcpu)?,
            lapic: vcpu.get_lapic().map_err(CpuError::kvm("save the local APIC"))?,
            events: vcpu.get_vcpu_events().map_err(CpuError::kvm("save pending events"))?,
            cpuid: vcpu
                .get_cpuid2(KVM_MAX_CPUID_ENTRIES)
                .map_err(CpuError::kvm("save CPUID"))?
                .as_slice()
                .to_vec(),
            tsc_khz: vcpu.get_tsc_khz().ok().filter(|khz| *khz != 0),
        })
    }

    /// Restores the state to a vCPU that has not run; the VM's [`VmState`] is restored before.
    pub fn restore(&self, vcpu: &VcpuFd, state: &VcpuState) -> Result<(), CpuError> {
        // First of all: what the vCPU has decides what the others may be.
        let cpuid = CpuId::from_entries(&state.cpuid).map_err(|_| CpuError::Cpuid)?;
        vcpu.set_cpuid2(&cpuid).map_err(CpuError::kvm("restore CPUID"))?;
        if let Some(khz) = state.tsc_khz
            && vcpu.get_tsc_khz().ok() != Some(khz)
        {
            vcpu.set_tsc_khz(khz).map_err(CpuError::kvm("run the TSC at the snapshot's frequency"))?;
        }
        vcpu.set_mp_state(state.mp_state).map_err(CpuError::kvm("restore the state of being run"))?;
        vcpu.set_regs(&state.regs).map_err(CpuError::kvm("restore the registers"))?;
        // Before the local APIC: the base MSR is among them, and says how the APIC's state is to be read.
        vcpu.set_sregs(&state.sregs).map_err(CpuError::kvm("restore the control registers"))?;
        self.restore_xsave(vcpu, &state.xsave)?;
        vcpu.set_xcrs(&state.xcrs).map_err(CpuError::kvm("restore XCR0"))?;
        vcpu.set_debug_regs(&state.debugregs).map_err(CpuError::kvm("restore the debug registers"))?;
        vcpu.set_lapic(&state.lapic).map_err(CpuError::kvm("restore the local APIC"))?;
        for batch in state.msrs.chunks(MSR_BATCH) {
            let batch: Vec<_> = batch.iter().map(|msr| (msr.index, msr.data)).collect();
            set_msrs(vcpu, &batch)?;
        }
        // Last: the others inject or take back what is pending.
        vcpu.set_vcpu_events(&state.events).map_err(CpuError::kvm("restore pending events"))
    }

    /// Tells a guest with a kvm-clock that it was away, so that it does not take that for a lockup; one without has no need.
    pub fn tell_of_pause(&self, vcpu: &VcpuFd) {
        let _ = vcpu.kvmclock_ctrl();
    }

    /// Room for the extended state of a vCPU of this VM.
    fn xsave(&self) -> Result<Xsave, CpuError> {
        Xsave::new(self.xsave_words - XSAVE_WORDS).map_err(|_| CpuError::ExtendedState)
    }

    fn save_xsave(&self, vcpu: &VcpuFd) -> Result<Vec<u32>, CpuError> {
        let refused = CpuError::kvm("save the extended state");
        if self.xsave_words == XSAVE_WORDS {
            return Ok(vcpu.get_xsave().map_err(refused)?.region.to_vec());
        }
        let mut xsave = self.xsave()?;
        // SAFETY: `xsave` has room for as much as KVM says that it writes for this VM, and hull enables no features by
        // arch_prctl, which would make it more.
        unsafe { vcpu.get_xsave2(&mut xsave) }.map_err(refused)?;
        Ok([&xsave.as_fam_struct_ref().xsave.region, xsave.as_slice()].concat())
    }

    fn restore_xsave(&self, vcpu: &VcpuFd, words: &[u32]) -> Result<(), CpuError> {
        // What this host has in excess starts as zero, which is a component's initial state. What it lacks KVM refuses if
        // it is in use.
        let (region, extra) = words.split_first_chunk().ok_or(CpuError::ExtendedState)?;
        let mut xsave = self.xsave()?;
        let common = extra.len().min(self.xsave_words - XSAVE_WORDS);
        xsave.as_mut_slice()[..common].copy_from_slice(&extra[..common]);
        // SAFETY: the number of words behind it, which must not be changed, is not.
        unsafe { xsave.as_mut_fam_struct() }.xsave.region = *region;
        // SAFETY: `xsave` is as long as KVM says that it reads for this VM, see `save_xsave`.
        unsafe { vcpu.set_xsave2(&xsave) }.map_err(CpuError::kvm("restore the extended state"))
    }

    fn save_msrs(&self, vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>, CpuError> {
        let mut saved = Vec::with_capacity(self.msrs.len());
        let mut rest = self.msrs.as_slice();
        while !rest.is_empty() {
            let entries: Vec<_> = rest
                .iter()
                .take(MSR_BATCH)
                .map(|&index| kvm_msr_entry { index, ..Default::default() })
                .collect();
            let mut msrs = Msrs::from_entries(&entries).map_err(|_| CpuError::Msr(rest[0]))?;
            let count = vcpu.get_msrs(&mut msrs).map_err(CpuError::kvm("read MSRs"))?;
            saved.extend_from_slice(&msrs.as_slice()[..count]);
            // KVM stops at one that this vCPU does not have, whatever it listed: go on behind it.
            rest = &rest[(count + usize::from(count < entries.len())).min(rest.len())..];
        }
        Ok(saved)
    }
}

/// What KVM keeps for all vCPUs of a VM together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmState {
    irqchips: [kvm_irqchip; 3],
    clock: kvm_clock_data,
    /// When that was, by the host's clock: since 1970.
    saved: Duration,
    pit: Option<kvm_pit_state2>,
}

impl VmState {
    /// Saves it; `pit` says whether the VM has one.
    pub fn save(vm: &VmFd, pit: bool) -> Result<Self, CpuError> {
        let mut irqchips: [kvm_irqchip; 3] = Default::default();
        for (irqchip, id) in
            irqchips.iter_mut().zip([KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC])
        {
            irqchip.chip_id = id;
            vm.get_irqchip(irqchip).map_err(CpuError::kvm("save the interrupt controllers"))?;
        }
        let mut clock = vm.get_clock().map_err(CpuError::kvm("save the clock"))?;
        // Its flags say how it was read, and would move it by the time that the VM was away.
        clock.flags = 0;
        let pit = pit.then(|| vm.get_pit2()).transpose().map_err(CpuError::kvm("save the PIT"))?;
        Ok(VmState { irqchips, clock, saved: now(), pit })
    }

    /// How long ago it was saved, by the host's clock; no time if that was put back since.
    pub fn age(&self) -> Duration {
        now().saturating_sub(self.saved)
    }

    /// Has the guest's clock find that this time has passed.
    pub fn advance(&mut self, time: Duration) {
        self.clock.clock = self.clock.clock.saturating_add(time.as_nanos() as u64);
    }

    /// Restores it to a VM with the same controllers.
    pub fn restore(&self, vm: &VmFd) -> Result<(), CpuError> {
        for irqchip in &self.irqchips {
            vm.set_irqchip(irqchip).map_err(CpuError::kvm("restore the interrupt controllers"))?;
        }
        if let Some(pit) = &self.pit {
            vm.set_pit2(pit).map_err(CpuError::kvm("restore the PIT"))?;
        }
        vm.set_clock(&self.clock).map_err(CpuError::kvm("restore the clock"))
    }
}

/// The host's time, since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
#[path = "state_test.rs"]
mod tests;
