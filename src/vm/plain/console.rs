//! A guest's console between its VMM and the commands that are connected to it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::PollFlags;

use crate::vm::{
    backlog::{Backlog, read},
    keeper::ClientId,
};

/// How much of the last output a new connection is shown, in bytes.
const SHOWN: usize = 16 << 10;

/// The guest's console.
pub struct Console {
    /// The guest's input, until it takes none.
    input: Option<OwnedFd>,
    /// What was typed and not taken.
    typed: Backlog,
    terminals: Vec<Terminal>,
    last: Vec<u8>,
}

/// A connected command.
struct Terminal {
    owner: ClientId,
    socket: OwnedFd,
    backlog: Backlog,
    /// The guest waits for it. Others lose what they do not take.
    awaited: bool,
    /// It may still type.
    types: bool,
}

impl Console {
    /// A console whose input goes into this pipe.
    pub fn new(input: Option<OwnedFd>) -> Self {
        Self { input, typed: Backlog::default(), terminals: Vec::new(), last: Vec::new() }
    }

    /// Connects a command, which is shown the last of what was said. With `awaited` it loses nothing: the guest waits for it.
    ///
    /// # Errors
    /// When the descriptor is no socket.
    pub fn connect(&mut self, owner: ClientId, socket: OwnedFd, awaited: bool) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let mut terminal =
            Terminal { owner, socket, backlog: Backlog::default(), awaited, types: self.input.is_some() };
        if terminal.show(self.last()) {
            self.terminals.push(terminal);
        }
        Ok(())
    }

    /// A command has left.
    pub fn disconnect(&mut self, owner: ClientId) {
        self.terminals.retain(|terminal| terminal.owner != owner);
    }

    /// The last of what was said.
    pub fn last(&self) -> &[u8] {
        &self.last[self.last.len().saturating_sub(SHOWN)..]
    }

    /// Whether somebody has yet to take what the guest said before.
    pub fn is_blocked(&self) -> bool {
        self.terminals.iter().any(|terminal| terminal.awaited && !terminal.backlog.is_empty())
    }

    /// Whether everybody took everything.
    pub fn is_done(&self) -> bool {
        self.terminals.iter().all(|terminal| terminal.backlog.is_empty())
    }

    /// The guest said something.
    pub fn show(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(&bytes[bytes.len().saturating_sub(SHOWN)..]);
        if self.last.len() > 2 * SHOWN {
            self.last.drain(..self.last.len() - SHOWN);
        }
        self.terminals.retain_mut(|terminal| terminal.show(bytes));
    }

    /// The guest's input, while it has yet to take something.
    pub fn waiting_input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().filter(|_| !self.typed.is_empty()).map(OwnedFd::as_fd)
    }

    /// The guest has room.
    pub fn flush_input(&mut self) {
        if let Some(input) = &self.input
            && self.typed.flush(input.as_fd()).is_err()
        {
            self.input = None;
        }
    }

    /// The commands' sockets, whether they are to be read, and whether they have yet to take something.
    pub fn sockets(&self) -> impl Iterator<Item = (ClientId, BorrowedFd<'_>, bool, bool)> {
        let reading = self.input.is_some() && self.typed.is_empty();
        self.terminals.iter().map(move |terminal| {
            (terminal.owner, terminal.socket.as_fd(), terminal.types && reading, !terminal.backlog.is_empty())
        })
    }

    /// A command's socket has something, or room, or ended.
    pub fn serve(&mut self, owner: ClientId, flags: PollFlags, buffer: &mut [u8]) {
        let Some(at) = self.terminals.iter().position(|terminal| terminal.owner == owner) else { return };
        let terminal = &mut self.terminals[at];
        let socket = terminal.socket.as_fd();
        let mut open = terminal.backlog.flush(socket).is_ok();
        if let Some(input) = &self.input
            && flags.contains(PollFlags::IN)
            && self.typed.is_empty()
        {
            match read(socket, buffer) {
                None => {}
                // The end of what is typed is not the end of what is looked at.
                Some(0) => terminal.types = false,
                Some(count) if self.typed.send(input.as_fd(), &buffer[..count]).is_ok() => {}
                Some(_) => self.input = None,
            }
        } else if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
            open = false;
        }
        if !open {
            self.terminals.remove(at);
        }
    }
}

impl Terminal {
    /// Passes bytes on; `false` when nobody is there any more.
    fn show(&mut self, bytes: &[u8]) -> bool {
        if !self.backlog.is_empty() {
            return true;
        }
        self.backlog.send(self.socket.as_fd(), bytes).is_ok()
    }
}

#[cfg(test)]
#[path = "console_test.rs"]
mod tests;
