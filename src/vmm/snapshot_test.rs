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
fn memory_is_written_without_its_zeroes() {
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
    let mut word = [0; 5];
    file.read_exact_at(&mut word, MEMORY_OFFSET + (4 << 20) + 0x10_0000).unwrap();
    assert_eq!(&word, b"above");
    file.set_len(offset).unwrap();
    assert!(file.metadata().unwrap().blocks() * 512 <= 16 << 10, "three pages were written");
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

#[test]
fn no_flipped_bit_of_header_or_state_goes_unseen() {
    // The state is none that can be understood, which is found out when all sums were right.
    let state = br#"{"memory":8192,"cpu":"none","vcpus":[]}"#;
    let (file, offset) = (tempfile::tempfile().unwrap(), MEMORY_OFFSET + 8192);
    assert_eq!(seal(&file, 8192, state).unwrap(), digest(&file).unwrap());
    let refusal = || format!("{:#}", read(&file).unwrap_err());
    assert!(refusal().contains("not understood"));
    let places = (0..60).chain(offset..offset + state.len() as u64);
    for at in places {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        for bit in 0..8 {
            file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
            assert!(!refusal().contains("not understood"), "bit {bit} of byte {at}");
        }
        file.write_all_at(&byte, at).unwrap();
    }
    for length in [0, 59, 60, 4096, offset, offset + state.len() as u64 - 1] {
        file.set_len(length).unwrap();
        assert!(!refusal().contains("not understood"), "{length} bytes");
    }
}

#[test]
fn cpus_are_compared_by_vendor_where_features_can_be() {
    let (native, other) = (Quirks { pvm: true }, Quirks { pvm: false });
    assert!(fits("GenuineIntel 0x806f8", "GenuineIntel 0x50657", &other));
    assert!(!fits("GenuineIntel 0x806f8", "AuthenticAMD 0xa20f10", &other));
    assert!(fits("GenuineIntel 0x806f8", "GenuineIntel 0x806f8", &native));
    assert!(!fits("GenuineIntel 0x806f8", "GenuineIntel 0x50657", &native));
}

#[test]
fn a_stretch_of_the_file_is_a_part_of_each_region_that_it_is_in() {
    let low = 4u64 << 20;
    let memory =
        Memory::from_ranges(&[(GuestAddress(0), low as usize), (GuestAddress(1 << 32), 2 << 20)]).unwrap();
    let part = |at, address, length| Part { at, address: GuestAddress(address), length };
    let stretches = [0x1000..0x3000, low - 0x1000..low + 0x1000, low + 0x5000..low + 0x6000];
    let expected = [
        part(0x1000, 0x1000, 0x2000),
        part(low - 0x1000, low - 0x1000, 0x1000),
        part(low, 1 << 32, 0x1000),
        part(low + 0x5000, (1 << 32) + 0x5000, 0x1000),
    ];
    assert_eq!(parts(&memory, &stretches), expected);
    // Nothing is there behind the last.
    assert_eq!(parts(&memory, &[(6 << 20)..(7 << 20), u64::MAX - 1..u64::MAX]), []);
}

#[test]
fn a_layer_is_what_the_one_above_says() {
    let state = br#"{"memory":8192,"difference":{"from":"00","stretches":[{"start":4096,"end":8192}]}}"#;
    let file = tempfile::tempfile().unwrap();
    let sealed = |state: &[u8]| hex::encode(seal(&file, 8192, state).unwrap());
    let from = sealed(state);
    let layer = read_layer(&file, &from, 8192).unwrap();
    assert_eq!(layer.difference.unwrap().stretches, vec![4096..8192; 1]);
    let refusal = |from: &str, memory| format!("{:#}", read_layer(&file, from, memory).unwrap_err());
    assert!(refusal("00", 8192).contains("another now"));
    assert!(refusal(&from, 4096).contains("another now"));
    // Stretches that are not in the memory, not of whole pages, or empty.
    for (start, end) in [(4096, 12288), (1, 4096), (4096, 4096), (8192, 4096), (0, u64::MAX)] {
        let state = format!(
            r#"{{"memory":8192,"difference":{{"from":"","stretches":[{{"start":{start},"end":{end}}}]}}}}"#
        );
        let from = sealed(state.as_bytes());
        assert!(refusal(&from, 8192).contains("has not"), "{start}..{end}");
    }
    let from = sealed(br#"{"memory":4096,"difference":null}"#);
    assert!(refusal(&from, 4096).contains("not where it should be"));
}
