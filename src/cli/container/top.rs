//! `hull top`.

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::output,
    container::{
        files::{self, Access},
        state::Store,
    },
};

/// Show the processes of a container that runs
#[derive(Debug, Args)]
pub struct Top {
    /// The container
    container: String,
    /// Options of ps: -ef, aux, or -o COLUMN,…
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTION")]
    options: Vec<String>,
}

impl Top {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let access = Access::of_running(&Store::open()?, &self.container)?;
        let text = files::top(&access, &self.options)?;
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        let widths = rows.iter().fold(Vec::new(), |mut widths: Vec<usize>, row| {
            widths.resize(widths.len().max(row.len()), 0);
            row.iter().zip(&mut widths).for_each(|(cell, width)| *width = (*width).max(cell.chars().count()));
            widths
        });
        let lines = rows.iter().map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   "));
            format!("{}\n", cells.collect::<String>().trim_end())
        });
        output::print(&lines.collect::<String>())
    }
}
