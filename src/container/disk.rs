//! The data disk of a container: a copy of the empty one, without its holes.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::SeekFrom;

use super::error::{Error, Result};

/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;

/// Makes a container's data disk of an empty one: by reference where the file system can, else only what is not a hole. It is
/// there in whole or not at all.
///
/// # Errors
/// When the disk is full.
pub fn make(template: &File, path: &Path) -> Result<()> {
    let unfinished = path.with_extension("new");
    let disk =
        File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let copied = disk.and_then(|disk| match rustix::fs::ioctl_ficlone(&disk, template) {
        Ok(()) => Ok(()),
        Err(_) => copy_data(template, &disk),
    });
    let made = copied.and_then(|()| fs::rename(&unfinished, path));
    made.map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        Error::file("cannot make", path)(error)
    })
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
