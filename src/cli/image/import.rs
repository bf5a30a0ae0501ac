//! `hull import`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value};

use crate::{
    container::files::commit,
    image::{Reference, Store, derive},
    vm::timestamp,
};

/// Make an image of the archive of a file system
#[derive(Debug, Args)]
pub struct Import {
    /// Apply an instruction of a Dockerfile to its configuration
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What it is
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// The archive, compressed or not; `-` is standard input
    file: String,
    /// What the image is called
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<Reference>,
}

impl Import {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { change, message, file, name } = self;
        if file.starts_with("http://") || file.starts_with("https://") {
            bail!("{file}: hull import fetches nothing; pipe it: curl {file} | hull import -");
        }
        let mut config = Map::new();
        for change in &change {
            commit::apply(&mut config, change).map_err(anyhow::Error::msg)?;
        }
        let archive = match &*file {
            "-" => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            path => File::open(path).with_context(|| format!("cannot open {path}"))?,
        };
        let store = Store::open()?;
        let ingest = store.ingest()?;
        let layer = derive::layer(&ingest, &file, archive)?;
        let changes = derive::Changes {
            created: timestamp::now(),
            comment: if message.is_empty() { format!("Imported from {file}") } else { message },
            config: Value::Object(config),
            ..derive::Changes::default()
        };
        println!("{}", derive::image(&ingest, None, &layer, &changes, name.as_ref())?);
        Ok(ExitCode::SUCCESS)
    }
}
