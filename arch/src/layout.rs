//! The guest's physical address space, interrupt lines and ports.
//!
//! ```text
//! 0                 640 KiB   1 MiB                  3 GiB               4 GiB
//! ├─ boot structures ─┤ tables ├─ kernel, RAM … RAM ─┤ gap: PCI, virtio-mmio,├─ RAM above 3 GiB ─┤─ growth ─┤─ 64-bit ─┤
//!                                                     IOAPIC, LAPIC                                  (virtio-mem) (pmem, PCI)
//! ```
//!
//! Everything below 1 MiB is chosen so that Linux, which reserves the first 64 KiB and everything from
//! 0x9_f000 to 1 MiB for itself whatever the memory map says, loses no page to it.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;

/// A page of the guest, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// RAM comes in multiples of this, in bytes.
pub const MEMORY_STEP: u64 = 2 << 20;
/// Most virtual CPUs of a VM.
pub const MAX_VCPUS: u8 = 32;

// Below 1 MiB. All of it is written before the first instruction and free for the guest afterwards, but for the
// tables.

/// MP floating pointer, where Linux looks first. Not 0, which old kernels take for "not found".
pub const MP_POINTER: GuestAddress = GuestAddress(0x10);
/// Global descriptor table of the 64-bit and 32-bit boot protocols.
pub const BOOT_GDT: GuestAddress = GuestAddress(0x500);
/// Interrupt descriptor table of the boot protocols: one empty entry.
pub const BOOT_IDT: GuestAddress = GuestAddress(0x580);
/// `hvm_start_info` of the PVH protocol, with its modules behind it.
pub const PVH_START_INFO: GuestAddress = GuestAddress(0x6000);
/// Memory map of the PVH protocol.
pub const PVH_MEMORY_MAP: GuestAddress = GuestAddress(0x6800);
/// `boot_params` of the Linux boot protocol, one page.
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
/// Top of a stack of some 3 KiB for the kernel's first instructions.
pub const BOOT_STACK: GuestAddress = GuestAddress(0x8ff0);
/// Page tables of the 64-bit boot protocol, three pages: the first GiB is mapped as it is.
pub const BOOT_PAGE_TABLES: GuestAddress = GuestAddress(0x9000);
/// The kernel's command line.
pub const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);
/// End of the RAM below 1 MiB, and where the MP table is: the last KiB of base memory.
pub const EBDA: GuestAddress = GuestAddress(0x9_fc00);
/// Where the 16 bytes of the VM generation id are: RAM that the memory map withholds, so that it is part of a snapshot.
pub const VM_GENERATION_ID: GuestAddress = GuestAddress(0xd_f000);
/// ACPI's root pointer, with all tables behind it, up to [`HIGH_MEMORY`].
pub const ACPI_TABLES: GuestAddress = GuestAddress(0xe_0000);
/// RAM goes on here; kernels are loaded above.
pub const HIGH_MEMORY: GuestAddress = GuestAddress(0x10_0000);

// The gap below 4 GiB.

/// Start of the gap in RAM, where devices are: 3 GiB of RAM are below it.
pub const GAP_START: u64 = 0xc000_0000;
/// End of the gap in RAM.
pub const GAP_END: u64 = 1 << 32;
/// Room for 32-bit PCI BARs.
pub const PCI_32BIT: AddressRange = AddressRange::new(0xc000_0000, 0x1000_0000);
/// Windows of virtio-mmio devices, [`VIRTIO_MMIO_SIZE`] each.
pub const VIRTIO_MMIO: AddressRange = AddressRange::new(0xd000_0000, 0x10_0000);
/// Size of a virtio-mmio device's window, in bytes.
pub const VIRTIO_MMIO_SIZE: u64 = PAGE_SIZE;
/// PCI's memory-mapped configuration space, 256 buses. Who uses it must reserve it in the memory map: Linux believes in it
/// only then.
pub const PCI_CONFIG: AddressRange = AddressRange::new(0xe000_0000, 0x1000_0000);
/// The IOAPIC's registers.
pub const IOAPIC: GuestAddress = GuestAddress(0xfec0_0000);
/// The local APICs' registers.
pub const LAPIC: GuestAddress = GuestAddress(0xfee0_0000);
/// Page for `KVM_SET_IDENTITY_MAP_ADDR`, which Intel hosts without unrestricted guest mode need.
pub const KVM_IDENTITY_MAP: GuestAddress = GuestAddress(0xfffb_c000);
/// Three pages for `KVM_SET_TSS_ADDR`, which Intel hosts need.
pub const KVM_TSS: GuestAddress = GuestAddress(0xfffb_d000);

// Interrupt lines: a GSI is the number of an IOAPIC pin.

/// Pins of KVM's IOAPIC.
pub const IOAPIC_PINS: u32 = 24;
/// Line of the 16550 at [`COM1_PORT`].
pub const COM1_GSI: u32 = 4;
/// Lines for virtio-mmio devices, one each.
pub const VIRTIO_MMIO_GSIS: RangeInclusive<u32> = 5..=IOAPIC_PINS - 2;
/// Line on which a change of the VM generation id is announced.
pub const GENERATION_ID_GSI: u32 = IOAPIC_PINS - 1;

// Ports.

