//! A front end that is connected to the keeper.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_protocol::ProcessId;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::{vm::control::KeeperMessage, vmm::channel::Channel};

/// Names a front end for as long as the keeper lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientId(pub u64);

/// A connected front end.
#[derive(Debug)]
pub struct Client {
    /// Its name.
    pub id: ClientId,
    /// Its connection, non-blocking.
    pub channel: Channel,
    /// The further process that it has to do with, instead of the container's.
    pub exec: Option<ProcessId>,
    terminal: Option<Terminal>,
}

impl Client {
    /// A front end on this non-blocking connection.
    pub fn new(id: ClientId, channel: Channel) -> Self {
        Self { id, channel, exec: None, terminal: None }
    }

    /// Tells the front end. One that is gone, or reads nothing, is found out by its connection.
    pub fn tell(&self, message: &KeeperMessage) {
        let _ = self.channel.send(message, None);
    }

    /// Remembers the state of the front end's terminal.
    pub fn keep_terminal(&mut self, terminal: OwnedFd) {
        self.terminal = tcgetattr(&terminal).ok().map(|saved| Terminal { descriptor: terminal, saved });
    }

    /// The front end says that it puts its terminal back itself.
    pub fn release_terminal(&mut self) {
        self.terminal = None;
    }

    /// The front end died: puts its terminal back.
    pub fn restore_terminal(&mut self) {
        if let Some(terminal) = self.terminal.take() {
            terminal.restore();
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// A front end's terminal, before the front end changed it.
#[derive(Debug)]
struct Terminal {
    descriptor: OwnedFd,
    saved: Termios,
}

impl Terminal {
    fn restore(self) {
        let Ok(now) = tcgetattr(&self.descriptor) else { return };
        let mut raw = self.saved.clone();
        raw.make_raw();
        // Somebody else may have set it since, such as the shell that the front end was started from.
        if now.local_modes == raw.local_modes && now.input_modes == raw.input_modes {
            let _ = tcsetattr(&self.descriptor, OptionalActions::Now, &self.saved);
        }
    }
}
