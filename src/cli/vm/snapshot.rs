//! `hull vm snapshot NAME`.

use std::process::ExitCode;

use clap::Args;

use crate::{
    config::Name,
    vm::plain::{
        Store,
        snapshot::{Snapshots, take},
    },
};

/// The arguments of `hull vm snapshot`.
#[derive(Debug, Args)]
#[command(
    after_help = "The VM stands still while its memory and its writable disks are copied (disks by reference where the \
file system can), and goes on. `hull vm restore SNAPSHOT` has another VM go on from there; `hull vm snapshots` lists, verifies \
and removes snapshots."
)]
pub struct Snapshot {
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
        println!("{}", take(&Snapshots::open(), &folder, self.snapshot, self.stop)?);
        Ok(ExitCode::SUCCESS)
    }
}
