//! Hardware-reduced ACPI (ACPI specification 6.5, sections 3.11.1 and 5.2): no ACPI hardware but a sleep register, a reset
//! register and a device that announces events.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Method, Name, Notify, ONE, Package, Path,
    ResourceTemplate, Scope, ZERO,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::{Machine, MmioDevice, TablesError};
use crate::layout::{self, AddressRange};

const NAME: &str = "ACPI tables";
const OEM_ID: [u8; 6] = *b"HULL  ";
const OEM_TABLE_ID: [u8; 8] = *b"MICROVM ";
const OEM_REVISION: u32 = 1;
/// Boundary of each table.
const ALIGNMENT: u64 = 64;

/// Sleep type of S5, soft off.
const POWER_OFF: u8 = 5;
/// Bit of the sleep control register that goes to sleep (section 4.8.3.7).
const SLEEP_ENABLE: u8 = 1 << 5;

/// Boot architecture flags of the FADT (table 5.10): no VGA, no CMOS clock.
const NO_VGA: u16 = 1 << 2;
const NO_CMOS_CLOCK: u16 = 1 << 5;

/// Whether `value`, written by the guest to [`layout::SLEEP_CONTROL_PORT`], powers the machine off.
pub fn is_power_off(value: u8) -> bool {
    value & SLEEP_ENABLE != 0 && value >> 2 & 7 == POWER_OFF
}

/// Writes the tables for `machine` to [`layout::ACPI_TABLES`], and the MP table too, and returns the address of the root
/// pointer, which the boot protocol hands to the kernel.
pub fn write<M: GuestMemoryBackend>(memory: &M, machine: &Machine) -> Result<GuestAddress, TablesError> {
    // Linux looks for an MP table even so, and where there is none it maps and unmaps a page for each of 4,000 places.
    super::mp::write(memory, machine)?;
    let tables = AddressRange::new(layout::ACPI_TABLES.0, layout::HIGH_MEMORY.0 - layout::ACPI_TABLES.0);
    // The root pointer comes first, and is written last, when it is known where the others are.
    let mut next = tables.start + ALIGNMENT;
    let mut add = |table: &[u8]| {
        let address = next;
        next = (address + table.len() as u64).next_multiple_of(ALIGNMENT);
        if next > tables.end() {
            let (size, room) = ((next - tables.start) as usize, tables.size as usize);
            return Err(TablesError::TooLarge { name: NAME, size, room });
        }
        put(memory, table, address)?;
        Ok(address)
    };
    let dsdt = add(dsdt(machine).as_slice())?;
    let fadt = add(&bytes(&fadt(dsdt)))?;
    let madt = add(&bytes(&madt(machine.vcpus)))?;
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = add(&bytes(&xsdt))?;
    put(memory, &bytes(&Rsdp::new(OEM_ID, xsdt)), tables.start)?;
    Ok(layout::ACPI_TABLES)
}

fn put<M: GuestMemoryBackend>(memory: &M, table: &[u8], address: u64) -> Result<(), TablesError> {
    memory
        .write_slice(table, GuestAddress(address))
        .map_err(|source| TablesError::Memory { name: NAME, source })
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// Section 5.2.9.
fn fadt(dsdt: u64) -> acpi_tables::fadt::FADT {
    let port = |port: u16| GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port.into());
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    fadt.iapc_boot_arch = (NO_VGA | NO_CMOS_CLOCK).into();
    fadt.reset_reg = port(layout::I8042_COMMAND_PORT);
    fadt.reset_value = layout::I8042_RESET;
    fadt.sleep_control_reg = port(layout::SLEEP_CONTROL_PORT);
    fadt.sleep_status_reg = port(layout::SLEEP_STATUS_PORT);
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(*b"HULL\0\0\0\0").into();
    fadt.finalize()
}

