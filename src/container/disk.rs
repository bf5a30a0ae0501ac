//! The data disk of a container: a copy of the empty one, without its holes.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::error::{Error, Result};
use crate::{assets::Assets, vm::sparse};

/// Makes a disk with nothing on it.
///
/// # Errors
/// When the empty one is missing, or the disk is full.
pub fn make_empty(path: &Path) -> Result<()> {
    let empty = Assets::find().and_then(|assets| Assets::open(&assets.data_disk()));
    make(&empty.map_err(Error::missing)?, path)
}

/// Makes a container's data disk of an empty one: by reference where the file system can, else only what is not a hole. It is
/// there in whole or not at all.
///
/// # Errors
/// When the disk is full.
pub fn make(template: &File, path: &Path) -> Result<()> {
    let unfinished = path.with_extension("new");
    let disk =
        File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let copied = disk.and_then(|disk| sparse::copy(template, &disk));
    let made = copied.and_then(|()| fs::rename(&unfinished, path));
    made.map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        Error::file("cannot make", path)(error)
    })
}

#[cfg(test)]
#[path = "disk_test.rs"]
mod tests;
