//! The MP table (Intel MultiProcessor Specification 1.4, chapter 4).

use vm_memory::{Bytes, GuestMemoryBackend};

use super::{Machine, TablesError};
use crate::layout;

const NAME: &str = "MP table";
/// Version of the specification: 1.4.
const SPECIFICATION: u8 = 4;
/// Version of the APICs, as KVM's report it.
const APIC_VERSION: u8 = 0x14;
/// Number of the only bus.
const ISA_BUS: u8 = 0;

/// Writes the table for `machine` to [`layout::EBDA`], and the pointers by which it is found.
///
/// Only lines that are in use are entered: for each one more the guest would set up an interrupt nobody raises.
pub fn write<M: GuestMemoryBackend>(memory: &M, machine: &Machine) -> Result<(), TablesError> {
    let table = table(machine)?;
    let room = (layout::ACPI_TABLES.0 - layout::EBDA.0).min(1024) as usize - POINTER_SIZE;
    if table.len() > room {
        return Err(TablesError::TooLarge { name: NAME, size: table.len(), room });
    }

    // The specification has the pointer at the start of the last KiB of base memory. Linux looks at the bottom of
    // memory first, and maps and unmaps a page for every 16 bytes it looks at: so it gets one there.
    let table_address = layout::EBDA.0 + POINTER_SIZE as u64;
    let pointer = pointer(table_address as u32);
    let write = |bytes: &[u8], address| {
        memory.write_slice(bytes, address).map_err(|source| TablesError::Memory { name: NAME, source })
    };
    write(&pointer, layout::MP_POINTER)?;
    write(&pointer, layout::EBDA)?;
    write(&table, vm_memory::GuestAddress(table_address))
}

/// Size of the floating pointer structure (section 4.1).
const POINTER_SIZE: usize = 16;

fn pointer(table: u32) -> [u8; POINTER_SIZE] {
    let mut pointer = [0; POINTER_SIZE];
    pointer[..4].copy_from_slice(b"_MP_");
    pointer[4..8].copy_from_slice(&table.to_le_bytes());
    pointer[8] = (POINTER_SIZE / 16) as u8;
    pointer[9] = SPECIFICATION;
    pointer[10] = checksum(&pointer);
    pointer
}

/// The configuration table (sections 4.2 and 4.3).
fn table(machine: &Machine) -> Result<Vec<u8>, TablesError> {
    machine.check()?;
    let ioapic_id = machine.vcpus;
    let mut table = Vec::with_capacity(1024);
    table.extend_from_slice(b"PCMP");
    table.extend_from_slice(&[0, 0, SPECIFICATION, 0]);
    table.extend_from_slice(b"HULL    ");
    table.extend_from_slice(b"microVM     ");
    table.extend_from_slice(&[0; 8]); // no OEM table; length and number of entries follow below
    table.extend_from_slice(&(layout::LAPIC.0 as u32).to_le_bytes());
    table.extend_from_slice(&[0; 4]); // no extended table

    let mut entries = 0u16;
    let mut entry = |bytes: &[u8]| {
        table.extend_from_slice(bytes);
        entries += 1;
    };
    for apic_id in 0..machine.vcpus {
        let enabled_and_boot = 1 | u8::from(apic_id == 0) << 1;
        // Family 6, FPU and APIC: what no kernel reads where there is CPUID.
        entry(&[0, apic_id, APIC_VERSION, enabled_and_boot, 0, 6, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    entry(&[1, ISA_BUS, b'I', b'S', b'A', b' ', b' ', b' ']);
    let ioapic = (layout::IOAPIC.0 as u32).to_le_bytes();
    entry(&[2, ioapic_id, APIC_VERSION, 1, ioapic[0], ioapic[1], ioapic[2], ioapic[3]]);
    for line in machine.lines() {
        // Edge-triggered and active high, said and not left to the bus.
        entry(&[3, 0, 0b0101, 0, ISA_BUS, line, ioapic_id, line]);
    }
    // ExtINT at LINT0 of the boot processor, NMI at LINT1 of all.
    entry(&[4, 3, 0, 0, ISA_BUS, 0, 0, 0]);
    entry(&[4, 1, 0, 0, ISA_BUS, 0, 0xff, 1]);

    let length = table.len() as u16;
    table[4..6].copy_from_slice(&length.to_le_bytes());
    table[34..36].copy_from_slice(&entries.to_le_bytes());
    table[7] = checksum(&table);
    Ok(table)
}

/// What makes the sum of all bytes 0.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
#[path = "mp_test.rs"]
mod tests;
