//! `hull cp`.

use std::{io::IsTerminal, process::ExitCode};

use clap::Args;

use crate::container::{
    files::{
        Access,
        copy::{self, Options},
    },
    state::Store,
};

/// Copy files between a container and the host
#[derive(Debug, Args)]
pub struct Cp {
    /// Keep owners; those of copied files are root in the container and you on the host otherwise
    #[arg(short, long)]
    archive: bool,
    /// Copy what a link named as the source leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing of what was copied; so it is where standard output is no terminal
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path, or - for an archive on standard input
    source: String,
    /// CONTAINER:PATH, a path, or - for an archive on standard output
    destination: String,
}

/// Container and path, as Docker takes them apart: `./a:b` and `/a:b` are paths of the host.
fn split(argument: &str) -> (Option<&str>, &str) {
    if argument.starts_with('/') {
        return (None, argument);
    }
    match argument.split_once(':') {
        Some((container, path)) if !container.starts_with('.') => (Some(container), path),
        _ => (None, argument),
    }
}

impl Cp {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let ((from, source), (to, destination)) = (split(&self.source), split(&self.destination));
        anyhow::ensure!(!source.is_empty(), "source can not be empty");
        anyhow::ensure!(!destination.is_empty(), "destination can not be empty");
        let options = Options { archive: self.archive, follow: self.follow_link };
        let store = Store::open()?;
        let bytes = match (from, to) {
            (Some(name), None) => {
                copy::from_container(&Access::open(&store, name)?, name, source, destination, options)?
            }
            (None, Some(name)) => {
                let access = Access::open(&store, name)?;
                let bytes = copy::to_container(&access, name, source, destination, options)?;
                access.close()?;
                bytes
            }
            (Some(_), Some(_)) => anyhow::bail!("copying between containers is not supported"),
            (None, None) => anyhow::bail!("must specify at least one container source"),
        };
        if !self.quiet && destination != "-" && std::io::stdout().is_terminal() {
            eprintln!("Successfully copied {} to {}", human(bytes), self.destination);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// As Docker shows it: three digits, powers of 1000.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1000.0, unit + 1);
    }
    let digits = if unit == 0 || size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &*text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
#[path = "cp_test.rs"]
mod tests;
