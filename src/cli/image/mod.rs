//! The image verbs: `load`, `pull`, `images`, `rmi`, `tag`, and the same as `image ls`, `image rm`, ….

use std::process::ExitCode;

use clap::Subcommand;

pub mod filter;
mod images;
mod inspect;
mod load;
mod progress;
mod pull;
mod rmi;
pub mod size;
mod tag;
mod tree;

pub use inspect::describe;
pub use pull::obtain;

/// Verbs that stand on their own.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// List images
    Images(images::Images),
    /// Load images from an archive or folder
    Load(load::Load),
    /// Download an image from a registry
    Pull(pull::Pull),
    /// Remove images
    Rmi(rmi::Rmi),
    /// Give an image another name
    Tag(tag::Tag),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Images(verb) => verb.run(),
            Verb::Load(verb) => verb.run(),
            Verb::Pull(verb) => verb.run(),
            Verb::Rmi(verb) => verb.run(),
            Verb::Tag(verb) => verb.run(),
        }
    }
}

/// Verbs below `hull image`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum GroupVerb {
    /// Show everything about images, as JSON
    Inspect(inspect::Inspect),
    /// Load images from an archive or folder
    Load(load::Load),
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Images),
    /// Download an image from a registry
    Pull(pull::Pull),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(rmi::Rmi),
    /// Give an image another name
    Tag(tag::Tag),
}

impl GroupVerb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            GroupVerb::Inspect(verb) => verb.run(),
            GroupVerb::Load(verb) => verb.run(),
            GroupVerb::Ls(verb) => verb.run(),
            GroupVerb::Pull(verb) => verb.run(),
            GroupVerb::Rm(verb) => verb.run(),
            GroupVerb::Tag(verb) => verb.run(),
        }
    }
}
