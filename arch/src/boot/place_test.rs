use std::os::unix::fs::FileExt;

use vm_memory::{GuestRegionMmap, MmapRegion};

use super::*;
use crate::boot::samples::file;

const PAGES: u64 = 16;
const SIZE: usize = (PAGES * PAGE_SIZE) as usize;

/// Bytes of which no two pages are alike.
fn content() -> Vec<u8> {
    (0..SIZE).map(|i| (i / 4096 * 16 + i % 251) as u8 | 1).collect()
}

fn memory() -> GuestMemoryMmap<()> {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap()
}

fn all(memory: &GuestMemoryMmap<()>) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    bytes
}

/// How many mappings of the file there are in this process.
fn mappings_of(file: &File) -> usize {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(" {} ", file.metadata().unwrap().ino());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(&inode)).count()
}

#[test]
fn mapped_or_copied_the_guest_sees_the_same() {
    let content = content();
    let file = file(&content);
    for (offset, start, size) in [
        (0, 0, SIZE as u64),
        (4096, 8192, 8192),
        (0x1010, 0x3010, 0x2fff),
        (0x1010, 0x3000, 0x2fff),
        (0x1001, 0x3001, 0x10),
        (0x1001, 0x3001, 0xfff),
        (0x1001, 0x3001, 0x1000),
        (0, 0, 0),
        (0, 4096, 0),
        (0x2000, 0x1000, 1),
    ] {
        let segment =
            Segment { offset, file_size: size, range: AddressRange::new(start, SIZE as u64 - start) };
        let (mapped, copied) = (memory(), memory());
        place(&mapped, &file, &segment, Placement::Map).unwrap();
        place(&copied, &file, &segment, Placement::Copy).unwrap();
        let mut expected = vec![0; SIZE];
        let (from, to, size) = (offset as usize, start as usize, size as usize);
        expected[to..to + size].copy_from_slice(&content[from..from + size]);
        assert!(all(&mapped) == expected, "mapped {segment:x?}");
        assert!(all(&copied) == expected, "copied {segment:x?}");
    }
}

#[test]
fn only_whole_pages_of_congruent_segments_are_mapped_and_go_with_the_memory() {
    let file = file(&content());
    let place_at = |start| {
        let memory = memory();
        let range = AddressRange::new(start, 0x3000);
        place(&memory, &file, &Segment { offset: 0x1000, file_size: 0x2800, range }, Placement::Map).unwrap();
        memory
    };
    let memory = place_at(0x4000);
    assert_eq!(mappings_of(&file), 1);
    drop(memory);
    assert_eq!(mappings_of(&file), 0);
    let _memory = place_at(0x4010);
    assert_eq!(mappings_of(&file), 0);
}

#[test]
fn what_the_guest_writes_never_reaches_the_file() {
    let content = content();
    let file = file(&content);
    let memory = memory();
    let range = AddressRange::new(0, SIZE as u64);
    place(&memory, &file, &Segment { offset: 0, file_size: SIZE as u64, range }, Placement::Map).unwrap();
    memory.write_slice(&[0xee; 8192], GuestAddress(2048)).unwrap();
    let mut after = vec![0; SIZE];
    file.read_exact_at(&mut after, 0).unwrap();
    assert!(after == content);
}

#[test]
fn shared_memory_is_copied_to() {
    let content = content();
    let (file, backing) = (file(&content), file(&vec![0; SIZE]));
    let region =
        MmapRegion::from_file(vm_memory::FileOffset::new(backing.try_clone().unwrap(), 0), SIZE).unwrap();
    let region = GuestRegionMmap::new(region, GuestAddress(0)).unwrap();
    let memory = GuestMemoryMmap::<()>::from_regions(vec![region]).unwrap();
    let range = AddressRange::new(0, SIZE as u64);
    place(&memory, &file, &Segment { offset: 0, file_size: SIZE as u64, range }, Placement::Map).unwrap();
    let mut shared = vec![0; SIZE];
    backing.read_exact_at(&mut shared, 0).unwrap();
    assert!(shared == content);
}

#[test]
fn a_file_that_shrank_is_an_error() {
    let file = file(&content());
    let range = AddressRange::new(0x10, 0x1000);
    let segment = Segment { offset: SIZE as u64 - 0x800, file_size: 0x1000, range };
    let error = place(&memory(), &file, &segment, Placement::Copy).unwrap_err();
    assert!(matches!(error, LoadError::Malformed(_)), "{error}");
}
