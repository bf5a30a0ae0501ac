//! Makes a VM that goes on from a snapshot.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{Disk, Snapshot, Snapshots, VM, disk_file};
use crate::{
    config::Name,
    vm::{
        plain::{Claim, Description, Store},
        sparse, timestamp,
    },
    vmm::snapshot,
};

/// What is to be different from the VM that the snapshot is of.
#[derive(Debug, Default)]
pub struct Changes {
    /// Its name; that of the VM that the snapshot is of if there is none.
    pub name: Option<Name>,
    /// Paths of disks, by their place: where a read-only one is now, where the copy of a writable one is to be made.
    pub disks: BTreeMap<usize, PathBuf>,
    /// The socket of the page fault handler that serves its memory; the snapshot's file does if there is none.
    pub fault_handler: Option<PathBuf>,
}

/// Makes a VM that goes on from a snapshot: to be started as any other. `keep` is as in [`Description`].
///
/// # Errors
/// When the name is taken, the snapshot is damaged, lacks one that it differs from or does not fit this host, or a disk cannot be copied.
pub fn restore(
    store: &Store,
    snapshots: &Snapshots,
    snapshot: &Snapshot,
    changes: Changes,
    keep: bool,
) -> anyhow::Result<(Claim, Description)> {
    let about = &snapshot.about;
    let damaged = || format!("snapshot {}", about.name);
    // The VMM looks again, but says it later and in a log.
    snapshot::read(&snapshot.vm().with_context(damaged)?).with_context(damaged)?;
    let below = snapshots.below(snapshot)?;
    let mut vm = about.vm.clone();
    if let Some(place) = changes.disks.keys().find(|place| **place >= vm.disks.len()) {
        anyhow::bail!("snapshot {} has no disk{place}: it has {} disks", about.name, vm.disks.len());
    }
    let name = changes.name.or(vm.name.take()).unwrap_or_else(|| about.name.clone());
    vm.name = Some(name.clone());
    let claim = store.claim(&name)?;
    let (mut stamps, mut made) = (BTreeMap::new(), Made::default());
    for (index, disk) in about.disks.iter().enumerate() {
        let path = &mut vm.disks[index].path;
        let other = changes.disks.get(&index);
        match disk {
            Disk::Elsewhere { stamp } => {
                if let Some(other) = other {
                    path.clone_from(other);
                }
                anyhow::ensure!(
                    path.exists(),
                    "the disk {} of the snapshot is gone; put it back, or say where it is: --set disk{index}=PATH",
                    path.display()
                );
                stamps.insert(index, *stamp);
            }
            Disk::Copy { size, .. } => {
                *path = other.cloned().unwrap_or_else(|| claim.folder.file(&disk_file(index)));
                let from = snapshot.disk(index).with_context(damaged)?;
                let length = from.metadata().with_context(damaged)?.len();
                anyhow::ensure!(
                    length == *size,
                    "snapshot {}: disk{index} is cut short; take it again",
                    about.name
                );
                copy(&from, path, other.is_some().then_some(&mut made))?;
            }
        }
    }
    let description = Description {
        created: timestamp::now(),
        vm,
        snapshot: Some(snapshot.path.join(VM)),
        below: below.into_iter().map(|below| below.path.join(VM)).collect(),
        fault_handler: changes.fault_handler,
        stamps,
        made: std::mem::take(&mut made.0),
        keep,
    };
    Ok((claim, description))
}

/// Copies outside of the VM's folder, which are removed when they come to nothing.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

/// Makes a disk of the VM's own.
fn copy(from: &File, path: &Path, made: Option<&mut Made>) -> anyhow::Result<()> {
    let to = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    let to = to.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => anyhow::anyhow!(
            "{} is there already; the disk is made anew from the snapshot, so name a file that is not",
            path.display()
        ),
        _ => anyhow::Error::new(error).context(format!("cannot make the disk {}", path.display())),
    })?;
    if let Some(made) = made {
        made.0.push(path.to_owned());
    }
    sparse::copy(from, &to).with_context(|| {
        format!("cannot copy the snapshot's disk to {}, whose file system may be full", path.display())
    })
}
