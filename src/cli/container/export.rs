//! `hull export`.

use std::{
    fs::File,
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;

use crate::container::{
    files::{self, Access},
    state::Store,
};

/// Write a container's file system as a tar archive
#[derive(Debug, Args)]
pub struct Export {
    /// Write to this file, which is complete or not there
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The container
    container: String,
}

impl Export {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            self.output.is_some() || !io::stdout().is_terminal(),
            "cowardly refusing to save to a terminal. Use the -o flag or redirect"
        );
        let access = Access::open(&Store::open()?, &self.container)?;
        let Some(path) = self.output else {
            files::export(&access, &mut io::stdout().lock())?;
            return Ok(ExitCode::SUCCESS);
        };
        if path.metadata().is_ok_and(|about| !about.is_file()) {
            // A pipe or a device.
            let mut file = File::options().write(true).open(&path);
            let file = file.as_mut().map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            files::export(&access, file)?;
            return Ok(ExitCode::SUCCESS);
        }
        let whole = std::path::absolute(&path)?;
        let folder = whole.parent().context("the output is a directory")?;
        anyhow::ensure!(
            folder.is_dir(),
            "invalid output path: directory {:?} does not exist",
            folder.display().to_string()
        );
        let file = tempfile::Builder::new().prefix(".hull-export-").tempfile_in(folder);
        let mut file = file.with_context(|| format!("cannot make a file in {}", folder.display()))?;
        files::export(&access, file.as_file_mut())?;
        let umask = rustix::process::umask(rustix::fs::Mode::empty());
        rustix::process::umask(umask);
        let mode = rustix::fs::Mode::from_raw_mode(0o666 & !umask.as_raw_mode());
        rustix::fs::fchmod(file.as_file(), mode)?;
        file.persist(&whole).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
