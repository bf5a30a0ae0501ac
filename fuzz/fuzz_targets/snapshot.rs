//! The file of a snapshot: as it comes, or with a header that vouches for whatever state it has.
#![no_main]

use std::{fs::File, io::Write};

use rustix::fs::{MemfdFlags, memfd_create};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((kind, content)) = input.split_first() else { return };
    let mut file = File::from(memfd_create("snapshot", MemfdFlags::CLOEXEC).unwrap());
    if kind % 2 == 0 {
        file.write_all(content).unwrap();
    } else {
        hull::vmm::snapshot::seal(&file, u64::from(*kind) << 20, content).unwrap();
    }
    let _ = hull::vmm::snapshot::read(&file);
});
