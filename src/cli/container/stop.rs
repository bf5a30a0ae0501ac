//! `hull stop` and `hull restart`.

use std::process::ExitCode;

use clap::Args;

use super::{for_each, start};
use crate::container::{Error, Result, action, signal, state::Store};

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
        self.each(|_, _| Ok(()), |_, _| Ok(()))
    }

    /// Stops them, and starts them again.
    pub fn restart(self) -> anyhow::Result<ExitCode> {
        let check = |store: &Store, container: &str| {
            let description = store.find(container)?.description()?;
            if description.is_some_and(|description| description.host_config.auto_remove) {
                return Err(Error::Conflict(format!(
                    "container {container} is removed when it ends (--rm), so it cannot be started again"
                )));
            }
            Ok(())
        };
        self.each(check, start::start)
    }

    fn each(
        self,
        check: impl Fn(&Store, &str) -> Result<()>,
        then: impl Fn(&Store, &str) -> Result<()>,
    ) -> anyhow::Result<ExitCode> {
        let signal = self.signal.as_deref().map(signal::parse).transpose()?;
        for_each(&self.containers, |store, container| {
            check(store, container)?;
            action::stop(store, container, signal, self.timeout)?;
            then(store, container)?;
            Ok(container.to_owned())
        })
    }
}
