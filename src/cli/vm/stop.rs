//! `hull vm stop NAME`.

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::each::each,
    config::Name,
    vm::plain::{Store, client},
};

/// The arguments of `hull vm stop`.
#[derive(Debug, Args)]
#[command(
    after_help = "The guest is not asked, and what it has not written to its disks is lost: shut it down from its \
console for that. A VM that does not run is left as it is."
)]
pub struct Stop {
    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Name>,
}

impl Stop {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        Ok(each(&self.names, |name| {
            if let Some(keeper) = client::connect(&store.find(name)?) {
                keeper.stop()?;
            }
            anyhow::Ok(name.to_string())
        }))
    }
}
