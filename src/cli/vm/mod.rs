//! `hull vm`: plain VMs, from a file.

mod run;

use std::process::ExitCode;

use clap::Subcommand;

/// The verbs of `hull vm`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Boot the VM that a file describes, with this terminal as its console
    Run(run::Run),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(verb) => verb.run(),
        }
    }
}
