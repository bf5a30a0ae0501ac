//! `hull bench network`.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use comfy_table::{Table, presets};

use crate::bench::network::{Plan, Row, measure, steps};

/// The arguments of `hull bench network`.
#[derive(Debug, Args)]
pub struct Network {
    /// How many rounds
    #[arg(short = 'n', long, default_value_t = 3)]
    rounds: usize,
    /// How long each measurement takes
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    time: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Network {
    /// Measures and prints.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!((0.1..=600.0).contains(&self.time), "--time is 0.1 to 600 seconds");
        let plan = Plan { rounds: self.rounds.max(1), time: Duration::from_secs_f64(self.time) };
        let bar = super::bench::progress(steps(&plan) as u64, self.json);
        let rows = measure(&plan, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&rows)?);
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["MEDIAN OF", "HULL", "PASST", "HULL / PASST"]);
        for Row { what, hull, passt } in &rows {
            let theirs = passt.map_or("-".to_owned(), |passt| format!("{:.0}", passt.median));
            let ratio = passt.map_or("-".to_owned(), |passt| format!("{:.2}", hull.median / passt.median));
            table.add_row([(*what).to_owned(), format!("{:.0}", hull.median), theirs, ratio]);
        }
        super::bench::show(&mut table, 1);
        Ok(ExitCode::SUCCESS)
    }
}
