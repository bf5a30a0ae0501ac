//! The image verbs: `load`, `pull`, `images`, `rmi`, `tag`, and the same as `image ls`, `image rm`, ….

use std::process::ExitCode;

use clap::Subcommand;

mod load;

/// Verbs that stand on their own.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Load images from an archive or folder
    Load(load::Load),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Load(verb) => verb.run(),
        }
    }
}

/// Verbs below `hull image`.
#[derive(Debug, Subcommand)]
pub enum GroupVerb {
    /// Load images from an archive or folder
    Load(load::Load),
}

impl GroupVerb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            GroupVerb::Load(verb) => verb.run(),
        }
    }
}
