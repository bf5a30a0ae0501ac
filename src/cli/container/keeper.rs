//! `hull internal keeper`.

use std::{os::fd::RawFd, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::container::{ContainerId, keeper};

/// Keeps a container from its start to its end
#[derive(Debug, Args)]
pub struct Keeper {
    /// The container.
    #[arg(value_parser = |text: &str| ContainerId::try_from(text.to_owned()))]
    id: ContainerId,
    /// Descriptor of the connection to the front end.
    front_end: RawFd,
    /// Descriptor of the container's lock.
    lock: RawFd,
    /// The container ends with the front end.
    #[arg(long)]
    tied: bool,
    /// Its VM may go on from a template.
    #[arg(long)]
    template: bool,
    /// It goes on from the checkpoint in this folder.
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Its files are wanted, and it does not run.
    #[arg(long)]
    hold: bool,
}

impl Keeper {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { id, front_end, lock, tied, template, checkpoint, hold } = self;
        keeper::run(keeper::Arguments { id, front_end, lock, tied, template, checkpoint, hold })?;
        Ok(ExitCode::SUCCESS)
    }
}
