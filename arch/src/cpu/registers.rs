//! Registers a kernel is entered with, as its boot protocol has them.

use kvm_bindings::{kvm_dtable, kvm_fpu, kvm_regs};
use kvm_ioctls::VcpuFd;

use super::{CpuError, segments};
use crate::boot::{Entry, Protocol};
use crate::layout::{BOOT_GDT, BOOT_IDT, BOOT_PAGE_TABLES, BOOT_STACK};

/// CR0: protected mode, the bit that is always 1, paging.
const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
/// CR4: page tables of 64-bit entries.
const CR4_PAE: u64 = 1 << 5;
/// EFER: long mode enabled, long mode active.
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// RFLAGS: the bit that is always 1. Interrupts are off.
const RFLAGS_RESERVED: u64 = 1 << 1;

/// Points vCPU 0 at the kernel, after [`CpuModel::configure`](super::CpuModel::configure). The others wait for the kernel
/// to start them.
pub fn configure_boot_vcpu(vcpu: &VcpuFd, entry: &Entry) -> Result<(), CpuError> {
    let mut sregs = vcpu.get_sregs().map_err(CpuError::kvm("read the control registers"))?;
    sregs.cs = segments::code(entry.protocol);
    let data = segments::data();
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = segments::task();
    let limit = (8 * segments::GDT_ENTRIES - 1) as u16;
    sregs.gdt = kvm_dtable { base: BOOT_GDT.0, limit, ..Default::default() };
    sregs.idt = kvm_dtable { base: BOOT_IDT.0, limit: 7, ..Default::default() };
    sregs.cr0 = CR0_PE | CR0_ET;
    sregs.cr4 = 0;
    sregs.efer = 0;
    if entry.protocol == Protocol::Linux64 {
        sregs.cr3 = BOOT_PAGE_TABLES.0;
        sregs.cr4 = CR4_PAE;
        sregs.efer = EFER_LME | EFER_LMA;
        sregs.cr0 |= CR0_PG;
    }
    vcpu.set_sregs(&sregs).map_err(CpuError::kvm("set the control registers"))?;

    let mut regs = kvm_regs { rip: entry.address.0, rflags: RFLAGS_RESERVED, ..Default::default() };
    match entry.protocol {
        Protocol::Pvh => regs.rbx = entry.parameters.0,
        Protocol::Linux32 => regs.rsi = entry.parameters.0,
        Protocol::Linux64 => {
            regs.rsi = entry.parameters.0;
            regs.rsp = BOOT_STACK.0;
        }
    }
    vcpu.set_regs(&regs).map_err(CpuError::kvm("set the registers"))
}

/// Floating point as FNINIT leaves it: all exceptions masked.
pub(super) fn set_fpu(vcpu: &VcpuFd) -> Result<(), CpuError> {
    let fpu = kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..Default::default() };
    vcpu.set_fpu(&fpu).map_err(CpuError::kvm("set the floating point registers"))
}

/// Local vector table entries of the APIC, and what they are set to (SDM volume 3, section 11.5.1).
const LINT0: usize = 0x350;
const LINT1: usize = 0x360;
const EXTERNAL: u32 = 7 << 8;
const NMI: u32 = 4 << 8;

/// Virtual wire mode, as firmware leaves it and the MP table says: LINT0 takes the PIC's interrupts, LINT1 the NMI.
pub(super) fn set_local_interrupts(vcpu: &VcpuFd) -> Result<(), CpuError> {
    let mut lapic = vcpu.get_lapic().map_err(CpuError::kvm("read the local APIC"))?;
    for (register, value) in [(LINT0, EXTERNAL), (LINT1, NMI)] {
        for (byte, new) in lapic.regs[register..].iter_mut().zip(value.to_le_bytes()) {
            *byte = new as i8;
        }
    }
    vcpu.set_lapic(&lapic).map_err(CpuError::kvm("set the local APIC"))
}
