//! `hull vm snapshots`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    cli::{each::each, image::size, table},
    config::Name,
    vm::plain::snapshot::{Snapshot, Snapshots as All},
};

/// The arguments of `hull vm snapshots`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Snapshots {
    #[command(flatten)]
    ls: Ls,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What is done with snapshots.
#[derive(Debug, Subcommand)]
enum Verb {
    /// List snapshots
    Ls(Ls),
    /// Read all of snapshots and say whether they are what was written
    Verify(Names),
    /// Remove snapshots; VMs that went on from them are not touched
    Rm(Rm),
}

/// List snapshots
#[derive(Debug, Args)]
struct Ls {
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
}

/// Some snapshots
#[derive(Debug, Args)]
struct Names {
    /// The snapshots
    #[arg(required = true, value_name = "SNAPSHOT")]
    names: Vec<Name>,
}

/// Remove snapshots
#[derive(Debug, Args)]
struct Rm {
    /// Also those from which others differ, which are of no use any more then
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    names: Names,
}

impl Snapshots {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let all = All::open();
        match self.verb.unwrap_or(Verb::Ls(self.ls)) {
            Verb::Ls(ls) => ls.run(&all),
            Verb::Verify(Names { names }) => {
                Ok(each(&names, |name| all.verify(&all.find(name)?).map(|()| name.to_string())))
            }
            Verb::Rm(Rm { force, names: Names { names } }) => {
                Ok(each(&names, |name| all.remove(name, force).map(|()| name.to_string())))
            }
        }
    }
}

impl Ls {
    /// Snapshots that are damaged are named on standard error.
    fn run(&self, all: &All) -> anyhow::Result<ExitCode> {
        let mut found = Vec::new();
        for (_, snapshot) in all.list()? {
            match snapshot {
                Ok(snapshot) => found.push(snapshot),
                Err(error) => eprintln!("hull: {error:#}"),
            }
        }
        if self.json {
            found.iter().for_each(|snapshot| println!("{}", line(snapshot)));
        } else {
            let rows: Vec<_> = found.iter().map(row).collect();
            print!(
                "{}",
                table::render(["SNAPSHOT", "VM", "BASE", "VCPUS", "MEMORY", "CREATED", "SIZE"], &rows)
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(snapshot: &Snapshot) -> [String; 7] {
    let about = &snapshot.about;
    [
        about.name.to_string(),
        about.vm.name.as_ref().map(Name::to_string).unwrap_or_default(),
        about.below.as_ref().map(|below| below.name.to_string()).unwrap_or_default(),
        about.vm.machine.vcpus.to_string(),
        about.vm.machine.memory.to_string(),
        about.created.clone(),
        size::human(snapshot.size()),
    ]
}

fn line(snapshot: &Snapshot) -> serde_json::Value {
    let about = &snapshot.about;
    json!({
        "Name": about.name, "Vm": about.vm.name, "Base": about.below.as_ref().map(|below| &below.name),
        "Vcpus": about.vm.machine.vcpus,
        "Memory": about.vm.machine.memory.0, "CreatedAt": about.created, "PausedMilliseconds": about.paused_ms,
        "Disks": about.disks.len(), "Size": snapshot.size(), "Path": snapshot.path,
    })
}
