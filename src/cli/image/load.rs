//! `hull load`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// Load images from an archive or folder
#[derive(Debug, Args)]
pub struct Load {
    /// Archive or folder to read; `-` is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    input: Option<PathBuf>,
    /// The same, without the option
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print only what was loaded
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("load is not built yet")
    }
}
