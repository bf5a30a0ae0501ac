//! `hull pool`, and `hull internal waiting`.

use std::{os::fd::RawFd, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{container::parse_cpus, each::each, table};
use crate::container::pool::{self, Pool, Pools};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Have VMs wait for containers of an image
    Start(Start),
    /// List pools
    Ls(Ls),
    /// End the VMs that wait in pools; those that were taken are not touched
    Stop(Stop),
}

/// Have VMs wait for containers of an image
#[derive(Debug, Args)]
pub struct Start {
    /// Image of the containers
    image: String,
    /// How many VMs wait; another takes the place of each that a container takes
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 1)]
    size: u32,
    /// CPUs of the containers, as `hull run --cpus` has it
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,
}

/// List pools
#[derive(Debug, Args)]
pub struct Ls {
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
}

/// End the VMs that wait in pools; those that were taken are not touched
#[derive(Debug, Args)]
pub struct Stop {
    /// Ids of pools
    #[arg(value_name = "POOL", required_unless_present = "all")]
    ids: Vec<String>,
    /// All of them
    #[arg(short, long)]
    all: bool,
}

/// Keeps a VM that waits for a container
#[derive(Debug, Args)]
pub struct Waiting {
    /// Name of its folder.
    name: String,
    /// Descriptor of the connection to who started it.
    starter: RawFd,
    /// Descriptor of the folder's lock.
    lock: RawFd,
    /// Its pool.
    #[arg(long)]
    pool: String,
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let pools = Pools::open();
        match self {
            Self::Start(verb) => {
                let about = pool::about(&verb.image, verb.cpus.unwrap_or(0), verb.size)?;
                println!("{}", pools.start(&about)?);
            }
            Self::Ls(verb) => verb.run(&pools)?,
            Self::Stop(verb) => {
                let all = if verb.all { pools.list()? } else { Vec::new() };
                let ids: Vec<_> = verb.ids.into_iter().chain(all.into_iter().map(|pool| pool.id)).collect();
                return Ok(each(&ids, |id| pools.stop(id).map(|()| id.clone())));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Ls {
    fn run(&self, pools: &Pools) -> anyhow::Result<()> {
        let found = pools.list()?;
        if self.json {
            for Pool { id, about, waiting, current } in found {
                let line = json!({
                    "ID": id, "Image": about.image, "NanoCpus": about.nano_cpus, "Wanted": about.wanted,
                    "Waiting": waiting, "Current": current, "CreatedAt": about.created,
                });
                println!("{line}");
            }
            return Ok(());
        }
        let limit = |value: u64, text: String| if value == 0 { "-".to_owned() } else { text };
        let row = |Pool { id, about, waiting, current }: &Pool| {
            [
                id.clone(),
                about.image.clone(),
                limit(about.nano_cpus, (about.nano_cpus as f64 / 1e9).to_string()),
                format!("{waiting} of {}", about.wanted),
                // Nothing is started from it any more: the image or hull has changed.
                if *current { "in use" } else { "outdated" }.to_owned(),
                about.created.clone(),
            ]
        };
        let rows: Vec<_> = found.iter().map(row).collect();
        print!("{}", table::render(["POOL", "IMAGE", "CPUS", "WAITING", "STATUS", "CREATED"], &rows));
        Ok(())
    }
}

impl Waiting {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { name, starter, lock, pool } = self;
        pool::run(pool::Arguments { pool, name, starter, lock })?;
        Ok(ExitCode::SUCCESS)
    }
}
