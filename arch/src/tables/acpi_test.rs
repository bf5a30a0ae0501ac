use vm_memory::GuestMemoryMmap;

use super::*;
use crate::layout::{GENERATION_ID_GSI, MAX_VCPUS, virtio_mmio_device};

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn read(memory: &GuestMemoryMmap<()>, address: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

/// The table at `address`, by the length in its header.
fn table(memory: &GuestMemoryMmap<()>, address: u64) -> Vec<u8> {
    let length = u32::from_le_bytes(read(memory, address + 4, 4).try_into().unwrap());
    let table = read(memory, address, length as usize);
    assert_eq!(sum(&table), 0, "{}", String::from_utf8_lossy(&table[..4]));
    table
}

fn u64_of(table: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(table[offset..offset + 8].try_into().unwrap())
}

#[test]
fn every_table_is_found_from_the_root_and_adds_up() {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    let devices: Vec<_> = (0..).map_while(virtio_mmio_device).collect();
    let machine = Machine {
        serial: true,
        pvpanic: true,
        generation_id: Some(GENERATION_ID_GSI),
        ..Machine::new(MAX_VCPUS, &devices)
    };
    let root = write(&memory, &machine).unwrap();
    let rsdp = read(&memory, root.0, 36);
    assert_eq!((&rsdp[..8], sum(&rsdp[..20]), sum(&rsdp)), (&b"RSD PTR "[..], 0, 0));

    let xsdt = table(&memory, u64_of(&rsdp, 24));
    let tables: Vec<_> = xsdt[36..].chunks(8).map(|entry| table(&memory, u64_of(entry, 0))).collect();
    let signatures: Vec<_> = tables.iter().map(|table| &table[..4]).collect();
    assert_eq!(signatures, [b"FACP", b"APIC"]);
    assert_eq!(tables[1].len(), 44 + 8 * usize::from(MAX_VCPUS) + 12);

    let dsdt = table(&memory, u64_of(&tables[0], 140));
    for name in ["V017", "LNRO0005", "QEMU0001", "VM_Gen_Counter", "ACPI0013", "_S5_"] {
        assert!(dsdt.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
}

#[test]
fn the_fadt_says_hardware_reduced_with_sleep_and_reset_registers() {
    let fadt = bytes(&fadt(0x1234));
    let flags = u32::from_le_bytes(fadt[112..116].try_into().unwrap());
    assert_ne!(flags & 1 << 20, 0, "HW_REDUCED_ACPI");
    assert_ne!(flags & 1 << 10, 0, "RESET_REG_SUP");
    assert_eq!((u64_of(&fadt, 120), fadt[128]), (0x64, 0xfe));
    assert_eq!((fadt[244], u64_of(&fadt, 248)), (1, layout::SLEEP_CONTROL_PORT.into()));
    assert_eq!((fadt[256], u64_of(&fadt, 260)), (1, layout::SLEEP_STATUS_PORT.into()));
}

#[test]
fn only_s5_powers_off() {
    assert!(is_power_off(5 << 2 | 1 << 5));
    assert!(!is_power_off(5 << 2));
    assert!(!is_power_off(3 << 2 | 1 << 5));
    assert!(!is_power_off(0));
}

#[test]
fn lines_are_not_shared() {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    let device = virtio_mmio_device(0).unwrap();
    let error = write(&memory, &Machine::new(1, &[device, device])).unwrap_err();
    assert!(matches!(error, TablesError::Line(5)));
    let machine = Machine { generation_id: Some(24), ..Machine::new(1, &[]) };
    assert!(matches!(write(&memory, &machine), Err(TablesError::Line(24))));
}
