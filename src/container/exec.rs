//! Further processes in a container that runs.

use std::{fs::File, io::Write, os::fd::AsFd};

use hull_protocol::{MAX_FRAME, Process, WindowSize};
use rustix::fs::MemfdFlags;

use super::{Description, Error, Result, action, capability::Capabilities, process, state::Store};
use crate::{
    vm::control::{ClientMessage, ExecNews, KeeperMessage},
    vmm::channel::{Channel, Received},
};

/// Size of a terminal that nobody sees.
pub const TERMINAL: WindowSize = WindowSize { columns: 80, rows: 24 };

/// What to run. What it does not say is as for the container's first process.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// Command and arguments.
    pub args: Vec<String>,
    /// Variables beside those of the container.
    pub env: Vec<String>,
    /// As whom.
    pub user: Option<String>,
    /// Where.
    pub working_dir: Option<String>,
    /// The size of its terminal.
    pub terminal: Option<WindowSize>,
    /// With every capability.
    pub privileged: bool,
    /// It has an input.
    pub stdin: bool,
    /// Nobody sees its output.
    pub detached: bool,
}

/// Has a container's keeper prepare a command. Gives the connection on which its streams are attached, and it is begun.
///
/// # Errors
/// When the container does not run.
pub fn prepare(store: &Store, container: &str, command: Command) -> Result<Channel> {
    let folder = store.find(container)?;
    let description = folder.description()?.ok_or_else(|| Error::NotFound(container.to_owned()))?;
    let channel = action::connect_running(store, &folder)?;
    let (stdin, detached) = (command.stdin, command.detached);
    hand_over(&channel, &further(&description, command)?, stdin, detached)?;
    Ok(channel)
}

/// Has a container's keeper prepare a process.
pub(super) fn hand_over(channel: &Channel, process: &Process, stdin: bool, detached: bool) -> Result<()> {
    let failed = |error: std::io::Error| Error::Keeper(format!("does not answer: {error}"));
    let mut file = File::from(
        rustix::fs::memfd_create("hull-exec", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?,
    );
    let text = serde_json::to_vec(process).map_err(|error| failed(error.into()))?;
    // What is said around it needs some room in a frame, too.
    let most = MAX_FRAME as usize - 1024;
    if text.len() > most {
        return Err(Error::Invalid(format!(
            "the arguments and the environment take {} bytes, {most} are possible",
            text.len()
        )));
    }
    file.write_all(&text).map_err(failed)?;
    channel.send(&ClientMessage::Exec { stdin, detached }, Some(file.as_fd())).map_err(failed)
}

/// Begins what was prepared, and waits until it runs; or gives exit code and reason when it cannot be started.
///
/// # Errors
/// When the keeper was killed.
pub fn begin(channel: &Channel) -> Result<std::result::Result<(), (u8, String)>> {
    let gone = || Error::Keeper("was killed; the container is over".to_owned());
    channel.send(&ClientMessage::Begin, None).map_err(|_| gone())?;
    loop {
        match channel.receive().map_err(|_| gone())? {
            Received::Message(KeeperMessage::Exec { news: ExecNews::Failed { code, message } }, _) => {
                return Ok(Err((code, message)));
            }
            Received::Message(KeeperMessage::Exec { news: ExecNews::Refused { message } }, _) => {
                return Ok(Err((1, message)));
            }
            Received::Message(KeeperMessage::Exec { .. }, _) => return Ok(Ok(())),
            Received::Message(..) | Received::Nothing => {}
            Received::Closed => return Err(gone()),
        }
    }
}

/// The process, as the agent is told of it.
fn further(description: &Description, command: Command) -> Result<Process> {
    let first = process::process(description)?;
    if command.args.first().is_none_or(String::is_empty) {
        return Err(Error::NoCommand);
    }
    if let Some(directory) = command.working_dir.as_ref().filter(|directory| !directory.starts_with('/')) {
        return Err(Error::Invalid(format!("Cwd must be an absolute path: {directory}")));
    }
    let all = if command.privileged { Capabilities::ALL.0 } else { first.capabilities };
    let terminal = command.terminal.is_some();
    Ok(Process {
        args: command.args,
        env: process::environment(
            &description.config,
            terminal,
            &process::of_host(&description.host_config),
            &command.env,
        ),
        cwd: command.working_dir.unwrap_or(first.cwd),
        user: command.user.unwrap_or(first.user),
        terminal: command.terminal,
        capabilities: all,
        init: false,
        ..first
    })
}

#[cfg(test)]
#[path = "exec_test.rs"]
mod tests;
