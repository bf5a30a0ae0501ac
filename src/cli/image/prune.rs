//! `hull image prune`.

use std::collections::HashSet;
use std::process::ExitCode;

use clap::Args;

use super::filter::Filter;
use super::size;
use crate::cli::terminal;
use crate::container;
use crate::folders;
use crate::image::Store;
use crate::image::store::Removed;

/// Remove images that nobody uses
#[derive(Debug, Args)]
pub struct Prune {
    /// Also those with a tag
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that are meant: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

impl Prune {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if !self.force && !terminal::confirm(&format!(" all {}.", meant(self.all)))? {
            return Ok(ExitCode::SUCCESS);
        }
        let bytes = prune(self.all, &self.filter)?;
        println!("Total reclaimed space: {}", size::human(bytes));
        Ok(ExitCode::SUCCESS)
    }
}

/// Which images are removed, in words.
pub fn meant(all: bool) -> &'static str {
    if all { "images without at least one container associated to them" } else { "dangling images" }
}

/// Removes images without a tag that no container has, or with `all` those with one, too. Prints which, and gives the bytes that they took.
///
/// # Errors
/// When a filter is none, or an image cannot be removed.
pub fn prune(all: bool, filters: &[String]) -> anyhow::Result<u64> {
    let (store, containers) = (Store::open()?, container::state::Store::open()?);
    let filters =
        filters.iter().map(|text| Filter::parse(text, &store)).collect::<anyhow::Result<Vec<_>>>()?;
    let used: HashSet<_> = containers.descriptions()?.into_iter().map(|container| container.image).collect();
    let before = folders::allocated(store.root());
    let mut removed = Vec::new();
    for image in store.images()? {
        let meant = filters.iter().all(|filter| filter.means(&image));
        if !meant || used.contains(&image.id) || !(all || image.tags.is_empty()) {
            continue;
        }
        // Asked again for each: a container of it may have been made meanwhile. Whoever cannot be asked about may use it.
        let used = |image| !matches!(containers.user_of(image), Ok(None));
        match store.remove_unused(image.id, all, used) {
            Ok(gone) => removed.extend(gone),
            Err(crate::image::Error::NotFound(_) | crate::image::Error::Conflict(..)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !removed.is_empty() {
        println!("Deleted Images:");
        for one in removed {
            match one {
                Removed::Untagged(name) => println!("untagged: {}", name.familiar()),
                Removed::Deleted(digest) => println!("deleted: {digest}"),
            }
        }
        println!();
    }
    Ok(before.saturating_sub(folders::allocated(store.root())))
}
