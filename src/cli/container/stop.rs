//! `hull stop` and `hull restart`.

use std::process::ExitCode;

use clap::Args;

use super::{for_each, start};
use crate::container::{Result, action, signal, state::Store};

/// The arguments of both.
#[derive(Debug, Args)]
pub struct Stop {
    /// Signal to send instead of the container's own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before killing the container; -1 waits for ever
    #[arg(
        short,
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stop {
    /// Stops them.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.each(|_, _| Ok(()))
    }

    /// Stops them, and starts them again.
    pub fn restart(self) -> anyhow::Result<ExitCode> {
        self.each(start::start)
    }

    fn each(self, then: impl Fn(&Store, &str) -> Result<()>) -> anyhow::Result<ExitCode> {
        let signal = self.signal.as_deref().map(signal::parse).transpose()?;
        for_each(&self.containers, |store, container| {
            action::stop(store, container, signal, self.timeout)?;
            then(store, container)?;
            Ok(container.to_owned())
        })
    }
}
