use vm_memory::Bytes;

use super::*;

const MIB: u64 = 1 << 20;

fn map(memory: u64, growth: u64) -> MemoryMap {
    MemoryMap::new(memory, growth, 46).unwrap()
}

#[test]
fn what_grew_is_saved_and_the_rest_is_there_again() {
    let map = map(4 * MIB, 64 * MIB);
    let start = map.growth.start;
    let memory = fresh(&map).unwrap();
    let regions = saved(&map, 8 * MIB);
    assert_eq!(regions.last(), Some(&(GuestAddress(start), 8 << 20)));
    memory.write_slice(b"before", GuestAddress(start + 5 * MIB)).unwrap();
    memory.write_slice(b"last", GuestAddress(start + 64 * MIB - 4)).unwrap();

    // As a snapshot has it: a page in front, and then the regions.
    let file = tempfile::tempfile().unwrap();
    let mut offset = 4096;
    for (start, size) in regions {
        let mut bytes = vec![0; size];
        memory.read_slice(&mut bytes, start).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, offset).unwrap();
        offset += size as u64;
    }
    let file = std::sync::Arc::new(file);
    let mut mapped = Vec::new();
    let mut offset = 4096;
    for (start, size) in saved(&map, 8 * MIB) {
        let file = vm_memory::FileOffset::from_arc(file.clone(), offset);
        let region = MmapRegionBuilder::new(size)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_PRIVATE)
            .with_file_offset(file)
            .build();
        mapped.push(GuestRegionMmap::new(region.unwrap(), start).unwrap());
        offset += size as u64;
    }
    let again = complete(Memory::from_regions(mapped).unwrap(), &map, 8 * MIB).unwrap();
    let mut bytes = [0; 6];
    again.read_slice(&mut bytes, GuestAddress(start + 5 * MIB)).unwrap();
    assert_eq!(&bytes, b"before");
    // A buffer may lie on both sides of what was saved.
    again.write_slice(b"both sides", GuestAddress(start + 8 * MIB - 5)).unwrap();
    again.read_slice(&mut bytes, GuestAddress(start + 8 * MIB - 1)).unwrap();
    assert_eq!(&bytes, b" sides");
    again.read_slice(&mut bytes, GuestAddress(start + 64 * MIB - 6)).unwrap();
    assert_eq!(bytes, [0; 6], "that was not saved");
    assert!(complete(fresh(&map).unwrap(), &map, 128 * MIB).is_err());
}

#[test]
fn memory_given_back_is_empty_afterwards() {
    let map = map(4 * MIB, 64 * MIB);
    let memory = Arc::new(fresh(&map).unwrap());
    let at = |offset| GuestAddress(map.growth.start + offset);
    for offset in [0, 2 * MIB, 4 * MIB] {
        memory.write_slice(b"here", at(offset)).unwrap();
    }
    let mut backing = GiveBack::new(memory.clone());
    backing.give_back(at(2 * MIB), 2 * MIB).unwrap();
    let there = [0, 2 * MIB, 4 * MIB].map(|offset| memory.read_obj::<u32>(at(offset)).unwrap() != 0);
    assert_eq!(there, [true, false, true]);
    assert!(backing.give_back(at(63 * MIB), 2 * MIB).is_err());
}
