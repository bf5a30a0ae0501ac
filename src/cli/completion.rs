//! `hull completion`, and the manual pages of `make dist`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// The arguments of `hull completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    /// Prints the script that a shell reads to complete hull's command lines.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        clap_complete::generate(self.shell, &mut Cli::command(), "hull", &mut std::io::stdout());
        Ok(ExitCode::SUCCESS)
    }
}

/// The arguments of `hull internal manual`.
#[derive(Debug, Args)]
pub struct Manual {
    /// Where the pages go
    folder: PathBuf,
}

impl Manual {
    /// Writes a manual page for hull and one for each verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let mut command = Cli::command();
        command.build();
        write_page(command, &self.folder)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write_page(command: clap::Command, folder: &Path) -> anyhow::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write_page(verb.clone(), folder)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let path = folder.join(format!("{name}.1"));
    let mut page =
        std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(())
}