/// Section 5.2.12. Lines need no entry: each is the pin of its number.
fn madt(vcpus: u8) -> MADT {
    let lapic = LocalInterruptController::Address(layout::LAPIC.0 as u32);
    let mut madt = MADT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, lapic);
    for id in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(vcpus, layout::IOAPIC.0 as u32, 0));
    madt
}

/// The devices, in AML (chapters 6 and 20).
fn dsdt(machine: &Machine) -> Sdt {
    let mut dsdt = Sdt::new(*b"DSDT", 36, 6, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    for (index, device) in machine.devices.iter().enumerate() {
        dsdt.append_slice(&virtio_mmio(index, device));
    }
    if machine.serial {
        dsdt.append_slice(&serial());
    }
    if machine.pvpanic {
        dsdt.append_slice(&pvpanic());
    }
    if let Some(line) = machine.generation_id {
        dsdt.append_slice(&generation_id(line));
    }
    dsdt.append_slice(&bytes(&Name::new("_S5_".into(), &Package::new(vec![&POWER_OFF]))));
    dsdt
}

/// A device of the system bus with a name, a hardware id and the objects in it.
fn device(name: &str, id: &dyn Aml, objects: &[&dyn Aml]) -> Vec<u8> {
    let id = Name::new("_HID".into(), id);
    let mut children: Vec<&dyn Aml> = vec![&id];
    children.extend(objects);
    bytes(&Scope::new("_SB_".into(), vec![&Device::new(name.into(), children)]))
}

/// An edge-triggered, active-high line that nobody else has.
fn line(gsi: u32) -> Interrupt {
    Interrupt::new(true, true, false, false, gsi)
}

fn virtio_mmio(index: usize, description: &MmioDevice) -> Vec<u8> {
    let registers = Memory32Fixed::new(true, description.base.0 as u32, description.size as u32);
    let line = line(description.gsi);
    let resources = ResourceTemplate::new(vec![&registers, &line]);
    device(
        &format!("V{index:03}"),
        &"LNRO0005",
        &[
            &Name::new("_UID".into(), &index),
            // Its DMA is coherent, which Linux wants to be told.
            &Name::new("_CCA".into(), &ONE),
            &Name::new("_CRS".into(), &resources),
        ],
    )
}

fn serial() -> Vec<u8> {
    let ports = IO::new(layout::COM1_PORT, layout::COM1_PORT, 1, 8);
    let line = line(layout::COM1_GSI);
    device(
        "COM1",
        &EISAName::new("PNP0501"),
        &[
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &line])),
        ],
    )
}

fn pvpanic() -> Vec<u8> {
    let port = IO::new(layout::PVPANIC_PORT, layout::PVPANIC_PORT, 1, 1);
    device("PEVT", &"QEMU0001", &[&Name::new("_CRS".into(), &ResourceTemplate::new(vec![&port]))])
}

/// The VM generation id, and the device by which its change is announced (section 5.6.9).
fn generation_id(gsi: u32) -> Vec<u8> {
    let address = layout::VM_GENERATION_ID.0;
    let (low, high) = (address as u32, (address >> 32) as u32);
    let mut objects = device(
        "VGEN",
        &"HULL0001",
        &[
            &Name::new("_CID".into(), &"VM_Gen_Counter"),
            &Name::new("_DDN".into(), &"VM_Gen_Counter"),
            &Name::new("ADDR".into(), &Package::new(vec![&low, &high])),
        ],
    );
    let line = line(gsi);
    // The only event there is.
    let generation_id = Path::new("\\_SB_.VGEN");
    let notify = Notify::new(&generation_id, &CHANGED);
    objects.extend(device(
        "GED_",
        &"ACPI0013",
        &[
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&line])),
            &Method::new("_EVT".into(), 1, true, vec![&notify]),
        ],
    ));
    objects
}

/// What a VM generation id's device is notified with.
const CHANGED: u8 = 0x80;

#[cfg(test)]
#[path = "acpi_test.rs"]
mod tests;
