//! `hull internal shared-keeper`.

use std::{os::fd::RawFd, process::ExitCode};

use clap::Args;

use crate::{config::Name, container::shared::keeper};

/// Keeps a VM that several containers share, until the last of them has left
#[derive(Debug, Args)]
pub struct SharedKeeper {
    /// The VM.
    name: Name,
    /// Descriptor of the connection to who started it.
    front_end: RawFd,
    /// Descriptor of the lock of the VM's folder.
    lock: RawFd,
    /// The VM may go on from a template.
    #[arg(long)]
    template: bool,
}

impl SharedKeeper {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { name, front_end, lock, template } = self;
        keeper::run(keeper::Arguments { name, front_end, lock, template })?;
        Ok(ExitCode::SUCCESS)
    }
}
