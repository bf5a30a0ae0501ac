//! `hull create`.

use std::process::ExitCode;

use clap::Args;

use super::{
    options::{Attached, Options},
    run,
};
use crate::cli::image;
use crate::container::{
    self, Result,
    state::{Status, Store},
};

/// Create a container without starting it
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Create {
    #[command(flatten)]
    options: Options,
}

impl Create {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        Ok(self.execute().unwrap_or_else(|error| {
            eprintln!("hull: {error}");
            ExitCode::FAILURE
        }))
    }

    fn execute(&self) -> Result<ExitCode> {
        let options = &self.options;
        let request = options.request(&Attached::of(options))?;
        let id_file = options.cidfile.as_deref().map(run::IdFile::create).transpose()?;
        let image = image::obtain(options.image(), options.pull.into(), options.quiet)?;
        let created = container::create(&Store::open()?, &image, request, Status::Created)?;
        if let Some(file) = id_file {
            file.write(&created.folder.id)?;
        }
        println!("{}", created.folder.id);
        Ok(ExitCode::SUCCESS)
    }
}
