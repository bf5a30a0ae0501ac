//! `hull pause` and `hull unpause`.

use std::process::ExitCode;

use clap::Args;

use super::for_each;
use crate::container::action;

/// The arguments of both.
#[derive(Debug, Args)]
pub struct Pause {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Pause {
    /// Has them stand still, or go on.
    pub fn run(self, pause: bool) -> anyhow::Result<ExitCode> {
        for_each(&self.containers, |store, container| {
            action::pause(store, container, pause).map(|()| container.to_owned())
        })
    }
}
