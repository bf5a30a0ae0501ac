//! What is done to containers that are there: reached through their keepers, or their folders when they do not run.

use std::{
    thread,
    time::{Duration, Instant},
};

use hull_protocol::Signal;

use super::{
    Error, Result, signal,
    start::{self, Beginning},
    state::{Folder, Lock, State, Status, Store},
};
use crate::{
    vm::control::{ClientMessage, KeeperMessage},
    vmm::channel::{Channel, Received},
};

/// Why a keeper that lives on has closed a connection.
pub(super) fn too_many() -> Error {
    Error::Keeper("has too many commands to listen to; end some, and try again".to_owned())
}

/// How long a keeper may take to open its door, or to close it behind itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(5);

fn keeper_failed(error: std::io::Error) -> Error {
    Error::Keeper(format!("does not answer: {error}"))
}

/// Calls until something comes of it, or patience is over.
fn eventually<T>(mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        if Instant::now() > end {
            return Err(Error::Keeper(format!("did not answer within {} s", PATIENCE.as_secs())));
        }
        thread::sleep(PAUSE);
    }
}

/// Connects to the keeper of a container; `None` when it does not run.
///
/// # Errors
/// When the container is gone, or its keeper does not answer.
pub fn connect(store: &Store, folder: &Folder) -> Result<Option<Channel>> {
    eventually(|| {
        // Looked at each time: a keeper may be about to open its door, or to end.
        let folder = store.find(folder.id.as_str())?;
        if !folder.state()?.status.needs_keeper() {
            return Ok(Some(None));
        }
        Ok(folder.connect().ok().map(|socket| Some(Channel::from(socket))))
    })
}

/// The keeper of a container that runs.
pub(super) fn connect_running(store: &Store, folder: &Folder) -> Result<Channel> {
    connect(store, folder)?.ok_or_else(|| Error::NotRunning(folder.id.clone()))
}

/// Waits until the keeper has ended; gives the exit code, if it told it.
pub(super) fn await_end(channel: &Channel) -> Result<Option<u8>> {
    let mut told = None;
    loop {
        match channel.receive().map_err(keeper_failed)? {
            Received::Message(KeeperMessage::Exited { code, .. } | KeeperMessage::Failed { code, .. }, _) => {
                told = Some(code);
            }
            Received::Message(..) | Received::Nothing => {}
            Received::Closed => return Ok(told),
        }
    }
}

/// The same for whoever has asked for the end: a keeper that closes the connection and lives on has too many.
fn await_over(store: &Store, folder: &Folder, channel: &Channel) -> Result<Option<u8>> {
    let told = await_end(channel)?;
    if told.is_none()
        && let Ok(folder) = store.find(folder.id.as_str())
        && folder.state()?.status.needs_keeper()
    {
        return Err(too_many());
    }
    Ok(told)
}

/// Asks for the end, and waits for it. A keeper whose container has just ended, and is to be started again, may not have heard: it is
/// asked again.
fn end(store: &Store, folder: &Folder, messages: &[ClientMessage]) -> Result<()> {
    eventually(|| {
        let Some(channel) = connect(store, folder)? else { return Ok(Some(())) };
        // A failed send is a keeper that has just ended.
        for message in messages {
            let _ = channel.send(message, None);
        }
        let told = await_end(&channel)?.is_some();
        let over = match store.find(folder.id.as_str()).and_then(|folder| folder.state()) {
            Ok(State { status: Status::Restarting, .. }) => false,
            Ok(state) => told || !state.status.needs_keeper(),
            // It was to be removed at its end.
            Err(_) => true,
        };
        Ok(over.then_some(()))
    })
}

/// Waits until the container has ended and gives its exit code; of one that does not run, at once.
///
/// # Errors
/// When there is no such container.
pub fn wait(store: &Store, name: &str) -> Result<u8> {
    let folder = store.find(name)?;
    let told = match connect(store, &folder)? {
        Some(channel) => await_over(store, &folder, &channel)?,
        None => None,
    };
    match told {
        Some(code) => Ok(code),
        None => Ok(store.find(folder.id.as_str())?.state()?.exit_code),
    }
}

/// Stops the container: its stop signal, then SIGKILL after `timeout` seconds (its own when `None`, never when
/// negative). One that does not run is left as it is.
///
/// # Errors
/// When there is no such container.
pub fn stop(store: &Store, name: &str, signal: Option<Signal>, timeout: Option<i64>) -> Result<()> {
    let folder = store.find(name)?;
    end(store, &folder, &[ClientMessage::Stop { signal, timeout }])
}

