//! Snapshots of plain VMs that people take: where they are, and what is known of them.
//!
//! ```text
//! $XDG_DATA_HOME/hull/snapshots/    (or $HULL_DATA/snapshots, or ~/.local/share/hull/snapshots)
//!   .lock                           held while folders are made or removed
//!   .new-NAME/                      one that is being taken, locked by whoever takes it
//!   NAME/
//!     about                         what it is: a line of JSON, and a line with the JSON's SHA-256
//!     vm                            memory and state, see [`crate::vmm::snapshot`]
//!     disk0.img, …                  the writable disks of the same moment
//! ```
//! A snapshot may have of the memory only what differs from that of another, which it names by name and checksums: see
//! [`crate::vmm::snapshot`]. Memory and disks belong together: a guest has parts of its disks in its memory. So writable disks are copied while the
//! guest stands still, and each VM that goes on gets copies of its own; read-only disks are recorded by path, size and time,
//! and must be what they were.
//!
//! # What is checked when
//!
//! `about` and the state of `vm` have a SHA-256 that every restore checks: a flipped bit there is refused. Memory and
//! disks have sums too, but a restore does not look at them unless it is told to, since it would have to read all of what it
//! otherwise maps and clones: a flipped bit there is one in the guest's own memory or disk, and cannot reach further.

mod restore;
mod take;

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub use restore::{Changes, restore};
pub use take::{How, take};

use super::Stamp;
use crate::{
    config::{Name, VmFile},
    folders,
    vm::{
        folder, sums,
        unfinished::{self, Unfinished},
    },
    vmm::{MAX_FILES, snapshot},
};

/// Of `about` and of the folder; another is refused.
const VERSION: u32 = 2;
/// The file with memory and state.
const VM: &str = "vm";

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    version: u32,
    /// Its name.
    pub name: Name,
    /// When it was taken (RFC 3339).
    pub created: String,
    /// Milliseconds for which the guest stood still.
    pub paused_ms: u64,
    /// The VM that it is of.
    pub vm: VmFile,
    /// Its disks, in order.
    pub disks: Vec<Disk>,
    /// The one that its memory differs from, if it does not have all of it.
    pub below: Option<Below>,
    /// Checksum of the state in the file `vm`, as that file has it.
    state: String,
    /// Checksum of all of that file.
    sum: String,
}

/// The snapshot that another's memory differs from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Below {
    /// Its name.
    pub name: Name,
    /// The checksums that it has of its state and its file: under its name there may be another by now.
    state: String,
    sum: String,
}

/// A disk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Disk {
    /// A read-only one, which stayed where it is.
    Elsewhere {
        /// What it was like.
        stamp: Stamp,
    },
    /// A writable one, of which this is a copy.
    Copy {
        /// Bytes.
        size: u64,
        /// Checksum of its content.
        sum: String,
    },
}

/// A snapshot that is there.
#[derive(Debug)]
pub struct Snapshot {
    /// What is known of it.
    pub about: About,
    /// Its folder.
    pub path: PathBuf,
}

/// A user's snapshots.
#[derive(Debug, Clone)]
pub struct Snapshots {
    root: PathBuf,
}

/// Name of the copy of a disk.
fn disk_file(index: usize) -> String {
    format!("disk{index}.img")
}

impl Snapshots {
    /// This user's. The folder is made when the first is taken.
    pub fn open() -> Self {
        let data = folders::user(Some("HULL_DATA"), "XDG_DATA_HOME", ".local/share", "/var/lib/hull");
        Self::at(data.join("snapshots"))
    }

    /// Those in this folder.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of the snapshot of this name.
    fn folder(&self, name: &Name) -> anyhow::Result<PathBuf> {
        let path = self.root.join(name.as_str());
        anyhow::ensure!(
            path.is_dir(),
            "there is no snapshot {name}; `hull vm snapshots` shows what there is"
        );
        Ok(path)
    }

    /// The snapshot of this name.
    ///
    /// # Errors
    /// When there is none, or it is damaged or of another version of hull.
    pub fn find(&self, name: &Name) -> anyhow::Result<Snapshot> {
        let path = self.folder(name)?;
        let about = read_about(&path).with_context(|| format!("snapshot {name}"))?;
        anyhow::ensure!(about.name == *name, "snapshot {name}: it was taken as {}", about.name);
        Ok(Snapshot { about, path })
    }

