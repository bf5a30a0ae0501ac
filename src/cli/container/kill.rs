//! `hull kill`.

use std::process::ExitCode;

use clap::Args;

use super::for_each;
use crate::container::{action, signal};

/// Send containers a signal
#[derive(Debug, Args)]
pub struct Kill {
    /// The signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Kill {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let signal = signal::parse(&self.signal)?;
        for_each(&self.containers, |store, container| {
            action::kill(store, container, signal).map(|()| container.to_owned())
        })
    }
}
