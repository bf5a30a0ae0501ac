//! A new volume is filled once, by the first container that has it, however many are started at the same time.
//!
//! Whoever opens a volume has its lock, and one that will fill it keeps that until its container runs; the others wait, and find it whole.
//! A file beside what is in the volume, where no container has a say, tells that it is not whole: the keeper removes it when the container
//! runs. So a container that was killed on the way leaves a volume that is filled anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{MountKind, MountPoint};
use crate::container::error::{Error, Result};
use crate::container::state::Lock;
use crate::container::volume::remove_tree;

/// Held by whoever looks whether a volume is to be filled, and fills it.
const LOCK: &str = ".filling";
/// There while a volume is not whole.
const MARK: &str = ".unfilled";

/// Volumes that are this container's to fill.
#[derive(Debug, Default)]
pub struct Filling {
    /// Held until they are.
    locks: Vec<Lock>,
    /// What says that they are not.
    marks: Vec<PathBuf>,
    volumes: Vec<String>,
}

impl Filling {
    /// Looks which volumes among these mounts are to be filled, and waits while others fill some.
    ///
    /// # Errors
    /// When one cannot be locked, or not be emptied of what was left in it.
    pub fn begin(mounts: &[MountPoint]) -> Result<Self> {
        let mut volumes: Vec<_> = mounts.iter().filter(|mount| mount.kind == MountKind::Volume).collect();
        // All in the same order, so that no two wait for one another; of several mounts of one the first that fills it.
        volumes.sort_by_key(|mount| (&mount.source, !(mount.populate && mount.writable)));
        volumes.dedup_by_key(|mount| &mount.source);
        let mut filling = Self::default();
        for mount in volumes {
            let Some(folder) = mount.source.parent().filter(|_| mount.source.is_dir()) else { continue };
            let path = folder.join(LOCK);
            let lock = Lock::take(&path, true).map_err(Error::file("cannot lock", &path))?;
            let fills = mount.populate && mount.writable;
            let mark = folder.join(MARK);
            let begun = prepare(&mount.source, &mark, fills);
            if begun.map_err(Error::file("cannot prepare the volume", &mount.source))? {
                filling.locks.extend(lock);
                filling.marks.push(mark);
                filling.volumes.push(mount.destination.clone());
            }
        }
        Ok(filling)
    }

    /// Whether the volume with this place in the container is to be filled.
    pub fn contains(&self, destination: &str) -> bool {
        self.volumes.iter().any(|volume| volume == destination)
    }

    /// They are filled: the agent does so before the container runs.
    pub fn done(self) {
        for mark in self.marks {
            // Where files can be made they can be removed.
            let _ = fs::remove_file(mark);
        }
    }
}

/// Makes a volume ready to be filled, if it is empty or was left half filled; the caller has its lock.
fn prepare(volume: &Path, mark: &Path, fills: bool) -> io::Result<bool> {
    if mark.exists() {
        remove_tree(volume)?;
        fs::create_dir(volume)?;
        fs::remove_file(mark)?;
    }
    // One that this user may not look into is a container's own already.
    if !fills || fs::read_dir(volume).map_or(true, |mut entries| entries.next().is_some()) {
        return Ok(false);
    }
    fs::File::create_new(mark)?;
    Ok(true)
}

#[cfg(test)]
#[path = "fill_test.rs"]
mod tests;
