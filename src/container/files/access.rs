//! The way to a container's files: the guest's tool, started by its keeper, or by one that holds the container for this.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};

use hull_protocol::Tool;
use rustix::pipe::{PipeFlags, pipe_with};

use super::tool;
use crate::{
    container::{
        Description,
        action::{await_start, connect, lock_idle},
        error::{Error, Result},
        exec::hand_over,
        signal,
        state::{Folder, Status, Store},
    },
    vm::{
        control::{ClientMessage, ExecNews, KeeperMessage, Stream},
        detached,
    },
    vmm::channel::{Channel, Received},
};

/// Most bytes of what the tool complains.
const MOST_COMPLAINT: u64 = 16 << 10;

/// A container whose files can be reached.
pub struct Access {
    /// What it is.
    pub description: Description,
    /// It was running anyway.
    pub runs: bool,
    folder: Folder,
    store: Store,
    /// The keeper that holds it for this.
    hold: Option<Channel>,
}

/// The tool at work.
pub struct Running {
    /// What it reads.
    pub input: Option<File>,
    /// What it writes.
    pub output: File,
    channel: Channel,
    complaint: JoinHandle<String>,
}

fn lost(error: impl std::fmt::Display) -> Error {
    Error::Keeper(format!("does not answer: {error}"))
}

impl Access {
    /// Reaches a container, whether it runs or not.
    ///
    /// # Errors
    /// When there is none, it is paused, or no VM can be started for it.
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        let folder = store.find(name)?;
        let description = folder.description()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
        let status = folder.state()?.status;
        if status == Status::Paused {
            return Err(Error::Conflict(format!(
                "Container {} is paused, and its VM stands still: unpause it first",
                folder.id
            )));
        }
        let runs = status.needs_keeper();
        let hold = if runs { None } else { Some(hold(store, &folder)?) };
        Ok(Self { description, runs, folder, store: store.clone(), hold })
    }

    /// Reaches a container that runs.
    ///
    /// # Errors
    /// When it does not.
    pub fn of_running(store: &Store, name: &str) -> Result<Self> {
        let folder = store.find(name)?;
        if !folder.state()?.status.needs_keeper() {
            return Err(Error::NotRunning(folder.id));
        }
        Self::open(store, name)
    }

    /// Lets go of the container. What was written is on its disk then.
    ///
    /// # Errors
    /// When it is not.
    pub fn close(mut self) -> Result<()> {
        self.release()
    }

    /// Ends the keeper that holds the container, which is free when this is done.
    fn release(&mut self) -> Result<()> {
        let Some(channel) = self.hold.take() else { return Ok(()) };
        channel.send(&ClientMessage::Signal { signal: signal::KILL }, None).map_err(lost)?;
        let mut told = Some("was killed".to_owned());
        loop {
            match channel.receive().map_err(lost)? {
                Received::Message(KeeperMessage::Gone { error, .. }, _) => {
                    told = error.map(|error| format!("says: {error}"));
                }
                Received::Message(..) | Received::Nothing => {}
                Received::Closed => return told.map_or(Ok(()), |error| Err(Error::Keeper(error))),
            }
        }
    }

    /// Starts the tool.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub(super) fn start(&self, place: Tool, arguments: &[&str], input: bool) -> Result<Running> {
        let channel = match &self.hold {
            Some(_) => Channel::from(self.folder.connect().map_err(lost)?),
            None => connect(&self.store, &self.folder)?
                .ok_or_else(|| Error::NotRunning(self.folder.id.clone()))?,
        };
        hand_over(&channel, &tool(place, arguments), input, false)?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(lost);
        let attach = |stream, end: &dyn AsFd| {
            channel.send(&ClientMessage::Attach { stream }, Some(end.as_fd())).map_err(lost)
        };
        let mut near = None;
        if input {
            let (read, write) = pipe()?;
            attach(Stream::Stdin, &read)?;
            near = Some(File::from(write));
        }
        let (output, far) = pipe()?;
        attach(Stream::Stdout, &far)?;
        let (errors, far_errors) = pipe()?;
        attach(Stream::Stderr, &far_errors)?;
        drop((far, far_errors));
        channel.send(&ClientMessage::Begin, None).map_err(lost)?;
        let complaint = thread::spawn(move || {
            let mut text = Vec::new();
            let mut errors = File::from(errors);
            let _ = (&mut errors).take(MOST_COMPLAINT).read_to_end(&mut text);
            let _ = std::io::copy(&mut errors, &mut std::io::sink());
            String::from_utf8_lossy(&text).trim().replace(|it: char| it.is_control() && it != '\n', "?")
        });
        Ok(Running { input: near, output: File::from(output), channel, complaint })
    }
}

impl Running {
    /// Waits until it has ended.
    ///
    /// # Errors
    /// What it complained of.
    pub fn finish(self) -> Result<()> {
        let Self { input, output, channel, complaint } = self;
        drop((input, output));
        let code = loop {
            match channel.receive().map_err(lost)? {
                Received::Message(KeeperMessage::Exec { news }, _) => match news {
                    ExecNews::Started => {}
                    ExecNews::Exited { code } => break code,
                    ExecNews::Refused { message } | ExecNews::Failed { message, .. } => {
                        return Err(Error::Invalid(message));
                    }
                },
                Received::Message(..) | Received::Nothing => {}
                Received::Closed => return Err(Error::Keeper("was killed".to_owned())),
            }
        };
        let complaint = complaint.join().unwrap_or_default();
        match code {
            0 => Ok(()),
            _ if complaint.is_empty() => {
                Err(Error::Keeper(format!("says that the guest's tool ended with code {code}")))
            }
            _ => Err(Error::Invalid(complaint)),
        }
    }
}

/// Starts a VM in which a container that does not run is as it was left.
fn hold(store: &Store, folder: &Folder) -> Result<Channel> {
    let lock = lock_idle(store, folder)?;
    let options = ["--tied", "--template", "--hold"];
    let channel = detached::spawn("keeper", folder.id.as_str(), lock, &options)
        .map_err(|error| Error::Keeper(format!("cannot be started: {error}")))?;
    match await_start(&channel)? {
        Ok(()) => Ok(channel),
        Err((_, message)) => Err(Error::Invalid(message)),
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let _ = self.release();
    }
}
