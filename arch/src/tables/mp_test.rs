use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::layout::{MAX_VCPUS, virtio_mmio_device};

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[test]
fn entries_are_as_long_and_as_many_as_the_header_says() {
    let devices: Vec<_> = (0..).map_while(virtio_mmio_device).collect();
    for vcpus in 1..=MAX_VCPUS {
        let machine = Machine { serial: true, pit: true, ..Machine::new(vcpus, &devices) };
        let table = table(&machine).unwrap();
        assert_eq!(sum(&table), 0);
        assert_eq!(u16::from_le_bytes([table[4], table[5]]) as usize, table.len());

        let mut rest = &table[44..];
        let mut counts = [0u16; 5];
        while let Some(&kind) = rest.first() {
            counts[kind as usize] += 1;
            rest = &rest[if kind == 0 { 20 } else { 8 }..];
        }
        // The timer, COM1 and eighteen devices.
        assert_eq!(counts, [vcpus.into(), 1, 1, 20, 2]);
        assert_eq!(counts.iter().sum::<u16>(), u16::from_le_bytes([table[34], table[35]]));
    }
}

#[test]
fn it_is_found_where_the_specification_and_linux_look() {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    let devices: Vec<_> = (0..).map_while(virtio_mmio_device).collect();
    write(&memory, &Machine { serial: true, pit: true, ..Machine::new(MAX_VCPUS, &devices) }).unwrap();
    for place in [layout::MP_POINTER, layout::EBDA] {
        let mut pointer = [0; POINTER_SIZE];
        memory.read_slice(&mut pointer, place).unwrap();
        assert_eq!((&pointer[..4], sum(&pointer)), (&b"_MP_"[..], 0));
        let table = u32::from_le_bytes(pointer[4..8].try_into().unwrap());
        let mut signature = [0; 4];
        memory.read_slice(&mut signature, GuestAddress(table.into())).unwrap();
        assert_eq!(&signature, b"PCMP");
    }
}

#[test]
fn only_lines_in_use_are_entered() {
    let devices = [virtio_mmio_device(0).unwrap()];
    let before = table(&Machine::new(1, &devices)).unwrap().len();
    let after = table(&Machine { serial: true, ..Machine::new(1, &devices) }).unwrap().len();
    assert_eq!(after - before, 8);
}

#[test]
fn what_no_vm_has_is_refused() {
    for vcpus in [0, MAX_VCPUS + 1] {
        assert!(matches!(table(&Machine::new(vcpus, &[])), Err(TablesError::Vcpus(v)) if v == vcpus));
    }
    let tiny = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 4096)]).unwrap();
    assert!(matches!(write(&tiny, &Machine::new(1, &[])), Err(TablesError::Memory { .. })));
}
