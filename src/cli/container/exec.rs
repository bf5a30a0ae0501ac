//! `hull exec`.

use std::process::ExitCode;

use clap::Args;

use super::{
    detach::DetachKeys,
    environment::Environment,
    options::Attached,
    session::{self, End, Wish},
};
use crate::{
    cli::terminal,
    container::{
        Result,
        exec::{self, Command},
        state::Store,
    },
};

/// Run a command in a container that runs
#[derive(Debug, Args)]
pub struct Exec {
    /// Leave the command in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave the command in the background
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    #[command(flatten)]
    environment: Environment,
    /// Pass this input on to the command
    #[arg(short, long)]
    interactive: bool,
    /// Give the command every capability
    #[arg(long)]
    privileged: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// User name or id, and group name or id; the container's when absent
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory; the container's when absent
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<String>,
    /// The container
    container: String,
    /// The command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    /// Runs the verb; its exit code is the command's.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if !self.detach && self.tty && self.interactive && !terminal::is_input() {
            anyhow::bail!("the input device is not a TTY");
        }
        Ok(self.execute()?)
    }

    fn execute(self) -> Result<ExitCode> {
        let command = Command {
            args: self.command,
            env: self.environment.variables()?,
            user: self.user,
            working_dir: self.workdir,
            terminal: self.tty.then(|| terminal::size().unwrap_or(exec::TERMINAL)),
            privileged: self.privileged,
            stdin: self.interactive && !self.detach,
            detached: self.detach,
        };
        let (attached, tty) =
            (Attached { stdin: command.stdin, stdout: true, stderr: true }, command.terminal.is_some());
        let channel = exec::prepare(&Store::open()?, &self.container, command)?;
        if self.detach {
            return Ok(match exec::begin(&channel)? {
                Ok(()) => ExitCode::SUCCESS,
                Err((code, message)) => {
                    eprintln!("hull: {message}");
                    ExitCode::from(code)
                }
            });
        }
        let wish = Wish { attached, tty, pass_signals: false, detach_keys: self.detach_keys, exec: true };
        match session::run(&channel, &wish)? {
            End::Exited { code, .. } => Ok(ExitCode::from(code)),
            End::Detached => Ok(ExitCode::SUCCESS),
        }
    }
}
