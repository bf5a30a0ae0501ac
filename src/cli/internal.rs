//! `hull internal`: verbs that hull's own build and processes use.

use std::io::{Seek, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use crate::image::erofs;

/// The hidden verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Turns the tar archive on standard input into an EROFS image on standard output
    Mkerofs,
    /// Writes the manual pages into a folder
    Manual(super::completion::Manual),
    /// Runs the VM that a keeper describes on inherited descriptors
    Vmm,
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Mkerofs => mkerofs(),
            Verb::Manual(verb) => verb.run(),
            Verb::Vmm => Ok(crate::vmm::run()),
        }
    }
}

/// The image's first block is written last: standard output that is no regular file gets it from a temporary one.
fn mkerofs() -> anyhow::Result<ExitCode> {
    let mut image = tempfile::tempfile().context("cannot make a temporary file")?;
    erofs::write_from_tar(std::io::stdin().lock(), &mut image)?;
    image.rewind()?;
    let mut out = std::io::stdout().lock();
    std::io::copy(&mut image, &mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
