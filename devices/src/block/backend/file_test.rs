use std::io::Write;

use super::*;

#[test]
fn zeroes_are_written_where_the_file_system_makes_none() {
    // A pipe allows no fallocate; a file does. /dev/shm knows holes and no zero ranges.
    let Ok(mut file) = tempfile::tempfile_in("/dev/shm") else { return };
    file.write_all(&[1; 300_000]).unwrap();
    let disk = FileDisk::new(file.try_clone().unwrap(), false).unwrap();
    disk.write_zeroes(512, 200_192, false).unwrap();
    let mut bytes = vec![9; 201_216];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..512].iter().all(|byte| *byte == 1));
    assert!(bytes[512..200_704].iter().all(|byte| *byte == 0));
    assert!(bytes[200_704..].iter().all(|byte| *byte == 1));
    disk.discard(0, 4096).unwrap();
    disk.flush().unwrap();
}

#[test]
fn what_cannot_be_given_back_is_unsupported() {
    assert!(unsupported(&Errno::OPNOTSUPP.into()));
    assert!(!unsupported(&Errno::IO.into()));
    assert!(!unsupported(&io::ErrorKind::UnexpectedEof.into()));
}
