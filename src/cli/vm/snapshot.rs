//! `hull vm snapshot NAME`.

use std::process::ExitCode;

use clap::Args;

use crate::{
    config::Name,
    vm::plain::{
        Store,
        snapshot::{How, Snapshots, take},
    },
};

/// The arguments of `hull vm snapshot`.
#[derive(Debug, Args)]
#[command(
    after_help = "The VM stands still while its memory and its writable disks are copied (disks by reference where the \
file system can), and goes on. `hull vm restore SNAPSHOT` has another VM go on from there; `hull vm snapshots` lists, verifies \
and removes snapshots.

With --diff only those pages of memory are written that have changed since the VM's last snapshot, or the one that it goes on \
from. The VM stands still for as long as that takes, and the snapshot is of no use without that other one, which it names."
)]
pub struct Snapshot {
    /// Write only what has changed in memory since the VM's last snapshot, or the one that it goes on from
    #[arg(long)]
    diff: bool,
    /// End the VM when the snapshot is taken
    #[arg(long)]
    stop: bool,
    /// The VM
    name: Name,
    /// Name of the snapshot; the VM's with a number when absent
    snapshot: Option<Name>,
}

impl Snapshot {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let folder = Store::open()?.find(&self.name)?;
        let how = How { name: self.snapshot, difference: self.diff, stop: self.stop };
        println!("{}", take(&Snapshots::open(), &folder, how)?);
        Ok(ExitCode::SUCCESS)
    }
}
