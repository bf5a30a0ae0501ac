//! Takes a snapshot of a VM that runs.

use std::{fs::File, time::Instant};

use anyhow::Context;
use rustix::fs::fstatvfs;

use super::{About, Disk, Snapshots, VERSION, VM, disk_file};
use crate::{
    config::{Name, Size},
    vm::{
        plain::{Folder, Stamp, client},
        sparse, sums, timestamp,
    },
    vmm::snapshot,
};

/// How a snapshot is taken.
#[derive(Debug, Default)]
pub struct How {
    /// Its name; one that nobody has if there is none.
    pub name: Option<Name>,
    /// Of memory only what has changed since the VM's last snapshot, or the one that it goes on from.
    pub difference: bool,
    /// The VM ends with it.
    pub stop: bool,
}

/// Takes a snapshot of a VM; gives its name. When anything goes wrong the VM goes on, and nothing of the snapshot is left.
///
/// # Errors
/// When the VM does not run, somebody else takes a snapshot of it, the name is taken, the disk is full, or there is no snapshot
/// that it could differ from.
pub fn take(snapshots: &Snapshots, folder: &Folder, how: How) -> anyhow::Result<Name> {
    let vm = &folder.name;
    let keeper = client::connect(folder).with_context(|| {
        format!("VM {vm} does not run; a snapshot is of one that does (`hull vm run -d FILE` starts one)")
    })?;
    let description = folder.description()?;
    let name = how.name.unwrap_or_else(|| snapshots.free_name(vm));
    let unfinished = snapshots.begin(&name)?;
    let written = unfinished.create(VM)?;

    // Whatever went wrong while there is less room than it may take, it is likely that.
    let memory = description.vm.machine.memory;
    let failed = |error: anyhow::Error| {
        let room = fstatvfs(&written).map_or(u64::MAX, |about| about.f_bavail * about.f_frsize);
        let what = match Size(room) < memory {
            true => {
                format!("the file system of {} has {} bytes left; free some", snapshots.root.display(), room)
            }
            false => format!("VM {vm}"),
        };
        error.context(what)
    };
    let began = Instant::now();
    let frozen = keeper.freeze(&written, how.difference).map_err(failed)?;
    let mut copies = Vec::new();
    for (index, disk) in &frozen.disks {
        let copy = unfinished.create(&disk_file(*index))?;
        let copied = disk.try_clone().and_then(|disk| sparse::copy(&File::from(disk), &copy));
        copied.context("cannot copy a disk").map_err(failed)?;
        copies.push((*index, copy));
    }
    // What remains is reading, which need not stand in the guest's way.
    let frozen = if how.stop {
        Some(frozen)
    } else {
        drop(frozen);
        None
    };
    let paused_ms = began.elapsed().as_millis() as u64;

    let below = match snapshot::read(&written)?.difference {
        Some(difference) => Some(snapshots.with_state(&difference.from).with_context(|| {
            format!(
                "the last snapshot of VM {vm}, from which this one would differ, is gone or was never finished; take one \
                 without --diff"
            )
        })?),
        None => None,
    };
    let mut disks = Vec::new();
    for (index, disk) in description.vm.disks.iter().enumerate() {
        let unseen = || format!("cannot look at the disk {}", disk.path.display());
        disks.push(if let Some((_, copy)) = copies.iter().find(|(place, _)| *place == index) {
            let size = copy.metadata().with_context(unseen)?.len();
            Disk::Copy { size, sum: sums::of(copy).with_context(unseen)? }
        } else {
            let stamp = File::open(&disk.path).and_then(|file| Stamp::of(&file));
            Disk::Elsewhere { stamp: stamp.with_context(unseen)? }
        });
    }
    let about = About {
        version: VERSION,
        name: name.clone(),
        created: timestamp::now(),
        paused_ms,
        vm: description.vm,
        disks,
        below,
        state: hex::encode(snapshot::digest(&written)?),
        sum: sums::of(&written).context("cannot read the snapshot")?,
    };
    snapshots.finish(unfinished, &about).map_err(failed)?;
    if let Some(frozen) = frozen {
        keeper.stop()?;
        drop(frozen);
    }
    Ok(name)
}
