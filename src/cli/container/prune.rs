//! `hull container prune`.

use std::process::ExitCode;

use clap::Args;

use super::time::parse_time;
use crate::{
    cli::{image::size, label::Label, terminal},
    container::{
        Description, action,
        state::{State, Status, Store},
    },
    folders,
};

/// Remove all containers that do not run
#[derive(Debug, Args)]
pub struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that are meant: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
    filter: Vec<Filter>,
}

/// Which are meant.
#[derive(Debug, Clone)]
pub enum Filter {
    /// Created before this.
    Until(jiff::Timestamp),
    /// With this label, or without it.
    Label(Label),
}

/// Reads a filter.
///
/// # Errors
/// When there is none of this kind.
pub fn parse_filter(text: &str) -> Result<Filter, String> {
    let unknown = || {
        format!("invalid filter '{text}'; there are until=TIME, label=NAME[=VALUE] and label!=NAME[=VALUE]")
    };
    let (key, value) = text.split_once('=').ok_or_else(unknown)?;
    match key {
        "until" => parse_time(value).map(Filter::Until),
        _ => Label::parse(key, value).map(Filter::Label).ok_or_else(unknown),
    }
}

impl Filter {
    fn means(&self, description: &Description) -> bool {
        match self {
            Self::Until(time) => {
                description.created.parse::<jiff::Timestamp>().is_ok_and(|created| created < *time)
            }
            Self::Label(label) => label.means(|name| description.config.labels.get(name)),
        }
    }
}

impl Prune {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if !self.force && !terminal::confirm(" all stopped containers.")? {
            return Ok(ExitCode::SUCCESS);
        }
        let (code, reclaimed) = prune(&self.filter)?;
        println!("Total reclaimed space: {}", size::human(reclaimed));
        Ok(code)
    }
}

/// Removes containers that do not run and that all filters mean. Prints which, and gives the bytes that they took.
///
/// # Errors
/// When the store cannot be read.
pub fn prune(filters: &[Filter]) -> anyhow::Result<(ExitCode, u64)> {
    let store = Store::open()?;
    let over = |state: &State| matches!(state.status, Status::Created | Status::Exited | Status::Dead);
    let mut code = ExitCode::SUCCESS;
    let (mut removed, mut reclaimed) = (Vec::new(), 0);
    for (folder, description, state) in store.list()? {
        if !over(&state) || !filters.iter().all(|filter| filter.means(&description)) {
            continue;
        }
        let size = folders::allocated(folder.path());
        match action::remove(&store, folder.id.as_str(), false, false) {
            Ok(()) => {
                removed.push(folder.id);
                reclaimed += size;
            }
            // It was started, or removed, a moment ago.
            Err(error) => {
                eprintln!("hull: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    if !removed.is_empty() {
        println!("Deleted Containers:");
        removed.iter().for_each(|id| println!("{id}"));
        println!();
    }
    Ok((code, reclaimed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_docker() {
        for label in ["label!=a=1", "label=a"] {
            assert!(matches!(parse_filter(label), Ok(Filter::Label(_))), "{label}");
        }
        assert!(matches!(parse_filter("until=24h"), Ok(Filter::Until(_))));
        for wrong in ["until", "until=x", "status=exited", ""] {
            assert!(parse_filter(wrong).is_err(), "{wrong}");
        }
    }
}
