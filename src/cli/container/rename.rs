//! `hull rename`.

use std::process::ExitCode;

use clap::Args;

use crate::container::{ContainerName, state::Store};

/// Give a container another name
#[derive(Debug, Args)]
pub struct Rename {
    /// The container
    container: String,
    /// Its new name
    name: ContainerName,
}

impl Rename {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        store.rename(&store.find(&self.container)?, &self.name)?;
        Ok(ExitCode::SUCCESS)
    }
}
