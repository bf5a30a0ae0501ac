//! The data disk of a container: a copy of the empty one, without its holes.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use rustix::fs::SeekFrom;

use super::error::{Error, Result};

/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;

/// Makes a container's data disk of the template: by reference where the file system can, else only what is not a
/// hole.
///
/// # Errors
/// When the disk is full.
pub fn make(template: &File, path: &Path) -> Result<()> {
    let disk = File::options().read(true).write(true).create_new(true).open(path);
    let copied = disk.and_then(|disk| match rustix::fs::ioctl_ficlone(&disk, template) {
        Ok(()) => Ok(()),
        Err(_) => copy_data(template, &disk),
    });
    copied.map_err(Error::file("cannot make", path))
}

/// Copies what is not a hole.
fn copy_data(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
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

#[cfg(test)]
#[path = "disk_test.rs"]
mod tests;
