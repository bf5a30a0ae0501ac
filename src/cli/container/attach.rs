//! `hull attach`.

use std::process::ExitCode;

use clap::Args;

use super::{
    detach::DetachKeys,
    options::Attached,
    session::{self, End, Wish},
};
use crate::container::{
    Error, action,
    state::{Status, Store},
};

/// Attach this terminal to a container that runs
#[derive(Debug, Args)]
pub struct Attach {
    /// Do not attach the input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the container
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    sig_proxy: bool,
    /// Keys that leave the container
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// The container
    container: String,
}

impl Attach {
    /// Runs the verb; its exit code is the container's.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        let folder = store.find(&self.container)?;
        let description = folder.description()?.ok_or_else(|| Error::NotFound(self.container.clone()))?;
        let Some(channel) = action::connect(&store, &folder)? else {
            anyhow::bail!("You cannot attach to a stopped container, start it first");
        };
        match folder.state()?.status {
            Status::Paused => anyhow::bail!("You cannot attach to a paused container, unpause it first"),
            Status::Restarting => {
                anyhow::bail!("You cannot attach to a restarting container, wait until it is running")
            }
            _ => {}
        }
        let config = &description.config;
        let stdin = config.open_stdin && !self.no_stdin;
        if config.tty && stdin && !crate::cli::terminal::is_input() {
            anyhow::bail!("the input device is not a TTY");
        }
        let wish = Wish {
            attached: Attached { stdin, stdout: true, stderr: true },
            tty: config.tty,
            pass_signals: self.sig_proxy,
            detach_keys: self.detach_keys,
            exec: false,
        };
        match session::run(&channel, &wish)? {
            End::Exited { code, .. } => Ok(ExitCode::from(code)),
            End::Detached => Ok(ExitCode::SUCCESS),
        }
    }
}
