//! The container verbs: `run`, and what is done to containers afterwards.

use std::process::ExitCode;

use clap::Subcommand;

use super::each::each;
use crate::container::{Result, state::Store};

mod attach;
mod checkpoint;
mod commit;
mod cp;
mod create;
mod detach;
mod diff;
mod environment;
mod events;
mod exec;
mod export;
mod fork;
mod health_options;
mod inspect;
mod keeper;
mod kill;
mod limit_options;
mod logs;
mod network_options;
mod options;
mod pause;
mod port;
mod prune;
mod ps;
mod ps_filter;
mod refused;
mod rename;
mod rm;
mod run;
mod security;
mod session;
mod shared_keeper;
mod start;
mod stats;
mod stop;
mod time;
mod timings;
mod top;
mod update;
mod wait;

pub use events::Events;
pub use keeper::Keeper;
pub use options::parse_cpus;
pub use prune::{parse_filter, prune};
pub use shared_keeper::SharedKeeper;
pub use time::parse_time;

/// Verbs that stand on their own, and below `hull container`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Run a command in a new container
    Run(Box<run::Run>),
    /// Create a container without starting it
    Create(Box<create::Create>),
    /// Start containers that do not run
    Start(start::Start),
    /// Write running containers down, to go on from there later
    #[command(subcommand)]
    Checkpoint(checkpoint::Verb),
    /// Start copies of a running container from its present state
    Fork(fork::Fork),
    /// Stop containers
    Stop(stop::Stop),
    /// Stop containers and start them again
    Restart(stop::Stop),
    /// Have containers stand still
    Pause(pause::Pause),
    /// Let paused containers go on
    Unpause(pause::Pause),
    /// Send containers a signal
    Kill(kill::Kill),
    /// Wait until containers end, and print their exit codes
    Wait(wait::Wait),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(rm::Rm),
    /// Give a container another name
    Rename(rename::Rename),
    /// Change what containers may use
    Update(update::Update),
    /// List containers
    #[command(visible_alias = "list", alias = "ls")]
    Ps(ps::Ps),
    /// List where a container's ports are reached from outside
    Port(port::Port),
    /// Show what running containers take of the host
    Stats(stats::Stats),
    /// Show a container's output
    Logs(logs::Logs),
    /// Attach this terminal to a container that runs
    Attach(attach::Attach),
    /// Run a command in a container that runs
    Exec(exec::Exec),
    /// Copy files between a container and the host
    Cp(cp::Cp),
    /// Show what has changed in a container's file system
    Diff(diff::Diff),
    /// Write a container's file system as a tar archive
    Export(export::Export),
    /// Make an image of a container's changes
    Commit(commit::Commit),
    /// Show the processes of a container that runs
    Top(top::Top),
    /// Show what happens to containers
    Events(events::Events),
    /// Print everything about containers, images, networks or volumes, as JSON
    Inspect(inspect::Inspect),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Run(verb) => verb.run(),
            Verb::Create(verb) => verb.run(),
            Verb::Start(verb) => verb.run(),
            Verb::Checkpoint(verb) => verb.run(),
            Verb::Fork(verb) => verb.run(),
            Verb::Stop(verb) => verb.run(),
            Verb::Restart(verb) => verb.restart(),
            Verb::Pause(verb) => verb.run(true),
            Verb::Unpause(verb) => verb.run(false),
            Verb::Rename(verb) => verb.run(),
            Verb::Events(verb) => verb.run(),
            Verb::Kill(verb) => verb.run(),
            Verb::Wait(verb) => verb.run(),
            Verb::Rm(verb) => verb.run(),
            Verb::Update(verb) => verb.run(),
            Verb::Ps(verb) => verb.run(),
            Verb::Port(verb) => verb.run(),
            Verb::Stats(verb) => verb.run(),
            Verb::Logs(verb) => verb.run(),
            Verb::Attach(verb) => verb.run(),
            Verb::Exec(verb) => verb.run(),
            Verb::Inspect(verb) => verb.run(),
            Verb::Cp(verb) => verb.run(),
            Verb::Diff(verb) => verb.run(),
            Verb::Export(verb) => verb.run(),
            Verb::Commit(verb) => verb.run(),
            Verb::Top(verb) => verb.run(),
        }
    }
}

/// Verbs below `hull container`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum GroupVerb {
    #[command(flatten)]
    /// Those that stand on their own, too.
    Verb(Verb),
    /// Remove all containers that do not run
    Prune(prune::Prune),
}

impl GroupVerb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            GroupVerb::Verb(verb) => verb.run(),
            GroupVerb::Prune(verb) => verb.run(),
        }
    }
}

/// Does something to each container, and prints what it gives.
fn for_each(
    containers: &[String],
    mut act: impl FnMut(&Store, &str) -> Result<String>,
) -> anyhow::Result<ExitCode> {
    let store = Store::open()?;
    Ok(each(containers, |container| act(&store, container)))
}
