//! Copies of disks, without their holes.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

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
    let length = seek(from, SeekFrom::End(0))?;
    to.set_len(length)?;
    let mut buffer = vec![0; CHUNK];
    for stretch in stretches(from) {
        let Range { start: mut at, end } = stretch?;
        while at < end {
            let part = &mut buffer[..(end - at).min(CHUNK as u64) as usize];
            from.read_exact_at(part, at)?;
            to.write_all_at(part, at)?;
            at += part.len() as u64;
        }
    }
    Ok(())
}

/// What is not a hole in a file, in order. An error is the last that is of use.
pub fn stretches(file: &File) -> impl Iterator<Item = io::Result<Range<u64>>> {
    let mut at = 0;
    std::iter::from_fn(move || match seek(file, SeekFrom::Data(at)) {
        Ok(start) => Some(seek(file, SeekFrom::Hole(start)).map_err(io::Error::from).map(|end| {
            at = end;
            start..end
        })),
        // Nothing but a hole is left.
        Err(Errno::NXIO) => None,
        Err(error) => Some(Err(error.into())),
    })
}
