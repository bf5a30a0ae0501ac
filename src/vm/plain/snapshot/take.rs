//! Takes a snapshot of a VM that runs.

use std::{fs::File, time::Instant};

use anyhow::Context;

use super::{About, Disk, Snapshots, VERSION, VM, disk_file, sums};
use crate::{
    config::Name,
    vm::{
        plain::{Folder, Stamp, client},
        sparse, timestamp,
    },
    vmm::snapshot,
};

/// Takes a snapshot of a VM under this name, or one that nobody has; gives the name. The VM goes on, or ends if it is to
/// `stop`. When anything goes wrong it goes on, and nothing of the snapshot is left.
///
/// # Errors
/// When the VM does not run, somebody else takes a snapshot of it, the name is taken, or the disk is full.
pub fn take(snapshots: &Snapshots, folder: &Folder, name: Option<Name>, stop: bool) -> anyhow::Result<Name> {
    let vm = &folder.name;
    let keeper = client::connect(folder).with_context(|| {
        format!("VM {vm} does not run; a snapshot is of one that does (`hull vm run -d FILE` starts one)")
    })?;
    let description = folder.description()?;
    let name = name.unwrap_or_else(|| snapshots.free_name(vm));
    let unfinished = snapshots.begin(&name)?;
    let written = unfinished.create(VM)?;

    let remedy = || {
        let place = snapshots.root.display();
        format!("cannot take a snapshot of VM {vm} in {place}, whose file system may be full")
    };
    let began = Instant::now();
    let frozen = keeper.freeze(&written)?;
    let mut copies = Vec::new();
    for (index, disk) in &frozen.disks {
        let copy = unfinished.create(&disk_file(*index))?;
        let disk = File::from(disk.try_clone().with_context(remedy)?);
        sparse::copy(&disk, &copy).with_context(remedy)?;
        copies.push((*index, copy));
    }
    // What remains is reading, which need not stand in the guest's way.
    let frozen = if stop {
        Some(frozen)
    } else {
        drop(frozen);
        None
    };
    let paused_ms = began.elapsed().as_millis() as u64;

    let mut disks = Vec::new();
    for (index, disk) in description.vm.disks.iter().enumerate() {
        let failed = || format!("cannot look at the disk {}", disk.path.display());
        disks.push(if let Some((_, copy)) = copies.iter().find(|(place, _)| *place == index) {
            let size = copy.metadata().with_context(failed)?.len();
            Disk::Copy { size, sum: sums::of(copy).with_context(failed)? }
        } else {
            let stamp = File::open(&disk.path).and_then(|file| Stamp::of(&file));
            Disk::Elsewhere { stamp: stamp.with_context(failed)? }
        });
    }
    let about = About {
        version: VERSION,
        name: name.clone(),
        created: timestamp::now(),
        paused_ms,
        vm: description.vm,
        disks,
        state: hex::encode(snapshot::digest(&written)?),
        sum: sums::of(&written).with_context(remedy)?,
    };
    unfinished.finish(&about)?;
    if let Some(frozen) = frozen {
        keeper.stop()?;
        drop(frozen);
    }
    Ok(name)
}
