//! `hull volume`.

use std::{collections::BTreeMap, io::Write, process::ExitCode};

use clap::{Args, Subcommand};

use super::{each::each, image::size, output, table};
use crate::container::{Error, state::Store, volume::Volumes};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a volume
    Create(Create),
    /// Show everything about volumes, as JSON
    Inspect(Names),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Remove volumes that no container has and that have no name of their own
    Prune(Prune),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// Make a volume
#[derive(Debug, Args)]
pub struct Create {
    /// Its name; made up when absent
    name: Option<String>,
    /// Set a label
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// What keeps it: always local
    #[arg(short, long, value_name = "DRIVER", default_value = "local", value_parser = ["local"])]
    driver: String,
}

/// Volumes
#[derive(Debug, Args)]
pub struct Names {
    /// Their names
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

/// List volumes
#[derive(Debug, Args)]
pub struct Ls {
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
}

/// Remove volumes that no container has
#[derive(Debug, Args)]
pub struct Prune {
    /// Also those with a name
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Remove volumes
#[derive(Debug, Args)]
pub struct Rm {
    /// It is no error if there is none
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    names: Names,
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let volumes = Volumes::open()?;
        match self {
            Self::Create(verb) => {
                let pairs = verb.label.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
                let labels: BTreeMap<_, _> = pairs.map(|(name, value)| (name.into(), value.into())).collect();
                let _lock = volumes.lock()?;
                let anonymous = verb.name.is_none();
                println!("{}", volumes.create(verb.name.as_deref(), labels, anonymous)?.name);
                Ok(ExitCode::SUCCESS)
            }
            Self::Inspect(verb) => {
                let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
                for name in &verb.names {
                    match volumes.find(name)? {
                        Some(volume) => found.push(volume),
                        None => {
                            eprintln!("hull: get {name}: no such volume");
                            code = ExitCode::FAILURE;
                        }
                    }
                }
                output::print(&(serde_json::to_string_pretty(&found)? + "\n"))?;
                Ok(code)
            }
            Self::Ls(verb) => {
                let all = volumes.list()?;
                if verb.quiet {
                    all.iter().for_each(|volume| println!("{}", volume.name));
                } else {
                    let rows: Vec<_> = all.into_iter().map(|volume| [volume.driver, volume.name]).collect();
                    print!("{}", table::render(["DRIVER", "VOLUME NAME"], &rows));
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Rm(verb) => {
                let store = Store::open()?;
                Ok(each(&verb.names.names, |name| match volumes.remove(name, &store) {
                    Err(Error::Missing(_)) if verb.force => Ok(name.clone()),
                    done => done.map(|()| name.clone()),
                }))
            }
            Self::Prune(verb) => prune(&volumes, &verb),
        }
    }
}

fn prune(volumes: &Volumes, verb: &Prune) -> anyhow::Result<ExitCode> {
    if !verb.force {
        let which = if verb.all { "all" } else { "anonymous" };
        print!(
            "WARNING! This will remove {which} local volumes not used by at least one container.\n\
             Are you sure you want to continue? [y/N] "
        );
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let (removed, bytes) = volumes.prune(verb.all, &Store::open()?)?;
    if !removed.is_empty() {
        println!("Deleted Volumes:");
        removed.iter().for_each(|name| println!("{name}"));
        println!();
    }
    println!("Total reclaimed space: {}", size::human(bytes));
    Ok(ExitCode::SUCCESS)
}
