//! `hull internal vm-keeper`.

use std::{os::fd::RawFd, process::ExitCode};

use clap::Args;

use crate::{config::Name, vm::plain::keeper};

/// Keeps a plain VM from its start to its end
#[derive(Debug, Args)]
pub struct Keeper {
    /// The VM.
    name: Name,
    /// Descriptor of the connection to the front end.
    front_end: RawFd,
    /// Descriptor of the lock of the VM's folder.
    lock: RawFd,
    /// The VM ends with the front end.
    #[arg(long)]
    tied: bool,
}

impl Keeper {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { name, front_end, lock, tied } = self;
        keeper::run(keeper::Arguments { name, front_end, lock, tied })?;
        Ok(ExitCode::SUCCESS)
    }
}
