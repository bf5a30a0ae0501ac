//! `hull rm`.

use std::process::ExitCode;

use clap::Args;

use super::for_each;
use crate::container::{Error, action};

/// Remove containers
#[derive(Debug, Args)]
pub struct Rm {
    /// Also containers that run: they are killed
    #[arg(short, long)]
    force: bool,
    /// Remove the volumes too that have no name of their own
    #[arg(short, long)]
    volumes: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Rm {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        for_each(&self.containers, |store, container| {
            match action::remove(store, container, self.force, self.volumes) {
                // As with Docker: what is gone need not be removed by force.
                Err(error @ Error::NotFound(_)) if self.force => {
                    eprintln!("hull: {error}");
                    Ok(container.to_owned())
                }
                result => result.map(|()| container.to_owned()),
            }
        })
    }
}
