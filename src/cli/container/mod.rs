//! The container verbs: `run`, and what is done to containers afterwards.

use std::process::ExitCode;

use clap::Subcommand;

mod detach;
mod keeper;
mod options;
mod refused;
mod run;
mod session;
use super::terminal;
mod timings;

pub use keeper::Keeper;

/// Verbs that stand on their own.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command in a new container
    Run(Box<run::Run>),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Run(verb) => verb.run(),
        }
    }
}
