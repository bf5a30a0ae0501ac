//! `hull vm console NAME`.

use std::process::ExitCode;

use clap::Args;

use super::session;
use crate::{
    config::Name,
    vm::plain::{Store, client},
};

/// The arguments of `hull vm console`.
#[derive(Debug, Args)]
#[command(after_help = "Ctrl-A X leaves the console; the VM goes on. Ctrl-A twice sends one.")]
pub struct Console {
    /// The VM
    name: Name,
}

impl Console {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let folder = Store::open()?.find(&self.name)?;
        let console = folder.description()?.vm.console;
        match client::connect(&folder) {
            Some(keeper) => session::attach(&self.name, &keeper, console),
            None => anyhow::bail!(
                "VM {} does not run; the last of what its console said is in {}",
                self.name,
                folder.file("console").display()
            ),
        }
    }
}
