//! Moves the bytes of one stream in one direction, as fast as the slower end takes them, without blocking.
//!
//! Between a pipe and a socket the kernel moves them (`splice`), so the agent never sees them; with a terminal at one
//! end, which cannot be spliced to a socket, they go through a small buffer. When the sink is full nothing more is taken
//! from the source: back pressure reaches the writer through the pipe, or the host through vsock's credit.

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    io::{self, Errno},
    net::{self, SendFlags},
    pipe::{SpliceFlags, splice},
    time::Timespec,
};

/// Bytes moved by one call, the usual size of a pipe.
const CHUNK: usize = 64 << 10;

/// Calls in a row before others get their turn.
const TURNS: usize = 16;

/// Bytes of the buffer for a terminal, as much as one gives at once.
const BUFFER: usize = 4 << 10;

/// How long the end of a stream may take that the host has promised.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// How a stream is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// By the kernel; one end is a pipe.
    Splice,
    /// Through a buffer; one end is a terminal.
    Copy,
}

/// Bytes that were taken from the source and are not in the sink yet.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// Where what the sink has not taken yet begins.
    taken: usize,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }
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
    /// Whether the sink is a socket, for which `write` would raise `SIGPIPE`.
    to_socket: bool,
    held: Held,
    waiting: Waiting,
    moved: bool,
}

/// A stream without its connection to the host, until it has another.
#[derive(Debug)]
pub struct Severed {
    /// The container's side.
    end: OwnedFd,
    means: Means,
    /// The host writes to it.
    to_container: bool,
    held: Held,
}

impl Pump {
    /// From a socket to a pipe.
    pub fn to_pipe(source: OwnedFd, sink: OwnedFd) -> Self {
        Self::new(source, sink, Means::Splice, false)
    }

    /// From a pipe to a socket.
    pub fn from_pipe(source: OwnedFd, sink: OwnedFd) -> Self {
        Self::new(source, sink, Means::Splice, true)
    }

    /// From a socket to a terminal.
    pub fn to_terminal(source: OwnedFd, sink: OwnedFd) -> Self {
        Self::new(source, sink, Means::Copy, false)
    }

    /// From a terminal to a socket.
    pub fn from_terminal(source: OwnedFd, sink: OwnedFd) -> Self {
        Self::new(source, sink, Means::Copy, true)
    }

    fn new(source: OwnedFd, sink: OwnedFd, means: Means, to_socket: bool) -> Self {
        let held = Held::default();
        Self { source, sink, means, to_socket, held, waiting: Waiting::Source, moved: false }
    }

    /// Takes everything from the source to its end, which has to come soon: what the sink does not get now is held.
    ///
    /// # Errors
    /// When the end does not come, or the connection broke.
    pub fn take_all(&mut self) -> io::Result<()> {
        self.held.bytes.drain(..std::mem::take(&mut self.held.taken));
        loop {
            let length = self.held.bytes.len();
            self.held.bytes.resize(length + BUFFER, 0);
            let count = io::read(&self.source, &mut self.held.bytes[length..]);
            self.held.bytes.truncate(length + *count.as_ref().unwrap_or(&0));
            match count {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut source = [PollFd::new(&self.source, PollFlags::IN)];
                    if poll(&mut source, Some(&PATIENCE)) == Ok(0) {
                        return Err(Errno::TIMEDOUT);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the connection to the host. What the host sent is lost unless [all was taken](Self::take_all); nothing of the
    /// container's is.
    pub fn sever(self) -> Severed {
        let Self { source, sink, means, to_socket, held, .. } = self;
        let end = if to_socket { source } else { sink };
        Severed { end, means, to_container: !to_socket, held }
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
        if self.means == Means::Splice && self.held.is_empty() {
            return match splice(&self.source, None, &self.sink, None, CHUNK, SpliceFlags::NONBLOCK)? {
                0 => Ok(Turn::Wait(Waiting::Nothing)),
                CHUNK => Ok(Turn::Some),
                // Less than a full pipe: most likely all there was, and if not, the source is still readable.
                _ => Ok(Turn::All),
            };
        }
        self.copy()
    }

    /// Fills the buffer if it is empty, and empties it as far as the sink allows.
    fn copy(&mut self) -> io::Result<Turn> {
        let Held { bytes, taken } = &mut self.held;
        if *taken == bytes.len() {
            bytes.resize(BUFFER, 0);
            *taken = 0;
            let count = io::read(&self.source, &mut *bytes);
            bytes.truncate(*count.as_ref().unwrap_or(&0));
            match count {
                Ok(0) => return Ok(Turn::Wait(Waiting::Nothing)),
                Err(Errno::AGAIN) => return Ok(Turn::Wait(Waiting::Source)),
                other => other?,
            };
        }
        let rest = &bytes[*taken..];
        let count = match self.to_socket {
            true => net::send(&self.sink, rest, SendFlags::NOSIGNAL),
            false => io::write(&self.sink, rest),
        };
        match count {
            Ok(count) => *taken += count,
            Err(Errno::AGAIN) => return Ok(Turn::Wait(Waiting::Sink)),
            Err(error) => return Err(error),
        }
        Ok(Turn::Some)
    }
}

impl Severed {
    /// The container's side with another connection to the host. What is held comes first.
    ///
    /// # Errors
    /// As `ioctl(2)`.
    pub fn mend(self, socket: OwnedFd) -> io::Result<Pump> {
        let Self { end, means, to_container, held } = self;
        let waiting = if held.is_empty() { Waiting::Source } else { Waiting::Sink };
        if to_container && waiting == Waiting::Sink {
            // What is held is written, not spliced: that must not block. Nobody else has this end of the pipe open.
            io::ioctl_fionbio(&end, true)?;
        }
        let (source, sink) = if to_container { (socket, end) } else { (end, socket) };
        let mut pump = Pump::new(source, sink, means, !to_container);
        pump.held = held;
        pump.waiting = waiting;
        Ok(pump)
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

#[cfg(test)]
#[path = "pump_test.rs"]
mod tests;
