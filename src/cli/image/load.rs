//! `hull load`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::image::{Platform, Store, load};

/// Load images from an archive or folder
#[derive(Debug, Args)]
pub struct Load {
    /// Archive or folder to read; `-` is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    input: Option<PathBuf>,
    /// The same, without the option
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Accepted for Docker's sake: there is no progress to leave out
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let platform = Platform::host();
        let store = Store::open()?;
        let loaded = match self.input.or(self.file).filter(|path| path.as_os_str() != "-") {
            Some(path) => load::load(&store, &path, &platform)?,
            None if io::stdin().is_terminal() => {
                bail!(
                    "no archive is given, and standard input is a terminal: name a file, or pipe `docker save` into hull load"
                );
            }
            None => {
                let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
                load::load_file(&store, stdin, "standard input", &platform)?
            }
        };
        for image in loaded {
            for name in &image.names {
                println!("Loaded image: {}", name.familiar());
            }
            if image.names.is_empty() {
                println!("Loaded image ID: {}", image.id);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
