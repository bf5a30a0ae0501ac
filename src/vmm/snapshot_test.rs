use vm_memory::{Bytes, GuestAddress};

use super::*;

fn page(fill: u8) -> Vec<u8> {
    vec![fill; PAGE]
}

#[test]
fn only_pages_with_something_are_written() {
    let piece = [page(0), page(1), page(2), page(0), page(3)].concat();
    assert_eq!(runs(&piece), [PAGE..3 * PAGE, 4 * PAGE..5 * PAGE]);
    assert!(runs(&page(0)).is_empty());
    let mut last = page(0);
    last[PAGE - 1] = 1;
    assert_eq!(runs(&last), vec![0..PAGE; 1]);
}

#[test]
fn memory_is_what_it_was_and_sparse() {
    use std::os::unix::fs::MetadataExt;
    let regions = [(GuestAddress(0), 4 << 20), (GuestAddress(1 << 32), 2 << 20)];
    let memory = Memory::from_ranges(&regions).unwrap();
    memory.write_slice(b"below", GuestAddress(0x1ffe)).unwrap();
    memory.write_slice(b"above", GuestAddress((1 << 32) + 0x10_0000)).unwrap();
    let file = tempfile::tempfile().unwrap();
    let mut offset = MEMORY_OFFSET;
    for (start, size) in regions {
        write_memory(&file, offset, &memory, start, size as u64).unwrap();
        offset += size as u64;
    }
    file.set_len(offset).unwrap();
    assert!(file.metadata().unwrap().blocks() * 512 <= 16 << 10, "three pages were written");

    let again = map(file.try_clone().unwrap(), &regions).unwrap();
    let mut bytes = [0; 5];
    again.read_slice(&mut bytes, GuestAddress(0x1ffe)).unwrap();
    assert_eq!(&bytes, b"below");
    again.read_slice(&mut bytes, GuestAddress((1 << 32) + 0x10_0000)).unwrap();
    assert_eq!(&bytes, b"above");
    // What one VM writes, no other sees.
    again.write_slice(b"other", GuestAddress(0x1ffe)).unwrap();
    let third = map(file, &regions).unwrap();
    third.read_slice(&mut bytes, GuestAddress(0x1ffe)).unwrap();
    assert_eq!(&bytes, b"below");
}

#[test]
fn what_is_no_snapshot_is_refused() {
    let file = tempfile::tempfile().unwrap();
    let refusal = |file: &File| format!("{:#}", read(file).unwrap_err());
    assert!(refusal(&file).contains("cut short"));
    file.write_all_at(&[0; 100], 0).unwrap();
    assert!(refusal(&file).contains("not a snapshot"));
    let mut header = MAGIC.to_vec();
    header.extend(9u32.to_le_bytes());
    file.write_all_at(&header, 0).unwrap();
    assert!(refusal(&file).contains("format 9"));
    file.write_all_at(&VERSION.to_le_bytes(), 8).unwrap();
    // An absurd length, a state that is not there, one that is not what its sum says.
    file.write_all_at(&u64::MAX.to_le_bytes(), 20).unwrap();
    assert!(refusal(&file).contains("damaged"));
    file.write_all_at(&(1u64 << 40).to_le_bytes(), 12).unwrap();
    file.write_all_at(&7u64.to_le_bytes(), 20).unwrap();
    assert!(refusal(&file).contains("cut short"));
    file.write_all_at(&4096u64.to_le_bytes(), 12).unwrap();
    file.write_all_at(b"{\"x\":1}", 4096).unwrap();
    assert!(refusal(&file).contains("damaged"));
    file.write_all_at(&Sha256::digest(b"{\"x\":1}"), 28).unwrap();
    assert!(refusal(&file).contains("not understood"));
}
