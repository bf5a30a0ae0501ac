//! `hull ps`.

use std::process::ExitCode;

use clap::Args;

use super::ps_filter::Filters;
use crate::{
    cli::{
        format::{self, Listing, Row},
        image::size,
    },
    container::{
        Config, Description, Port, duration,
        mount::MountKind,
        networking,
        state::{Folder, State, Status, Store},
    },
    folders, image,
    vm::keeper::HealthStatus,
};

/// Longest command shown, in characters.
const COMMAND_WIDTH: usize = 20;
/// Longest name of a mount shown, in characters.
const MOUNT_WIDTH: usize = 15;

/// List containers
#[derive(Debug, Args)]
pub struct Ps {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Show the youngest container, whatever its state
    #[arg(short, long)]
    latest: bool,
    /// Show so many of the youngest containers, whatever their state; -1 is all
    #[arg(short = 'n', long, value_name = "NUMBER", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show what each takes on the disk
    #[arg(short, long)]
    size: bool,
    /// Only those that are meant: id, name, label, exited, status, ancestor, before, since, volume, network, publish, expose or
    /// health, each with =VALUE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// How to print: table, table TEMPLATE, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print a line of JSON for each
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("HealthStatus", "HEALTH"),
];

impl Ps {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let last = self.last.and_then(|last| usize::try_from(last).ok());
        let count = if self.latest { Some(1) } else { last };
        let store = Store::open()?;
        let filters = Filters::parse(&self.filter, &store)?;
        let mut containers = store.list()?;
        if !self.all && count.is_none() && self.last.is_none() && !filters.are_about_status() {
            containers.retain(|(_, _, state)| state.status.is_up());
        }
        containers.retain(|(_, description, state)| filters.mean(description, state));
        containers.truncate(count.unwrap_or(usize::MAX));
        let mut columns = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
        let sized = self.size || self.format.as_ref().is_some_and(|format| format.contains(".Size"));
        if self.size {
            columns.push("Size");
        }
        let rows: Vec<_> = containers.iter().map(|container| self.row(container, sized)).collect();
        let format = match &self.format {
            _ if self.quiet => Some("{{.ID}}"),
            _ if self.json => Some("json"),
            format => format.as_deref(),
        };
        Listing { headings: HEADINGS, columns: &columns }.print(format, &rows)
    }

    fn id<'a>(&self, folder: &'a Folder) -> &'a str {
        if self.no_trunc { folder.id.as_str() } else { folder.id.short() }
    }

    fn row(&self, (folder, description, state): &(Folder, Description, State), sized: bool) -> Row {
        let volumes = description.mounts.iter().filter(|mount| mount.kind == MountKind::Volume).count();
        let health = state.health.as_ref().map(|health| health.status.name());
        let row = Row::new([
            ("ID", self.id(folder).into()),
            ("Image", description.config.image.clone().into()),
            ("Command", self.command(&description.config).into()),
            ("CreatedAt", format::created_at(&description.created).into()),
            ("RunningFor", format!("{} ago", since(&description.created)).into()),
            ("State", state.status.name().into()),
            ("Status", status(state).into()),
            ("Ports", ports(description, state).into()),
            ("Names", description.name.to_string().into()),
            ("Size", if sized { room(folder, description) } else { "0B".to_owned() }.into()),
            ("Mounts", self.mounts(description).into()),
            ("LocalVolumes", volumes.to_string().into()),
            ("Networks", networks(description).into()),
            ("HealthStatus", health.unwrap_or("none").into()),
        ]);
        row.with_labels(&description.config.labels)
    }

    fn mounts(&self, description: &Description) -> String {
        let shown = |name: String| match !self.no_trunc && name.chars().count() > MOUNT_WIDTH {
            true => name.chars().take(MOUNT_WIDTH - 1).chain(['…']).collect(),
            false => name,
        };
        let name = |mount: &crate::container::mount::MountPoint| match &mount.name {
            Some(name) => shown(name.clone()),
            None => shown(mount.source.display().to_string()),
        };
        description.mounts.iter().map(name).collect::<Vec<_>>().join(",")
    }

    /// The command in quotes, and shortened.
    fn command(&self, config: &Config) -> String {
        let command = config.args().join(" ");
        let long = !self.no_trunc && command.chars().count() > COMMAND_WIDTH;
        let shown =
            if long { command.chars().take(COMMAND_WIDTH - 1).chain(['…']).collect() } else { command };
        // Quoted as a string of a program, so that nothing in it can move the cursor.
        let escaped: String = shown
            .chars()
            .flat_map(|c| if c == '\'' { vec![c] } else { c.escape_debug().collect() })
            .collect();
        format!("\"{escaped}\"")
    }
}

/// The networks that a container is in.
fn networks(description: &Description) -> String {
    let all: Vec<_> = networking::networks(description).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(",") }
}

/// A container's ports, as Docker says it: where they are reached, and those that are not.
fn ports(description: &Description, state: &State) -> String {
    if state.status != Status::Running {
        return String::new();
    }
    let bound = state.ports();
    let is_bound = |port: &Port| {
        bound.clone().any(|bound| (bound.inside, bound.protocol) == (port.number, port.protocol))
    };
    let outside = bound.clone().map(|bound| format!("{}->{}/{}", bound.at, bound.inside, bound.protocol));
    let inside = description.config.exposed_ports.iter().filter(|port| !is_bound(port)).map(Port::to_string);
    outside.chain(inside).collect::<Vec<_>>().join(", ")
}

/// What a container takes on the disk, and with its image.
fn room(folder: &Folder, description: &Description) -> String {
    let own = folders::allocated(folder.path());
    let image =
        image::Store::open().and_then(|store| store.find(&description.image.to_string())).ok().flatten();
    format!("{} (virtual {})", size::human(own), size::human(own + image.map_or(0, |image| image.size())))
}

fn since(time: &str) -> String {
    duration::human(duration::seconds_since(time))
}

/// A container's status, as Docker says it.
fn status(state: &State) -> String {
    let health = match state.health.as_ref().map(|health| health.status) {
        Some(HealthStatus::Starting) => " (health: starting)",
        Some(HealthStatus::Healthy) => " (healthy)",
        Some(HealthStatus::Unhealthy) => " (unhealthy)",
        None => "",
    };
    match state.status {
        Status::Created | Status::Starting => "Created".to_owned(),
        Status::Running => format!("Up {}{health}", since(&state.started_at)),
        Status::Paused => format!("Up {} (Paused)", since(&state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(&state.finished_at)),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(&state.finished_at)),
        Status::Dead => "Dead".to_owned(),
    }
}
