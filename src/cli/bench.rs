//! `hull bench`: what does the boundary cost here?

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};

use crate::assets::Assets;
use crate::bench::boot::{self, Outcome, Plan};
use crate::bench::profile::SymbolMap;

/// The verbs of `hull bench`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure the stages of a container's cold start
    Boot(Boot),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Boot(verb) => verb.run(),
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
        let mut options = Vec::new();
        for (flag, value) in [("--cpus", &self.cpus), ("--memory", &self.memory)] {
            options.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        let plan =
            Plan { rounds: self.rounds, image: self.image.clone(), command: self.command.clone(), options };
        let symbols = if self.profile { Some(SymbolMap::read(&Assets::find()?.system_map())?) } else { None };
        let bar = if std::io::stderr().is_terminal() && !self.json {
            indicatif::ProgressBar::new(self.rounds as u64)
        } else {
            indicatif::ProgressBar::hidden()
        };
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

fn print(outcome: &Outcome, top: usize) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["STAGE, IN MILLISECONDS", "MIN", "MEDIAN", "P90", "MAX"]);
    for stage in &outcome.stages {
        let times = stage.milliseconds;
        let numbers = [times.min, times.median, times.p90, times.max].map(|time| format!("{time:.1}"));
        table.add_row(std::iter::once(stage.stage.to_owned()).chain(numbers));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{}", table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
    for stage in &outcome.profile {
        println!("\n{}: {} samples", stage.stage, stage.samples);
        for (function, count) in stage.functions.iter().take(top) {
            println!("{:6.1} %  {function}", 100.0 * *count as f64 / stage.samples as f64);
        }
    }
}
