//! `hull stats`.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        format::{Listing, Row},
        image::size::human,
        table,
    },
    config::Size,
    container::{
        Description, Error, Host, Result,
        state::{Folder, Store},
    },
    vm::usage::Usage,
};

/// Time over which CPU use is measured, and after which a new table is shown.
const INTERVAL: Duration = Duration::from_secs(1);

/// Show what running containers take of the host
///
/// MEM USAGE is what the VM's processes hold, with their part of what VMs share (PSS), LIMIT the memory of the VM;
/// UNSHARED is what would be free if this container ended (USS).
#[derive(Debug, Args)]
pub struct Stats {
    /// Print one table and end
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print a line of JSON for each, once
    #[arg(long)]
    json: bool,
    /// How to print, once: table, table TEMPLATE, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The containers; all that run when absent
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// A container that runs, and what it takes.
struct Reading {
    folder: Folder,
    description: Description,
    usage: Usage,
    /// Percent of one CPU since the reading before.
    cpu: f64,
}

impl Stats {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        // A container that is named must be there; one that ends meanwhile is left out.
        for name in &self.containers {
            let folder = store.find(name)?;
            if !folder.state()?.status.is_up() {
                return Err(Error::NotRunning(folder.id.clone()).into());
            }
            if let Some(vm) = folder.description()?.and_then(|description| description.host_config.vm) {
                return Err(Error::Invalid(format!(
                    "container {name} shares VM {vm}: what it takes of that is not known on the host; see \
                     /sys/fs/cgroup in the container"
                ))
                .into());
            }
        }
        let mut before = HashMap::new();
        self.read(&store, &mut before)?;
        loop {
            thread::sleep(INTERVAL);
            let readings = self.read(&store, &mut before)?;
            if self.json {
                for reading in &readings {
                    println!("{}", self.line(reading)?);
                }
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(format) = &self.format {
                let rows =
                    readings.iter().map(|reading| self.formatted(reading)).collect::<Result<Vec<_>>>()?;
                return LISTING.print(Some(format), &rows);
            }
            let rows = readings.iter().map(|reading| self.row(reading)).collect::<Result<Vec<_>>>()?;
            let headings = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "UNSHARED"];
            let table = table::render(headings, &rows);
            if self.no_stream || !std::io::stdout().is_terminal() {
                print!("{table}");
                return Ok(ExitCode::SUCCESS);
            }
            // From the top left, over what was there.
            print!("\x1b[H\x1b[2J{table}");
            std::io::stdout().flush()?;
        }
    }

    fn read(&self, store: &Store, before: &mut HashMap<String, (Instant, Duration)>) -> Result<Vec<Reading>> {
        let mut readings = Vec::new();
        for (folder, description, state) in store.list()? {
            let wanted = |name: &String| store.find(name).is_ok_and(|found| found.id == folder.id);
            // What is told are VMs with one container each.
            let shares = description.host_config.vm.is_some();
            if shares
                || !state.status.is_up()
                || !(self.containers.is_empty() || self.containers.iter().any(wanted))
            {
                continue;
            }
            let Ok(usage) = Usage::of_keeper(state.keeper_pid) else { continue };
            let now = Instant::now();
            let last = before.insert(folder.id.to_string(), (now, usage.cpu));
            let cpu = last.map_or(0.0, |(then, cpu)| {
                100.0 * usage.cpu.saturating_sub(cpu).as_secs_f64() / (now - then).as_secs_f64()
            });
            readings.push(Reading { folder, description, usage, cpu });
        }
        Ok(readings)
    }

    fn id<'a>(&self, folder: &'a Folder) -> &'a str {
        if self.no_trunc { folder.id.as_str() } else { folder.id.short() }
    }

    fn row(&self, reading: &Reading) -> Result<[String; 6]> {
        let (used, limit) =
            (reading.usage.memory.proportional, Host::this().share(&reading.description.host_config)?.memory);
        Ok([
            self.id(&reading.folder).to_owned(),
            reading.description.name.to_string(),
            format!("{:.2}%", reading.cpu),
            format!("{} / {}", human(used), Size(limit)),
            format!("{:.2}%", 100.0 * used as f64 / limit as f64),
            human(reading.usage.memory.unshared),
        ])
    }

    fn formatted(&self, reading: &Reading) -> Result<Row> {
        let [id, name, cpu, memory, percent, unshared] = self.row(reading)?;
        Ok(Row::new([
            ("Container", id.clone().into()),
            ("ID", id.into()),
            ("Name", name.into()),
            ("CPUPerc", cpu.into()),
            ("MemUsage", memory.into()),
            ("MemPerc", percent.into()),
            ("Unshared", unshared.into()),
        ]))
    }

    fn line(&self, reading: &Reading) -> Result<serde_json::Value> {
        let [id, name, cpu, memory, percent, _] = self.row(reading)?;
        Ok(json!({
            "ID": id, "Container": id, "Name": name, "CPUPerc": cpu, "MemUsage": memory, "MemPerc": percent,
            "Memory": reading.usage.memory,
        }))
    }
}

/// How `--format` shows it. What the host is not told of the guest (network, disks, processes) is not there.
const LISTING: Listing<'static> = Listing {
    headings: &[
        ("Container", "CONTAINER ID"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("Unshared", "UNSHARED"),
    ],
    columns: &["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "Unshared"],
};
