//! `hull vm restore SNAPSHOT`.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::Context;
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
disks of its own. The guest finds that time has passed since the snapshot, and its date is right. One that was booted with a \
kernel of its own ([kernel] image) is told that it goes on in another VM (VMGenID), at which Linux seeds its random numbers anew; \
one with hull's kernel has no ACPI to be told by: there, VMs of one snapshot begin with the same random numbers, so seed the \
generator before keys are made.

--set takes:
  name=NAME     as --name
  diskN=PATH    where the read-only disk N (from 0) is now, or where the copy of a writable one is to be made; that one is
                otherwise made in the VM's own folder, and goes with it at `hull vm rm`
What else a VM is, its guest has in its memory: CPUs, memory, kernel and kind of console stay as they were.

A page fault handler is a process that copies pages into the guest's memory when they are touched: from another host, or out of \
an archive. It speaks Firecracker's protocol: it is sent the userfaultfd with a list of mappings (base_host_virt_addr, size, \
page_size, and the offset where each begins in the snapshot's file `vm`), and keeps the connection while it serves."
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
    /// Have the page fault handler that listens at this socket serve the guest's memory (userfaultfd)
    #[arg(long, value_name = "SOCKET")]
    fault_handler: Option<PathBuf>,
    /// What is to be different from the VM that the snapshot is of
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_change)]
    changes: Vec<Change>,
    /// The snapshot
    snapshot: Name,
}

/// Something that is to be different.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Name(Name),
    Disk(usize, PathBuf),
}

/// What a guest knows of its VM, by the keys that a VM file has for it.
const KNOWN: [&str; 8] =
    ["vcpus", "memory", "image", "initrd", "command_line", "type", "console", "read_only"];

/// `KEY=VALUE`.
fn parse_change(text: &str) -> Result<Change, String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if key == "name" {
        return value.parse().map(Change::Name);
    }
    if key.rsplit('.').next().is_some_and(|last| KNOWN.contains(&last)) {
        return Err(format!(
            "the guest has {key} as it was when the snapshot was taken; boot a VM to change it"
        ));
    }
    let place = key.strip_prefix("disk").and_then(|place| place.parse().ok());
    let place =
        place.ok_or_else(|| format!("there is no '{key}' to be set; there are name, disk0, disk1, ..."))?;
    let path = std::path::absolute(value).map_err(|error| format!("'{value}' is no path: {error}"))?;
    Ok(Change::Disk(place, path))
}

impl Restore {
    /// Has the VM go on and stays until it has ended, as `hull vm run`.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let snapshots = Snapshots::open();
        let snapshot = snapshots.find(&self.snapshot)?;
        if self.verify {
            snapshots.verify(&snapshot)?;
        }
        let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| path.display().to_string());
        let fault_handler = self.fault_handler.map(absolute).transpose()?;
        let mut changes = Changes { name: self.name, disks: BTreeMap::new(), fault_handler };
        for change in self.changes {
            let (twice, key) = match change {
                Change::Name(name) => (changes.name.replace(name).is_some(), "name".to_owned()),
                Change::Disk(place, path) => {
                    (changes.disks.insert(place, path).is_some(), format!("disk{place}"))
                }
            };
            anyhow::ensure!(!twice, "{key} is given twice");
        }
        let (claim, description) = restore(&Store::open()?, &snapshots, &snapshot, changes, self.detach)?;
        session::start(claim, &description, self.detach)
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, parse_change};

    #[test]
    fn what_can_be_set_is_the_name_and_disks() {
        assert_eq!(parse_change("disk1=/a=b"), Ok(Change::Disk(1, "/a=b".into())));
        assert_eq!(parse_change("name=web"), Ok(Change::Name("web".parse().unwrap())));
        assert!(parse_change("disk1").unwrap_err().contains("KEY=VALUE"));
        for wrong in ["disk=/a", "diskx=/a", "disk-1=/a", "net=none", "disk0=", "name=-"] {
            assert!(parse_change(wrong).is_err(), "{wrong}");
        }
        for known in
            ["vcpus=2", "machine.memory=1G", "console=none", "kernel.image=/k", "disk0.read_only=true"]
        {
            assert!(parse_change(known).unwrap_err().contains("the guest has"), "{known}");
        }
    }
}
