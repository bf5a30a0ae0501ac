//! `hull volume`.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};

use serde_json::{Value, json};

use super::{
    each::each,
    format::{self, Listing, Row},
    image::size,
    label::Label,
    terminal,
};
use crate::container::{
    Error,
    mount::{MountKind, MountPoint},
    state::Store,
    volume::{Volume, Volumes},
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a volume
    Create(Create),
    /// Show everything about volumes, as JSON
    Inspect(Inspect),
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

/// Show everything about volumes, as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// Print what this template says of each instead
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    #[command(flatten)]
    names: Names,
}

/// List volumes
#[derive(Debug, Args)]
pub struct Ls {
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
    /// Only those that are meant: name=TEXT, label=NAME[=VALUE], dangling=true|false, driver=local
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// How to print: table, table TEMPLATE, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
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
                for name in &verb.names.names {
                    match volumes.find(name)? {
                        Some(volume) => found.push(serde_json::to_value(volume)?),
                        None => {
                            eprintln!("hull: get {name}: no such volume");
                            code = ExitCode::FAILURE;
                        }
                    }
                }
                format::inspect(verb.format.as_deref(), &found)?;
                Ok(code)
            }
            Self::Ls(verb) => ls(&volumes, &verb),
            Self::Rm(verb) => {
                let store = Store::open()?;
                Ok(each(&verb.names.names, |name| match volumes.remove(name, &store) {
                    Err(Error::Missing(_)) if verb.force => Ok(name.clone()),
                    done => done.map(|()| name.clone()),
                }))
            }
            Self::Prune(verb) => prune(&verb),
        }
    }
}

/// Everything about a volume, if there is one of this name.
///
/// # Errors
/// When it cannot be read.
pub fn document(name: &str) -> Result<Option<Value>, Error> {
    Ok(Volumes::open()?.find(name)?.map(|volume| json!(volume)))
}

/// How volumes are listed.
const LISTING: Listing<'static> = Listing {
    headings: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Availability", "AVAILABILITY"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ],
    columns: &["Driver", "Name"],
};

fn ls(volumes: &Volumes, verb: &Ls) -> anyhow::Result<ExitCode> {
    let used = used()?;
    let mut rows = Vec::new();
    for volume in volumes.list()? {
        let mut meant = true;
        for filter in &verb.filter {
            meant &= means(&volume, filter, used.contains(&volume.name))?;
        }
        if meant {
            let row = Row::new([
                ("Name", volume.name.into()),
                ("Driver", volume.driver.into()),
                ("Scope", volume.scope.into()),
                ("Mountpoint", volume.mountpoint.display().to_string().into()),
                ("Links", "N/A".into()),
                ("Size", "N/A".into()),
                ("Availability", "N/A".into()),
                ("Group", "N/A".into()),
                ("Status", "N/A".into()),
            ]);
            rows.push(row.with_labels(&volume.labels));
        }
    }
    LISTING.print(if verb.quiet { Some("{{.Name}}") } else { verb.format.as_deref() }, &rows)
}

/// Names of the volumes that containers have.
fn used() -> anyhow::Result<Vec<String>> {
    let named = |mount: MountPoint| mount.name.filter(|_| mount.kind == MountKind::Volume);
    let all = Store::open()?.descriptions()?;
    Ok(all.into_iter().flat_map(|container| container.mounts).filter_map(named).collect())
}

/// Whether a filter means this volume.
fn means(volume: &Volume, filter: &str, used: bool) -> anyhow::Result<bool> {
    let unknown = || anyhow::anyhow!("invalid filter '{filter}'");
    let (key, value) = filter.split_once('=').ok_or_else(unknown)?;
    Ok(match key {
        "name" => volume.name.contains(value),
        "driver" => volume.driver == value,
        "dangling" => match value {
            "true" | "1" => !used,
            "false" | "0" => used,
            _ => return Err(unknown()),
        },
        _ => Label::parse(key, value).ok_or_else(unknown)?.means(|name| volume.labels.get(name)),
    })
}

fn prune(verb: &Prune) -> anyhow::Result<ExitCode> {
    let which = if verb.all { "all" } else { "anonymous" };
    let what = format!(" {which} local volumes not used by at least one container.");
    if !verb.force && !terminal::confirm(&what)? {
        return Ok(ExitCode::SUCCESS);
    }
    let bytes = prune_all(verb.all)?;
    println!("Total reclaimed space: {}", size::human(bytes));
    Ok(ExitCode::SUCCESS)
}

/// Removes volumes that no container has: those without a name of their own, or `all`. Prints which, and gives the bytes that they took.
///
/// # Errors
/// When one cannot be removed.
pub fn prune_all(all: bool) -> anyhow::Result<u64> {
    let (removed, bytes) = Volumes::open()?.prune(all, &Store::open()?)?;
    if !removed.is_empty() {
        println!("Deleted Volumes:");
        removed.iter().for_each(|name| println!("{name}"));
        println!();
    }
    Ok(bytes)
}
