//! `hull vm`: plain VMs, from a file.

mod console;
mod keeper;
mod ls;
mod restore;
mod rm;
mod run;
mod session;
mod snapshot;
mod snapshots;
mod stop;

use std::process::ExitCode;

use clap::Subcommand;

pub use keeper::Keeper;

/// The verbs of `hull vm`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Boot the VM that a file describes, with this terminal as its console
    Run(run::Run),
    /// List VMs
    Ls(ls::Ls),
    /// Connect this terminal with the console of a VM
    Console(console::Console),
    /// End VMs at once
    Stop(stop::Stop),
    /// Remove VMs that have ended
    Rm(rm::Rm),
    /// Take a snapshot of a VM that runs
    Snapshot(snapshot::Snapshot),
    /// Let a VM go on from a snapshot, with this terminal as its console
    Restore(restore::Restore),
    /// List snapshots, verify and remove them
    Snapshots(snapshots::Snapshots),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(verb) => verb.run(),
            Self::Ls(verb) => verb.run(),
            Self::Console(verb) => verb.run(),
            Self::Stop(verb) => verb.run(),
            Self::Rm(verb) => verb.run(),
            Self::Snapshot(verb) => verb.run(),
            Self::Restore(verb) => verb.run(),
            Self::Snapshots(verb) => verb.run(),
        }
    }
}
