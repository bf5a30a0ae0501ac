use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[test]
fn three_gigabytes_are_below_the_gap_and_the_rest_above() {
    assert_eq!(memory_regions(128 * MIB), [AddressRange::new(0, 128 * MIB)]);
    assert_eq!(memory_regions(3 * GIB), [AddressRange::new(0, 3 * GIB)]);
    assert_eq!(memory_regions(8 * GIB), [AddressRange::new(0, 3 * GIB), AddressRange::new(4 * GIB, 5 * GIB)]);
}

#[test]
fn growth_and_devices_are_above_all_ram() {
    for (memory, growth) in
        [(2 * MIB, 0), (128 * MIB, 12 * GIB), (8 * GIB, 8 * GIB), (5 * GIB + 2 * MIB, 3 * GIB)]
    {
        let map = MemoryMap::new(memory, growth, 40).unwrap();
        assert_eq!(map.memory(), memory);
        assert_eq!(map.growth.size, growth);
        assert!(map.growth.start >= GAP_END && map.growth.start >= map.ram.last().unwrap().end());
        assert!(map.devices.start >= map.growth.end());
        assert_eq!(map.devices.end(), 1 << 40);
        assert_eq!(map.growth.start % GIB, 0);
    }
}

#[test]
fn memory_that_cannot_be_is_refused() {
    assert_eq!(MemoryMap::new(0, 0, 40), Err(LayoutError::None));
    assert_eq!(MemoryMap::new(3 * MIB, 0, 40), Err(LayoutError::Uneven(3 * MIB)));
    for (memory, growth) in [(64 * GIB, 0), (GIB, 62 * GIB), (!(2 * MIB - 1), GIB)] {
        let error = MemoryMap::new(memory, growth, 36).unwrap_err();
        assert!(matches!(error, LayoutError::TooMuch { .. }), "{error}");
    }
    assert!(MemoryMap::new(60 * GIB, 0, 36).is_ok());
}

#[test]
fn the_memory_map_is_sorted_and_has_all_ram_but_the_hole_below_1_mib() {
    for memory in [2 * MIB, 128 * MIB, 3 * GIB, 8 * GIB] {
        let entries = MemoryMap::new(memory, 0, 40).unwrap().e820();
        for pair in entries.windows(2) {
            assert!(pair[0].end() <= pair[1].start, "{pair:?}");
        }
        let ram: u64 = entries.iter().map(|range| range.size).sum();
        assert_eq!(ram, memory - (HIGH_MEMORY.0 - EBDA.0));
    }
}

#[test]
fn there_are_eighteen_virtio_mmio_devices_with_a_line_each() {
    let devices: Vec<_> = (0..).map_while(virtio_mmio_device).collect();
    assert_eq!(devices.len(), 18);
    assert_eq!((devices[0].gsi, devices[17].gsi), (5, 22));
    for pair in devices.windows(2) {
        assert_eq!(pair[0].base.0 + pair[0].size, pair[1].base.0);
    }
    let last = devices.last().unwrap();
    assert!(VIRTIO_MMIO.contains(last.base.0 + last.size - 1));
}

#[test]
fn nothing_in_the_gap_overlaps() {
    let mut ranges = [
        PCI_32BIT,
        VIRTIO_MMIO,
        PCI_CONFIG,
        AddressRange::new(IOAPIC.0, PAGE_SIZE),
        AddressRange::new(LAPIC.0, PAGE_SIZE),
        AddressRange::new(KVM_IDENTITY_MAP.0, PAGE_SIZE),
        AddressRange::new(KVM_TSS.0, 3 * PAGE_SIZE),
    ];
    ranges.sort_by_key(|range| range.start);
    assert!(ranges[0].start >= GAP_START && ranges.last().unwrap().end() <= GAP_END);
    for pair in ranges.windows(2) {
        assert!(!pair[0].overlaps(&pair[1]), "{pair:x?}");
    }
}
