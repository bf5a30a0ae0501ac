//! `hull checkpoint`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use crate::{
    cli::{output::print, table},
    container::{
        checkpoint::{self, Checkpoints},
        state::Store,
    },
};

/// What is done with checkpoints.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a running container down, to go on from there later
    Create(Create),
    /// List the checkpoints of a container
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Remove a checkpoint
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create(verb) => verb.run(),
            Self::Ls(verb) => verb.run(),
            Self::Rm(verb) => verb.run(),
        }
    }
}

/// The arguments of `hull checkpoint create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Processes, memory, files and connections within the container are written down, and the container ends (exit \
code 137) unless it is left running. `hull start --checkpoint CHECKPOINT CONTAINER` has it go on from there, any number of times, \
also after a reboot of the host. What a container wrote to its output before is in its log; what is written later comes \
from there on, without loss and without repetition."
)]
pub struct Create {
    /// Leave the container running
    #[arg(long)]
    leave_running: bool,
    /// Folder for the checkpoint, instead of the container's own
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// The container
    container: String,
    /// Name of the checkpoint
    checkpoint: String,
}

impl Create {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Self { leave_running, checkpoint_dir, container, checkpoint } = self;
        let store = Store::open()?;
        checkpoint::create(&store, &container, &checkpoint, checkpoint_dir.as_deref(), leave_running)?;
        print(&format!("{checkpoint}\n"))
    }
}

/// The arguments of `hull checkpoint ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// Folder of the checkpoints, instead of the container's own
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// The container
    container: String,
}

impl Ls {
    fn run(self) -> anyhow::Result<ExitCode> {
        let folder = Store::open()?.find(&self.container)?;
        let checkpoints = Checkpoints::of(&folder, &self.container, self.checkpoint_dir.as_deref())?;
        let rows: Vec<[String; 1]> = checkpoints.names()?.into_iter().map(|name| [name]).collect();
        print(&table::render(["CHECKPOINT NAME"], &rows))
    }
}

/// The arguments of `hull checkpoint rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Folder of the checkpoint, instead of the container's own
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// The container
    container: String,
    /// The checkpoint
    checkpoint: String,
}

impl Rm {
    fn run(self) -> anyhow::Result<ExitCode> {
        let folder = Store::open()?.find(&self.container)?;
        let checkpoints = Checkpoints::of(&folder, &self.container, self.checkpoint_dir.as_deref())?;
        checkpoints.remove(&self.checkpoint)?;
        Ok(ExitCode::SUCCESS)
    }
}
