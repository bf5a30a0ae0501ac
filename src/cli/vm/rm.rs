//! `hull vm rm NAME`.

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::each::each,
    config::Name,
    vm::plain::{Store, client},
};

/// The arguments of `hull vm rm`.
#[derive(Debug, Args)]
#[command(
    after_help = "With a VM that went on from a snapshot go its copies of the snapshot's disks. Disks that a file \
names are left alone."
)]
pub struct Rm {
    /// End those that run
    #[arg(short, long)]
    force: bool,
    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Name>,
}

impl Rm {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        Ok(each(&self.names, |name| {
            if self.force
                && let Some(keeper) = client::connect(&store.find(name)?)
            {
                keeper.stop()?;
            }
            store.remove(name).map(|()| name.to_string())
        }))
    }
}
