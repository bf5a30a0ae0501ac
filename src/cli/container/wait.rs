//! `hull wait`.

use std::process::ExitCode;

use clap::Args;

use super::for_each;
use crate::container::action;

/// Wait until containers end, and print their exit codes
#[derive(Debug, Args)]
pub struct Wait {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Wait {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        for_each(&self.containers, |store, container| {
            action::wait(store, container).map(|code| code.to_string())
        })
    }
}
