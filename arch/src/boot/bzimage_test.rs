use super::*;
use crate::boot::samples::*;

fn read(bytes: &[u8]) -> Result<Image, LoadError> {
    Image::read(&file(bytes))
}

fn damaged(offset: usize, with: &[u8]) -> Result<Image, LoadError> {
    let mut bytes = bzimage();
    put(&mut bytes, offset, with);
    read(&bytes)
}

#[test]
fn the_part_behind_the_setup_code_is_the_only_segment() {
    let image = read(&bzimage()).unwrap();
    let offset = 512 * (SETUP_SECTORS as u64 + 1);
    let range = AddressRange::new(BASE, INIT_SIZE.into());
    assert_eq!(image.segments, [Segment { offset, file_size: PAYLOAD_SIZE as u64, range }]);
    assert_eq!(image.setup_header.len(), 0x26c - SETUP_HEADER);
}

#[test]
fn the_64_bit_entry_is_there_if_the_flags_say_so() {
    let both = [(Protocol::Linux64, BASE + 0x200), (Protocol::Linux32, BASE)];
    assert_eq!(read(&bzimage()).unwrap().entries, both);
    assert_eq!(damaged(field::EXTENDED_LOAD_FLAGS, &[0]).unwrap().entries, both[1..]);
    // Before 2.12 there were no such flags, whatever is in their place.
    assert_eq!(damaged(field::VERSION, &0x020b_u16.to_le_bytes()).unwrap().entries, both[1..]);
}

#[test]
fn every_truncation_is_noticed() {
    let bytes = bzimage();
    // The last paragraph may lack its padding.
    for length in (0..bytes.len() - 15).step_by(31).chain([0x205, 0x206, 0x264, bytes.len() - 16]) {
        let error = read(&bytes[..length]).unwrap_err();
        let expected = if length < 0x206 { "is not a kernel" } else { "truncated" };
        assert!(error.to_string().contains(expected), "{length}: {error}");
    }
    assert!(read(&bytes[..bytes.len() - 15]).is_ok());
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    assert!(matches!(damaged(field::VERSION, &0x0206_u16.to_le_bytes()), Err(LoadError::TooOld(0x0206))));
    assert!(matches!(damaged(field::LOAD_FLAGS, &[0]), Err(LoadError::NotAKernel(_))));
    assert!(matches!(damaged(field::JUMP + 1, &[0x10]), Err(LoadError::Malformed(_))));
    assert!(matches!(damaged(field::SYSTEM_SIZE, &[0; 4]), Err(LoadError::Malformed(_))));
    assert!(matches!(damaged(field::SYSTEM_SIZE, &[0xff; 4]), Err(LoadError::Truncated { .. })));
    assert!(matches!(damaged(field::PREFERRED_ADDRESS, &[0xff; 8]), Err(LoadError::Malformed(_))));
    assert!(matches!(damaged(field::PREFERRED_ADDRESS, &[0; 8]), Err(LoadError::Place { .. })));
}
