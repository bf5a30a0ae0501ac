//! `hull diff`.

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::output,
    container::{
        files::{self, Access},
        state::Store,
    },
};

/// Show which files of a container have been added (A), changed (C) and deleted (D)
#[derive(Debug, Args)]
pub struct Diff {
    /// The container
    container: String,
}

impl Diff {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        output::print(&files::diff(&Access::open(&Store::open()?, &self.container)?)?)
    }
}