    /// All snapshots by name; what is wrong with those that are of no use.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<(Name, anyhow::Result<Snapshot>)>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context(format!("cannot read {}", self.root.display())),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut all: Vec<(Name, _)> =
            names.map(|name| (self.find(&name), name)).map(|(a, b)| (b, a)).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }

    /// The snapshot whose state has this checksum.
    fn with_state(&self, state: &str) -> anyhow::Result<Below> {
        let all = self.list()?.into_iter().filter_map(|(_, snapshot)| Some(snapshot.ok()?.about));
        let found =
            all.into_iter().find(|about| about.state == state).context("there is no such snapshot")?;
        Ok(Below { name: found.name, state: found.state, sum: found.sum })
    }

    /// The snapshot that this is, if it still is.
    fn find_below(&self, below: &Below) -> anyhow::Result<Snapshot> {
        let found = self.find(&below.name)?;
        let same = found.about.state == below.state && found.about.sum == below.sum;
        anyhow::ensure!(same, "snapshot {} is another by now", below.name);
        Ok(found)
    }

    /// Those that this one's memory differs from, the nearest first; none if it has all of it.
    ///
    /// # Errors
    /// When one is gone, damaged, or another by now.
    pub fn below(&self, snapshot: &Snapshot) -> anyhow::Result<Vec<Snapshot>> {
        let mut all: Vec<Snapshot> = Vec::new();
        while let Some(below) = &all.last().unwrap_or(snapshot).about.below {
            anyhow::ensure!(all.len() < MAX_FILES, "snapshot {}: it is damaged", snapshot.about.name);
            let found = self.find_below(below).with_context(|| {
                format!(
                    "snapshot {} has only what differs from snapshot {}, and is of no use without that",
                    snapshot.about.name, below.name
                )
            })?;
            all.push(found);
        }
        Ok(all)
    }

    /// Reads all of a snapshot and of those that it differs from, and says whether they are what was written.
    ///
    /// # Errors
    /// When a file is damaged, or cannot be read.
    pub fn verify(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        snapshot.verify()?;
        self.below(snapshot)?.iter().try_for_each(Snapshot::verify)
    }

    /// Those whose memory differs from that of this one.
    fn above(&self, name: &Name) -> anyhow::Result<Vec<Name>> {
        let all = self.list()?.into_iter().filter_map(|(_, snapshot)| Some(snapshot.ok()?.about));
        // One that took the place of what they differ from is none of theirs.
        let state = self.find(name).ok().map(|snapshot| snapshot.about.state);
        let same =
            |below: &Below| below.name == *name && state.as_ref().is_none_or(|state| *state == below.state);
        let above = all.filter(|about| about.below.as_ref().is_some_and(same));
        Ok(above.map(|about| about.name).collect())
    }

    /// Removes a snapshot, also one that is damaged. VMs that went on from it are not touched; snapshots that have only what
    /// differs from it are of no use any more, so there must be none unless it is removed by `force`.
    ///
    /// # Errors
    /// When there is none, another differs from it, or it cannot be removed.
    pub fn remove(&self, name: &Name, force: bool) -> anyhow::Result<()> {
        let path = self.folder(name)?;
        let _lock = folder::lock(&self.root)?;
        let above = self.above(name)?.iter().map(Name::to_string).collect::<Vec<_>>().join(", ");
        anyhow::ensure!(
            force || above.is_empty(),
            "snapshot {name} cannot be removed: {above} has only what differs from it; remove that first, or use --force and \
             lose it"
        );
        unfinished::sweep(&self.root);
        unfinished::remove(&self.root, name.as_str())
            .with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Makes the folder of a snapshot that is being taken.
    fn begin(&self, name: &Name) -> anyhow::Result<Unfinished> {
        let failed = || format!("cannot make a folder in {}", self.root.display());
        // The memory of a VM is its owner's.
        folders::make_all_private(&self.root).with_context(failed)?;
        let _lock = folder::lock(&self.root)?;
        anyhow::ensure!(
            !self.root.join(name.as_str()).exists(),
            "there is a snapshot {name} already; choose another name, or remove it (`hull vm snapshots rm {name}`)"
        );
        unfinished::sweep(&self.root);
        match Unfinished::begin(&self.root, name.as_str()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                anyhow::bail!("another command takes a snapshot {name} at this moment; choose another name")
            }
            begun => begun.with_context(failed),
        }
    }

    /// Gives it its name. From here on it is whole, also after a power failure.
    fn finish(&self, unfinished: Unfinished, about: &About) -> anyhow::Result<()> {
        unfinished.write(about)?;
        let _lock = folder::lock(&self.root)?;
        if let Some(below) = &about.below {
            self.find_below(below).context("the snapshot that this one differs from was removed")?;
        }
        unfinished.publish()
    }

    /// A name for a snapshot of this VM that nobody has.
    fn free_name(&self, vm: &Name) -> Name {
        let free = |name: &Name| {
            !self.root.join(name.as_str()).exists() && !unfinished::place(&self.root, name.as_str()).exists()
        };
        let names = (1u64..).map(|number| {
            let suffix = format!("-{number}");
            let kept: String = vm.as_str().chars().take(64 - suffix.len()).collect();
            Name::near(&(kept + &suffix))
        });
        names.into_iter().find(free).unwrap_or_else(|| vm.clone())
    }
}

impl Snapshot {
    /// Bytes that it takes on the disk.
    pub fn size(&self) -> u64 {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.blocks() * 512).sum()
    }

    /// The file with memory and state, which goes with the rest of the snapshot.
    fn vm(&self) -> anyhow::Result<File> {
        let path = self.path.join(VM);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let digest = snapshot::digest(&file)?;
        anyhow::ensure!(
            hex::encode(digest) == self.about.state,
            "its parts are of different snapshots; take it again"
        );
        Ok(file)
    }

    fn verify(&self) -> anyhow::Result<()> {
        let name = &self.about.name;
        let check = |file: &File, what: &str, sum: &str| {
            let found = sums::of(file).with_context(|| format!("snapshot {name}: cannot read {what}"))?;
            anyhow::ensure!(
                found == sum,
                "snapshot {name}: {what} is damaged; remove it (`hull vm snapshots rm {name}`) and take it again"
            );
            Ok(())
        };
        check(&self.vm().with_context(|| format!("snapshot {name}"))?, "the memory", &self.about.sum)?;
        for (index, disk) in self.about.disks.iter().enumerate() {
            if let Disk::Copy { sum, .. } = disk {
                check(&self.disk(index)?, &format!("disk{index}"), sum)?;
            }
        }
        Ok(())
    }

    /// The copy of a disk.
    fn disk(&self, index: usize) -> anyhow::Result<File> {
        let path = self.path.join(disk_file(index));
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    }
}

fn read_about(folder: &Path) -> anyhow::Result<About> {
    let about: About = unfinished::about(folder, VERSION)?;
    let fits = about.vm.check().is_ok() && about.vm.disks.len() == about.disks.len();
    anyhow::ensure!(fits, unfinished::DAMAGED);
    Ok(about)
}

#[cfg(test)]
#[path = "snapshot_test.rs"]
mod tests;
