//! `hull export`.

use std::{
    fs::{self, File},
    io::{self, IsTerminal},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;

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
        let name = folder.join(format!(".hull-export-{}", std::process::id()));
        let (mut file, is_named) = temporary(folder, &name)
            .with_context(|| format!("cannot make a file in {}", folder.display()))?;
        let mut write = || -> anyhow::Result<()> {
            files::export(&access, &mut file)?;
            let cannot = || format!("cannot write {}", path.display());
            file.sync_data().with_context(cannot)?;
            if !is_named {
                let number = format!("/proc/self/fd/{}", file.as_raw_fd());
                linkat(CWD, number, CWD, &name, AtFlags::SYMLINK_FOLLOW).with_context(cannot)?;
            }
            fs::rename(&name, &whole).with_context(cannot)
        };
        write().inspect_err(|_| drop(fs::remove_file(&name)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A file in the folder, without a name until it is complete: nothing is left of it, whatever this process dies of. Where the file
/// system has no such files (NFS, FAT) it has this name; then so it is said.
fn temporary(folder: &Path, name: &Path) -> io::Result<(File, bool)> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match openat(CWD, folder, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => Ok((file.into(), false)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => File::create_new(name).map(|file| (file, true)),
        Err(error) => Err(error.into()),
    }
}
