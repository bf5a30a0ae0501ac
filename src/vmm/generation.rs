//! The VM generation id (Microsoft's "Virtual Machine Generation ID"): 16 bytes of the guest's memory that no two VMs that went on
//! from one snapshot have the same. Where they changed, an interrupt says so, and Linux seeds its random numbers anew.
//!
//! ACPI tells the guest of it, so a guest without ACPI, as hull's own kernel is booted, has none.

use anyhow::Context;
use hull_arch::layout::{GENERATION_ID_GSI, VM_GENERATION_ID};
use hull_devices::device::Memory;
use kvm_ioctls::VmFd;
use vm_memory::Bytes;

/// Writes an id that no VM has had.
///
/// # Errors
/// When the system has no random numbers, or the guest no such memory.
pub fn renew(memory: &Memory) -> anyhow::Result<()> {
    let mut id = [0u8; 16];
    let filled = rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty());
    // So few bytes come at once or not at all.
    anyhow::ensure!(filled == Ok(id.len()), "the system has no random numbers for the VM generation id");
    memory.write_slice(&id, VM_GENERATION_ID).context("the VM generation id")
}

/// Has the guest look at its id as soon as it runs.
///
/// # Errors
/// When KVM refuses.
pub fn announce(vm: &VmFd) -> anyhow::Result<()> {
    // An edge.
    for active in [true, false] {
        vm.set_irq_line(GENERATION_ID_GSI, active).context("KVM_IRQ_LINE")?;
    }
    Ok(())
}
