//! `hull vm restore SNAPSHOT`.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Args;

use super::session;
use crate::{
    config::Name,
    vm::plain::{
        Store,
        snapshot::{Changes, Snapshots, restore},
    },
};

/// The arguments of `hull vm restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "A snapshot can be restored any number of times: each VM has memory and copies of the writable \
disks of its own. Its clock goes on from when the snapshot was taken, and VMs of one snapshot begin with the same random \
numbers: have the guest set its clock and seed its generator.

--set takes:
  diskN=PATH    where the read-only disk N (from 0) is now, or where the copy of a writable one is to be made; that one is
                otherwise made in the VM's own folder, and goes with it at `hull vm rm`"
)]
pub struct Restore {
    /// Name of the VM, instead of that of the VM that the snapshot is of
    #[arg(long)]
    name: Option<Name>,
    /// Start it and leave it to itself
    #[arg(short, long)]
    detach: bool,
    /// Read all of the snapshot first, and refuse one that is damaged
    #[arg(long)]
    verify: bool,
    /// What is to be different from the VM that the snapshot is of
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_change)]
    changes: Vec<(usize, PathBuf)>,
    /// The snapshot
    snapshot: Name,
}

/// `diskN=PATH`.
fn parse_change(text: &str) -> Result<(usize, PathBuf), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    let place = key.strip_prefix("disk").and_then(|place| place.parse().ok());
    let place = place.ok_or_else(|| format!("there is no '{key}' to be set; there are disk0, disk1, ..."))?;
    let path = std::path::absolute(value).map_err(|error| format!("'{value}' is no path: {error}"))?;
    Ok((place, path))
}

impl Restore {
    /// Has the VM go on and stays until it has ended, as `hull vm run`.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let snapshots = Snapshots::open();
        let snapshot = snapshots.find(&self.snapshot)?;
        if self.verify {
            snapshots.verify(&snapshot)?;
        }
        let mut disks = BTreeMap::new();
        for (place, path) in self.changes {
            anyhow::ensure!(disks.insert(place, path).is_none(), "--set disk{place} is given twice");
        }
        let changes = Changes { name: self.name, disks };
        let (claim, description) = restore(&Store::open()?, &snapshots, &snapshot, changes, self.detach)?;
        session::start(claim, &description, self.detach)
    }
}

#[cfg(test)]
mod tests {
    use super::parse_change;

    #[test]
    fn what_can_be_set_is_disks() {
        assert_eq!(parse_change("disk1=/a=b"), Ok((1, "/a=b".into())));
        assert!(parse_change("disk1").unwrap_err().contains("KEY=VALUE"));
        for wrong in ["disk=/a", "diskx=/a", "disk-1=/a", "memory=1G", "disk0="] {
            assert!(parse_change(wrong).is_err(), "{wrong}");
        }
    }
}
