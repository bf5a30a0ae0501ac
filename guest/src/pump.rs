//! Moves the bytes of one stream in one direction, as fast as the slower end takes them, without blocking.
//!
//! Between a pipe and a socket the kernel moves them (`splice`), so the agent never sees them; with a terminal at one
//! end, which cannot be spliced to a socket, they go through a small buffer. When the sink is full nothing more is taken
//! from the source: back pressure reaches the writer through the pipe, or the host through vsock's credit.

use rustix::{
    fd::OwnedFd,
    io::{self, Errno},
    net::{self, SendFlags},
    pipe::{SpliceFlags, splice},
};

/// Bytes moved by one call, the usual size of a pipe.
const CHUNK: usize = 64 << 10;

/// Calls in a row before others get their turn.
const TURNS: usize = 16;

/// Bytes of the buffer for a terminal, as much as one gives at once.
const BUFFER: usize = 4 << 10;

/// How a stream is moved.
#[derive(Debug)]
enum Means {
    /// By the kernel; one end is a pipe.
    Splice,
    /// Through a buffer.
    Copy {
        buffer: Vec<u8>,
        /// Where what the sink has not taken yet begins.
        taken: usize,
        /// Whether the sink is a socket, for which `write` would raise `SIGPIPE`.
        to_socket: bool,
    },
}

/// What a pump waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Something to read from its source.
    Source,
    /// Room in its sink.
    Sink,
    /// Nothing: the source is at its end, or the sink is closed.
    Nothing,
}

/// One direction of a stream.
#[derive(Debug)]
pub struct Pump {
    source: OwnedFd,
    sink: OwnedFd,
    means: Means,
    waiting: Waiting,
    moved: bool,
}

impl Pump {
    /// Between a pipe and a socket.
    pub fn splicing(source: OwnedFd, sink: OwnedFd) -> Self {
        Self::new(source, sink, Means::Splice)
    }

    /// From a socket to a terminal.
    pub fn to_terminal(source: OwnedFd, sink: OwnedFd) -> Self {
        Self::new(source, sink, Means::Copy { buffer: Vec::new(), taken: 0, to_socket: false })
    }

    /// From a terminal to a socket.
    pub fn from_terminal(source: OwnedFd, sink: OwnedFd) -> Self {
        Self::new(source, sink, Means::Copy { buffer: Vec::new(), taken: 0, to_socket: true })
    }

    fn new(source: OwnedFd, sink: OwnedFd, means: Means) -> Self {
        Self { source, sink, means, waiting: Waiting::Source, moved: false }
    }

    /// Where the bytes come from.
    pub fn source(&self) -> &OwnedFd {
        &self.source
    }

    /// Where they go.
    pub fn sink(&self) -> &OwnedFd {
        &self.sink
    }

    /// What it waits for.
    pub fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Whether bytes were moved since this was last asked.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Moves what can be moved now, and says what it waits for then.
    pub fn run(&mut self) -> Waiting {
        let mut moved = false;
        self.waiting = (0..TURNS)
            .find_map(|_| match self.turn() {
                Ok(Turn::Wait(waiting)) => Some(waiting),
                Ok(Turn::All) => {
                    moved = true;
                    Some(Waiting::Source)
                }
                Ok(Turn::Some) => {
                    moved = true;
                    None
                }
                Err(Errno::INTR) => None,
                // Which end was not ready is not told. After a move it may be either, and the source is asked first;
                // else it was not the one that was waited for.
                Err(Errno::AGAIN) if moved => Some(Waiting::Source),
                Err(Errno::AGAIN) if self.waiting == Waiting::Source => Some(Waiting::Sink),
                Err(Errno::AGAIN) => Some(Waiting::Source),
                // Among them EPIPE, when nobody reads any more, and EIO, a terminal's end of file.
                Err(_) => Some(Waiting::Nothing),
            })
            .unwrap_or(Waiting::Source);
        self.moved |= moved;
        self.waiting
    }

    fn turn(&mut self) -> io::Result<Turn> {
        match &mut self.means {
            Means::Splice => {
                match splice(&self.source, None, &self.sink, None, CHUNK, SpliceFlags::NONBLOCK)? {
                    0 => Ok(Turn::Wait(Waiting::Nothing)),
                    CHUNK => Ok(Turn::Some),
                    // Less than a full pipe: most likely all there was, and if not, the source is still readable.
                    _ => Ok(Turn::All),
                }
            }
            Means::Copy { buffer, taken, to_socket } => {
                copy(&self.source, &self.sink, buffer, taken, *to_socket)
            }
        }
    }
}

/// What one attempt came to.
enum Turn {
    /// Something was moved, and there may be more.
    Some,
    /// Everything there was has been moved.
    All,
    /// Nothing more for now.
    Wait(Waiting),
}

/// Fills the buffer if it is empty, and empties it as far as the sink allows.
fn copy(
    source: &OwnedFd,
    sink: &OwnedFd,
    buffer: &mut Vec<u8>,
    taken: &mut usize,
    to_socket: bool,
) -> io::Result<Turn> {
    if *taken == buffer.len() {
        buffer.resize(BUFFER, 0);
        *taken = 0;
        let count = io::read(source, &mut *buffer);
        buffer.truncate(*count.as_ref().unwrap_or(&0));
        match count {
            Ok(0) => return Ok(Turn::Wait(Waiting::Nothing)),
            Err(Errno::AGAIN) => return Ok(Turn::Wait(Waiting::Source)),
            other => other?,
        };
    }
    let rest = &buffer[*taken..];
    let count = if to_socket { net::send(sink, rest, SendFlags::NOSIGNAL) } else { io::write(sink, rest) };
    match count {
        Ok(count) => *taken += count,
        Err(Errno::AGAIN) => return Ok(Turn::Wait(Waiting::Sink)),
        Err(error) => return Err(error),
    }
    Ok(Turn::Some)
}

#[cfg(test)]
#[path = "pump_test.rs"]
mod tests;