/// The 16550's registers, eight ports.
pub const COM1_PORT: u16 = 0x3f8;
/// The i8042's command register.
pub const I8042_COMMAND_PORT: u16 = 0x64;
/// What is written to [`I8042_COMMAND_PORT`] to reset the machine; ACPI's reset register says the same.
pub const I8042_RESET: u8 = 0xfe;
/// pvpanic's only register.
pub const PVPANIC_PORT: u16 = 0x505;
/// ACPI's sleep control register, one byte; see [`crate::tables::acpi::is_power_off`].
pub const SLEEP_CONTROL_PORT: u16 = 0x600;
/// ACPI's sleep status register, one byte; reads 0, writes are ignored.
pub const SLEEP_STATUS_PORT: u16 = 0x601;

/// A range of guest-physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AddressRange {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl AddressRange {
    /// The range of `size` bytes at `start`; `start + size` must not overflow.
    pub const fn new(start: u64, size: u64) -> Self {
        AddressRange { start, size }
    }

    /// The first address behind the range.
    pub const fn end(&self) -> u64 {
        self.start + self.size
    }

    /// Whether `address` is inside.
    pub const fn contains(&self, address: u64) -> bool {
        self.start <= address && address - self.start < self.size
    }

    /// Whether the two have a byte in common.
    pub const fn overlaps(&self, other: &AddressRange) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// The virtio-mmio device number `index`: its window and its interrupt line.
///
/// `None` if there is no line left for it: [`VIRTIO_MMIO_GSIS`] are shared by nobody.
pub fn virtio_mmio_device(index: usize) -> Option<crate::tables::MmioDevice> {
    let gsi = VIRTIO_MMIO_GSIS.clone().nth(index)?;
    let base = VIRTIO_MMIO.start + index as u64 * VIRTIO_MMIO_SIZE;
    Some(crate::tables::MmioDevice { base: GuestAddress(base), size: VIRTIO_MMIO_SIZE, gsi })
}

/// Where a VM's memory is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryMap {
    /// RAM that is there from the start: one range below the gap, and one above it if there is more than 3 GiB.
    pub ram: Vec<AddressRange>,
    /// Addresses kept for memory that is added while the VM runs (virtio-mem); may be empty.
    pub growth: AddressRange,
    /// What is left above, for 64-bit PCI BARs and persistent memory.
    pub devices: AddressRange,
}

/// Why a VM cannot have the memory asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not a multiple of the step.
    #[error("memory of {0} bytes is not a multiple of 2 MiB; round it up")]
    Uneven(u64),
    /// No memory at all.
    #[error("a VM needs memory; give it at least 2 MiB, and as a rule 64 MiB or more")]
    None,
    /// More than can be addressed.
    #[error(
        "{memory} bytes of memory that may grow by {growth} do not fit {address_bits} bits of physical \
             address, which is what this host's CPU has; ask for less"
    )]
    TooMuch {
        /// Bytes at the start.
        memory: u64,
        /// Bytes it may grow by.
        growth: u64,
        /// Bits of a physical address.
        address_bits: u8,
    },
}

impl MemoryMap {
    /// Boundary on which the ranges above RAM begin: virtio-mem blocks and BARs of any size fit.
    const ALIGNMENT: u64 = 1 << 30;

    /// Lays out `memory` bytes of RAM and room for `growth` more, both multiples of [`MEMORY_STEP`], in an address
    /// space of `address_bits` (36 to 52; see [`crate::cpu::CpuModel::address_bits`]).
    pub fn new(memory: u64, growth: u64, address_bits: u8) -> Result<Self, LayoutError> {
        for size in [memory, growth] {
            if !size.is_multiple_of(MEMORY_STEP) {
                return Err(LayoutError::Uneven(size));
            }
        }
        if memory == 0 {
            return Err(LayoutError::None);
        }
        let limit = 1u64 << address_bits.min(52);
        let too_much = LayoutError::TooMuch { memory, growth, address_bits };
        if memory > limit || growth > limit {
            return Err(too_much);
        }

        let ram = memory_regions(memory);
        let top = ram.last().map_or(0, AddressRange::end).max(GAP_END);
        let growth = AddressRange::new(top.next_multiple_of(Self::ALIGNMENT), growth);
        let devices = growth.end().next_multiple_of(Self::ALIGNMENT);
        if devices > limit {
            return Err(too_much);
        }
        Ok(MemoryMap { ram, growth, devices: AddressRange::new(devices, limit - devices) })
    }

    /// The RAM in the form that `GuestMemoryMmap::from_ranges` takes.
    pub fn regions(&self) -> Vec<(GuestAddress, usize)> {
        self.ram.iter().map(|range| (GuestAddress(range.start), range.size as usize)).collect()
    }

    /// RAM there is from the start, in bytes.
    pub fn memory(&self) -> u64 {
        self.ram.iter().map(|range| range.size).sum()
    }

    /// The RAM as firmware would tell the guest of it. What is not in it is not RAM to the guest: tables and devices, which
    /// are told of otherwise, and the [`growth`](Self::growth), which virtio-mem announces.
    ///
    /// Nothing is listed as reserved: while it maps its memory, Linux walks through this list some thousand times.
    pub fn e820(&self) -> Vec<AddressRange> {
        let mut entries = vec![AddressRange::new(0, EBDA.0)];
        for range in &self.ram {
            let start = range.start.max(HIGH_MEMORY.0);
            entries.push(AddressRange::new(start, range.end() - start));
        }
        entries
    }
}

/// The ranges of `size` bytes of RAM: below the gap, then above it.
pub fn memory_regions(size: u64) -> Vec<AddressRange> {
    let low = size.min(GAP_START);
    let mut ranges = vec![AddressRange::new(0, low)];
    if size > low {
        ranges.push(AddressRange::new(GAP_END, size - low));
    }
    ranges
}

#[cfg(test)]
#[path = "layout_test.rs"]
mod tests;
