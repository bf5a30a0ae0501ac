//! Copies of disks, without their holes.

use std::{fs::File, io, os::unix::fs::FileExt};

use rustix::fs::SeekFrom;

/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;

/// Makes `to`, which is empty, a copy of `from`: by reference where the file system can, else only what is not a hole.
///
/// # Errors
/// When the disk is full.
pub fn copy(from: &File, to: &File) -> io::Result<()> {
    match rustix::fs::ioctl_ficlone(to, from) {
        Ok(()) => Ok(()),
        Err(_) => copy_data(from, to),
    }
}

/// Copies what is not a hole.
fn copy_data(from: &File, to: &File) -> io::Result<()> {
    // By seeking, which knows the length of a block device too.
    let length = rustix::fs::seek(from, SeekFrom::End(0))?;
    to.set_len(length)?;
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
        at = start;
        while at < end {
            let part = &mut buffer[..(end - at).min(CHUNK as u64) as usize];
            from.read_exact_at(part, at)?;
            to.write_all_at(part, at)?;
            at += part.len() as u64;
        }
    }
    Ok(())
}
