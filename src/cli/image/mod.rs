//! The image verbs: `load`, `pull`, `images`, `rmi`, `tag`, and the same as `image ls`, `image rm`, ….

use std::process::ExitCode;

use clap::Subcommand;

pub mod filter;
mod history;
mod images;
mod import;
mod inspect;
mod load;
mod login;
mod progress;
mod prune;
mod pull;
mod push;
mod rmi;
mod save;
pub mod size;
mod tag;
mod tree;

pub use inspect::describe;
pub use prune::{meant, prune};
pub use pull::obtain;

/// Verbs that stand on their own.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// List images
    Images(images::Images),
    /// Make an image of the archive of a file system
    Import(import::Import),
    /// Load images from an archive or folder
    Load(load::Load),
    /// Download an image from a registry
    Pull(pull::Pull),
    /// Remove images
    Rmi(rmi::Rmi),
    /// Give an image another name
    Tag(tag::Tag),
    /// Show how an image was made
    History(history::History),
    /// Upload an image to a registry
    Push(push::Push),
    /// Save images to an archive
    Save(save::Save),
    /// Log in to a registry
    Login(login::Login),
    /// Log out of a registry
    Logout(login::Logout),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Images(verb) => verb.run(),
            Verb::Import(verb) => verb.run(),
            Verb::Load(verb) => verb.run(),
            Verb::Pull(verb) => verb.run(),
            Verb::Rmi(verb) => verb.run(),
            Verb::Tag(verb) => verb.run(),
            Verb::History(verb) => verb.run(),
            Verb::Push(verb) => verb.run(),
            Verb::Save(verb) => verb.run(),
            Verb::Login(verb) => verb.run(),
            Verb::Logout(verb) => verb.run(),
        }
    }
}

/// Verbs below `hull image`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum GroupVerb {
    /// Show everything about images, as JSON
    Inspect(inspect::Inspect),
    /// Make an image of the archive of a file system
    Import(import::Import),
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
    /// Show how an image was made
    History(history::History),
    /// Remove images that nobody uses
    Prune(prune::Prune),
    /// Upload an image to a registry
    Push(push::Push),
    /// Save images to an archive
    Save(save::Save),
}

impl GroupVerb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            GroupVerb::Inspect(verb) => verb.run(),
            GroupVerb::Import(verb) => verb.run(),
            GroupVerb::Load(verb) => verb.run(),
            GroupVerb::Ls(verb) => verb.run(),
            GroupVerb::Pull(verb) => verb.run(),
            GroupVerb::Rm(verb) => verb.run(),
            GroupVerb::Tag(verb) => verb.run(),
            GroupVerb::History(verb) => verb.run(),
            GroupVerb::Prune(verb) => verb.run(),
            GroupVerb::Push(verb) => verb.run(),
            GroupVerb::Save(verb) => verb.run(),
        }
    }
}
