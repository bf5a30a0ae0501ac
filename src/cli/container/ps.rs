//! `hull ps`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::{
    cli::table,
    container::{
        Config, Description, Port, duration,
        state::{Folder, State, Status, Store},
    },
};

/// Longest command shown, in characters.
const COMMAND_WIDTH: usize = 20;

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
    /// Show so many of the youngest containers, whatever their state
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<usize>,
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
}

impl Ps {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let count = if self.latest { Some(1) } else { self.last };
        let mut containers = Store::open()?.list()?;
        if !self.all && count.is_none() {
            containers.retain(|(_, _, state)| state.status.is_up());
        }
        containers.truncate(count.unwrap_or(usize::MAX));
        if self.quiet {
            for (folder, ..) in &containers {
                println!("{}", self.id(folder));
            }
        } else if self.json {
            for container in &containers {
                println!("{}", self.line(container));
            }
        } else {
            let rows: Vec<_> = containers.iter().map(|container| self.row(container)).collect();
            let headings = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
            print!("{}", table::render(headings, &rows));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn id<'a>(&self, folder: &'a Folder) -> &'a str {
        if self.no_trunc { folder.id.as_str() } else { folder.id.short() }
    }

    fn row(&self, (folder, description, state): &(Folder, Description, State)) -> [String; 7] {
        [
            self.id(folder).to_owned(),
            description.config.image.clone(),
            self.command(&description.config),
            format!("{} ago", duration::human(duration::seconds_since(&description.created))),
            status(state),
            ports(description, state),
            description.name.to_string(),
        ]
    }

    fn line(&self, container: &(Folder, Description, State)) -> serde_json::Value {
        let [id, image, command, ago, status, ports, names] = self.row(container);
        let (_, description, state) = container;
        let labels: Vec<_> =
            description.config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        json!({
            "ID": id, "Image": image, "Command": command, "CreatedAt": description.created, "RunningFor": ago,
            "State": state.status.name(), "Status": status, "Ports": ports, "Names": names,
            "Labels": labels.join(","),
        })
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

/// A container's ports, as Docker says it: where they are reached, and those that are not.
fn ports(description: &Description, state: &State) -> String {
    if state.status != Status::Running {
        return String::new();
    }
    let bound = state.network.iter().flat_map(|joined| &joined.lease.ports);
    let is_bound = |port: &Port| {
        bound.clone().any(|bound| (bound.inside, bound.protocol) == (port.number, port.protocol))
    };
    let outside = bound.clone().map(|bound| format!("{}->{}/{}", bound.at, bound.inside, bound.protocol));
    let inside = description.config.exposed_ports.iter().filter(|port| !is_bound(port)).map(Port::to_string);
    outside.chain(inside).collect::<Vec<_>>().join(", ")
}

/// A container's status, as Docker says it.
fn status(state: &State) -> String {
    let since = |time: &str| duration::human(duration::seconds_since(time));
    match state.status {
        Status::Created | Status::Starting => "Created".to_owned(),
        Status::Running => format!("Up {}", since(&state.started_at)),
        Status::Paused => format!("Up {} (Paused)", since(&state.started_at)),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(&state.finished_at)),
        Status::Dead => "Dead".to_owned(),
    }
}