/// Sends the container's process a signal. After SIGKILL it has ended.
///
/// # Errors
/// When there is no such container, or it does not run.
pub fn kill(store: &Store, name: &str, signal: Signal) -> Result<()> {
    let folder = store.find(name)?;
    let channel = connect_running(store, &folder).map_err(|error| match error {
        Error::NotRunning(id) => {
            Error::Conflict(format!("cannot kill container: {name}: container {id} is not running"))
        }
        other => other,
    })?;
    let message = ClientMessage::Signal { signal };
    if signal == signal::KILL {
        return end(store, &folder, &[message]);
    }
    channel.send(&message, None).map_err(keeper_failed)
}

/// Has the container's VM stand still, or go on.
///
/// # Errors
/// When there is no such container, it does not run, or it does so already.
pub fn pause(store: &Store, name: &str, pause: bool) -> Result<()> {
    let folder = store.find(name)?;
    let channel = connect_running(store, &folder).map_err(|error| match error {
        Error::NotRunning(id) => Error::Conflict(format!("Container {id} is not running")),
        other => other,
    })?;
    let message = if pause { ClientMessage::Pause } else { ClientMessage::Unpause };
    channel.send(&message, None).map_err(keeper_failed)?;
    loop {
        match channel.receive().map_err(keeper_failed)? {
            Received::Message(KeeperMessage::Paused | KeeperMessage::GoesOn, _) => return Ok(()),
            Received::Message(KeeperMessage::Refused { message }, _) => {
                return Err(Error::Conflict(format!("Container {} {message}", folder.id)));
            }
            Received::Message(..) | Received::Nothing => {}
            Received::Closed => return Err(Error::Conflict(format!("Container {} has ended", folder.id))),
        }
    }
}

/// Removes the container; with `force` also one that runs.
///
/// # Errors
/// When there is no such container, or it runs.
pub fn remove(store: &Store, name: &str, force: bool, volumes: bool) -> Result<()> {
    let folder = store.find(name)?;
    if folder.state()?.status.needs_keeper() {
        if !force {
            let shown = folder.description()?.map_or(folder.id.to_string(), |it| it.name.to_string());
            let state = if folder.state()?.status == Status::Paused { "paused" } else { "running" };
            return Err(Error::Conflict(format!(
                "cannot remove container \"/{shown}\": container is {state}: stop the container before removing or \
                 force remove"
            )));
        }
        end(store, &folder, &[ClientMessage::Discard, ClientMessage::Signal { signal: signal::KILL }])?;
    }
    match lock_idle(store, &folder) {
        Ok(_lock) => match folder.description()? {
            Some(description) => {
                store.remove(&folder, &description)?;
                if volumes { store.remove_volumes(&description) } else { Ok(()) }
            }
            None => Ok(()),
        },
        // `--rm` was quicker.
        Err(Error::NotFound(_)) if force => Ok(()),
        Err(error) => Err(error),
    }
}

/// The lock of a container that does not run: of a keeper that is just ending, when it has ended.
pub(super) fn lock_idle(store: &Store, folder: &Folder) -> Result<Lock> {
    eventually(|| {
        let folder = store.find(folder.id.as_str())?;
        folder.try_lock().map_err(Error::file("cannot lock", folder.path()))
    })
}

/// Waits until the container runs, or gives exit code and reason when it cannot be started.
///
/// # Errors
/// When its keeper was killed.
pub fn await_start(channel: &Channel) -> Result<Result<(), (u8, String)>> {
    loop {
        match channel.receive().map_err(keeper_failed)? {
            Received::Message(KeeperMessage::Started, _) => return Ok(Ok(())),
            Received::Message(KeeperMessage::Failed { code, message }, _) => return Ok(Err((code, message))),
            Received::Message(..) | Received::Nothing => {}
            Received::Closed => return Err(Error::Keeper("was killed; the container is over".to_owned())),
        }
    }
}

/// Starts a container that does not run; gives its keeper's connection, or `None` when it runs already.
///
/// # Errors
/// When there is no such container.
pub fn restart(store: &Store, name: &str, tied: bool, beginning: Beginning<'_>) -> Result<Option<Channel>> {
    let folder = store.find(name)?;
    match folder.state()?.status {
        Status::Paused => {
            return Err(Error::Conflict("cannot start a paused container, try unpause instead".to_owned()));
        }
        status if status.needs_keeper() => return Ok(None),
        _ => {}
    }
    let lock = lock_idle(store, &folder)?;
    let state = folder.state()?;
    let description = folder.description()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    folder.write_state(&State { status: Status::Starting, error: String::new(), ..state })?;
    start::start(&folder, &description, lock, tied, beginning).map(Some)
}
