use vm_memory::{GuestAddress, GuestMemoryRegion, MemoryRegionAddress};

use super::*;

#[test]
fn requests_are_those_of_the_system() {
    assert_eq!((API, REGISTER, NEW), (0xc018_aa3f, 0xc020_aa00, 0xaa00));
}

#[test]
fn each_mapping_says_where_it_is_in_the_file() {
    let memory =
        Memory::from_ranges(&[(GuestAddress(0), 2 << 20), (GuestAddress(1 << 32), 4 << 20)]).unwrap();
    let mappings = mappings(&memory, 5 << 20).unwrap();
    let addresses: Vec<_> = mappings.iter().map(|mapping| mapping.base_host_virt_addr).collect();
    let regions = memory.iter().map(|region| region.get_host_address(MemoryRegionAddress(0)).unwrap() as u64);
    assert_eq!(addresses, regions.collect::<Vec<_>>());
    let places: Vec<_> = mappings.iter().map(|mapping| (mapping.offset, mapping.size)).collect();
    assert_eq!(places, [(4096, 2 << 20), (4096 + (2 << 20), 3 << 20)]);
    let text = serde_json::to_value(&mappings[0]).unwrap();
    assert_eq!((&text["page_size"], &text["page_size_kib"]), (&4096.into(), &4096.into()));
}
