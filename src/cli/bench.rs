//! `hull bench`: what does the boundary cost here?

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};

use crate::assets::Assets;
use crate::bench::boot::{self, Outcome, Plan};
use crate::bench::density;
use crate::bench::profile::SymbolMap;
use crate::bench::statistics::Summary;
use crate::config::Size;

use super::image::size::human;

/// The verbs of `hull bench`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure the stages of a container's cold start
    Boot(Boot),
    /// Measure what idle containers cost, and how many fit
    Density(Density),
    /// Measure how fast a network is, and passt where it is installed
    Network(super::bench_network::Network),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Boot(verb) => verb.run(),
            Self::Density(verb) => verb.run(),
            Self::Network(verb) => verb.run(),
        }
    }
}

/// The arguments of `hull bench boot`.
#[derive(Debug, Args)]
pub struct Boot {
    /// How many starts
    #[arg(short = 'n', long, default_value_t = 10)]
    rounds: usize,
    /// Image to start; it must be in the store
    #[arg(long, default_value = "busybox")]
    image: String,
    /// Virtual CPUs of the VM; what `hull run` gives when absent
    #[arg(long)]
    cpus: Option<String>,
    /// Memory limit of the container, which decides the VM's memory; what `hull run` gives when absent
    #[arg(short, long)]
    memory: Option<String>,
    /// Print the hottest functions of the guest's kernel by stage
    #[arg(long)]
    profile: bool,
    /// Functions to print for each stage
    #[arg(long, default_value_t = 12, requires = "profile")]
    top: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Command to run in the image
    #[arg(trailing_var_arg = true, default_value = "true")]
    command: Vec<String>,
}

impl Boot {
    /// Measures and prints.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let options = options(&[("--cpus", &self.cpus), ("--memory", &self.memory)]);
        let plan =
            Plan { rounds: self.rounds, image: self.image.clone(), command: self.command.clone(), options };
        let symbols = if self.profile { Some(SymbolMap::read(&Assets::find()?.system_map())?) } else { None };
        let bar = progress(self.rounds as u64, self.json);
        let outcome = boot::measure(&plan, symbols.as_ref(), |round| bar.set_position(round as u64))?;
        bar.finish_and_clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&outcome)?);
        } else {
            print(&outcome, self.top);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The arguments of `hull bench density`.
#[derive(Debug, Args)]
pub struct Density {
    /// How many containers; as many as fit with 0
    #[arg(short = 'n', long, default_value_t = 20)]
    count: usize,
    /// Image to start; it must be in the store
    #[arg(long, default_value = "busybox")]
    image: String,
    /// Virtual CPUs of each VM; what `hull run` gives when absent
    #[arg(long)]
    cpus: Option<String>,
    /// Memory limit of each container; what `hull run` gives when absent
    #[arg(short, long)]
    memory: Option<Size>,
    /// Then have each answer a request a second, for so many seconds: a line that its command (`cat` unless given) gives back
    #[arg(long, value_name = "SECONDS")]
    serve: Option<u64>,
    /// Memory to leave to the host
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    reserve: Size,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Command to run, `sleep` unless given; it must not end by itself
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,
}

impl Density {
    /// Measures and prints.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let memory = self.memory.map(|memory| memory.to_string());
        let mut options = options(&[("--cpus", &self.cpus), ("--memory", &memory)]);
        let mut idle = ["sleep", "1000000"].as_slice();
        if self.serve.is_some() {
            options.push("--interactive".to_owned());
            idle = &["cat"];
        }
        let idle = idle.iter().map(ToString::to_string).collect();
        let plan = density::Plan {
            count: (self.count > 0).then_some(self.count),
            image: self.image,
            command: if self.command.is_empty() { idle } else { self.command },
            options,
            serve: self.serve.map(Duration::from_secs),
            reserve: self.reserve.0,
            settle: Duration::from_secs(1),
        };
        let bar = progress(self.count as u64, self.json);
        let outcome = density::measure(&plan, |running| bar.set_position(running as u64))?;
        bar.finish_and_clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&outcome)?);
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "CONTAINERS",
            "UNSHARED EACH",
            "PROPORTIONAL EACH",
            "HOST HAS LEFT",
        ]);
        for step in &outcome.steps {
            let sizes = [step.unshared_each as u64, step.proportional_each as u64, step.available];
            table.add_row(std::iter::once(step.containers.to_string()).chain(sizes.map(human)));
        }
        show(&mut table, 0);
        println!(
            "\nA container more costs the host {}; {} fit.",
            human(outcome.slope as u64),
            outcome.would_fit
        );
        if let (Some(served), Some(step)) = (outcome.served, outcome.serving) {
            println!(
                "Of {} requests, one a second to each, {} were answered, and {} were not sent for want of an answer before; {} \
                 unshared each after that.",
                served.requests,
                served.answers,
                served.skipped,
                human(step.unshared_each as u64)
            );
            if let Some(times) = served.milliseconds {
                let Summary { min, median, p90, max, .. } = times;
                println!("An answer took {median:.1} ms (min {min:.1}, p90 {p90:.1}, max {max:.1}).");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Options of `hull run` for these values, where there are any.
fn options(values: &[(&str, &Option<String>)]) -> Vec<String> {
    let given = values.iter().filter_map(|(flag, value)| value.as_ref().map(|value| [flag, &**value]));
    given.flatten().map(str::to_owned).collect()
}

/// A progress bar, if somebody sees it.
pub fn progress(length: u64, json: bool) -> indicatif::ProgressBar {
    if std::io::stderr().is_terminal() && !json {
        indicatif::ProgressBar::new(length)
    } else {
        indicatif::ProgressBar::hidden()
    }
}

/// Prints a table whose columns from this one on are numbers.
pub fn show(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{}", table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
}

fn print(outcome: &Outcome, top: usize) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["STAGE, IN MILLISECONDS", "MIN", "MEDIAN", "P90", "MAX"]);
    for stage in &outcome.stages {
        let times = stage.milliseconds;
        let numbers = [times.min, times.median, times.p90, times.max].map(|time| format!("{time:.1}"));
        table.add_row(std::iter::once(stage.stage.to_owned()).chain(numbers));
    }
    show(&mut table, 1);
    for stage in &outcome.profile {
        println!("\n{}: {} samples", stage.stage, stage.samples);
        for (function, count) in stage.functions.iter().take(top) {
            println!("{:6.1} %  {function}", 100.0 * *count as f64 / stage.samples as f64);
        }
    }
}
