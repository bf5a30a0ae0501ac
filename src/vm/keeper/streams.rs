//! The streams of a process: from the guest to the log and the attached front ends, and from them to the guest.
//!
//! Nothing here blocks and nothing grows: a stream is read only when everyone took what was read before, so a front
//! end that stops reading stops the writer in the container and nobody else.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::ClientId;
use crate::vm::{
    backlog::{Backlog, read},
    control::Stream,
    log,
};

/// Bytes read at a time.
pub const CHUNK: usize = 64 << 10;

/// The streams of a process.
#[derive(Debug)]
pub struct Streams {
    /// Its input.
    pub input: Input,
    /// Standard output, and standard error unless it has a terminal; none of a process that is left to itself.
    pub outputs: Vec<Output>,
}

impl Streams {
    /// Those that the guest will connect.
    pub fn new(input: Input, outputs: &[Stream]) -> Self {
        Self { input, outputs: outputs.iter().copied().map(Output::new).collect() }
    }

    /// They are for their front end alone: the process is told by a broken pipe when that reads no more.
    pub fn for_readers(mut self) -> Self {
        self.outputs.iter_mut().for_each(|output| output.for_readers = true);
        self
    }

    /// The guest connected one of them. What nobody waits for is closed.
    pub fn connect(&mut self, stream: Stream, connection: OwnedFd) {
        match stream {
            Stream::Stdin => self.input.connect(connection),
            _ => {
                if let Some(output) = self.output(stream) {
                    output.connect(connection);
                }
            }
        }
    }

    /// Connects a front end's pipe with one of them.
    pub fn attach(&mut self, stream: Stream, client: ClientId, pipe: OwnedFd) {
        match stream {
            Stream::Stdin => self.input.attach(client, pipe),
            _ => {
                if let Some(output) = self.output(stream) {
                    output.attach(client, pipe);
                }
            }
        }
    }

    fn output(&mut self, stream: Stream) -> Option<&mut Output> {
        self.outputs.iter_mut().find(|output| output.stream == stream)
    }

    /// Whether there is such an output.
    pub fn has(&self, stream: Stream) -> bool {
        self.outputs.iter().any(|output| output.stream == stream)
    }

    /// The front end left.
    pub fn detach(&mut self, client: ClientId) {
        self.outputs.iter_mut().for_each(|output| output.detach(client));
    }

    /// The process has ended: nobody reads its input, and what is not connected by now never will be.
    pub fn end(&mut self) {
        self.input.close();
        self.outputs.iter_mut().for_each(Output::expect_no_connection);
    }

    /// Whether a front end has yet to take something.
    pub fn are_blocked(&self) -> bool {
        self.outputs.iter().any(Output::is_blocked)
    }

    /// Whether all output there was is delivered.
    pub fn are_done(&self) -> bool {
        self.outputs.iter().all(Output::is_done)
    }

    /// Gives up front ends that have yet to take something.
    pub fn drop_blocked(&mut self) {
        self.outputs.iter_mut().for_each(Output::drop_blocked);
    }
}

/// A pipe to a front end.
#[derive(Debug)]
struct Sink {
    client: ClientId,
    pipe: OwnedFd,
    backlog: Backlog,
}

/// Standard output or standard error of the process.
#[derive(Debug)]
pub struct Output {
    stream: Stream,
    connection: Connection,
    /// The end of the latest connection is not the end of the stream: the guest goes to rest.
    resting: bool,
    /// The connections to read when this one has ended, one for each rest that the guest is back from since.
    next: VecDeque<OwnedFd>,
    sinks: Vec<Sink>,
    /// It is over when the last of them is gone.
    for_readers: bool,
}

/// The guest's end of a stream.
#[derive(Debug)]
enum Connection {
    /// Not made yet.
    Awaited,
    /// Open.
    Open(OwnedFd),
    /// Over, or never wanted.
    Closed,
}

impl Output {
    /// A stream that the guest will connect.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            connection: Connection::Awaited,
            resting: false,
            next: VecDeque::new(),
            sinks: Vec::new(),
            for_readers: false,
        }
    }

    /// The guest connected the stream. Another connection is refused, unless the guest was to close the one before.
    pub fn connect(&mut self, connection: OwnedFd) {
        match self.connection {
            Connection::Awaited => self.connection = Connection::Open(connection),
            Connection::Open(_) if self.resting => self.next.push_back(connection),
            _ => {}
        }
        self.resting = false;
    }

    /// The guest goes to rest: it will close the connection, and make another when it is back.
    pub fn rest(&mut self) {
        self.resting = matches!(self.connection, Connection::Open(_));
    }

    /// Shows the stream to a front end from now on.
    pub fn attach(&mut self, client: ClientId, pipe: OwnedFd) {
        if !matches!(self.connection, Connection::Closed) {
            self.sinks.push(Sink { client, pipe, backlog: Backlog::default() });
        }
    }

    /// The front end left.
    pub fn detach(&mut self, client: ClientId) {
        self.sinks.retain(|sink| sink.client != client);
    }

    /// The descriptor to read from, when everyone took what was read before.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        match &self.connection {
            Connection::Open(connection) if !self.is_blocked() => Some(connection.as_fd()),
            _ => None,
        }
    }

    /// Whether a front end has yet to take something.
    pub fn is_blocked(&self) -> bool {
        self.sinks.iter().any(|sink| !sink.backlog.is_empty())
    }

    /// Whether everything there was is delivered.
    pub fn is_done(&self) -> bool {
        matches!(self.connection, Connection::Closed) && !self.is_blocked()
    }

    /// The pipes of front ends, each with whether it has yet to take something.
    pub fn sinks(&self) -> impl Iterator<Item = (ClientId, BorrowedFd<'_>, bool)> {
        self.sinks.iter().map(|sink| (sink.client, sink.pipe.as_fd(), !sink.backlog.is_empty()))
    }

    /// Reads once and passes it on, also to the log if there is one. A failing log is reported and costs nobody their output.
    pub fn pump(&mut self, buffer: &mut [u8], log: Option<&mut log::Writer>) -> io::Result<()> {
        let Connection::Open(connection) = &self.connection else { return Ok(()) };
        let Some(count) = read(connection.as_fd(), buffer) else { return Ok(()) };
        if count == 0 {
            match self.next.pop_front() {
                Some(next) => self.connection = Connection::Open(next),
                None if std::mem::take(&mut self.resting) => self.connection = Connection::Awaited,
                None => self.close(),
            }
            return Ok(());
        }
        let bytes = &buffer[..count];
        self.sinks.retain_mut(|sink| sink.backlog.send(sink.pipe.as_fd(), bytes).is_ok());
        self.settle();
        log.map_or(Ok(()), |log| log.write(self.stream, bytes))
    }

    /// A front end's pipe has room, or nobody reads it any more.
    pub fn flush(&mut self, client: ClientId, gone: bool) {
        self.sinks.retain_mut(|sink| {
            sink.client != client || (!gone && sink.backlog.flush(sink.pipe.as_fd()).is_ok())
        });
        self.settle();
    }

    /// Lets go of what is over after readers have gone, or taken everything.
    fn settle(&mut self) {
        match self.connection {
            Connection::Closed => self.close(),
            // One that is not made yet is awaited all the same: the process is to begin as any other.
            Connection::Open(_) if self.for_readers && self.sinks.is_empty() => self.close(),
            _ => {}
        }
    }

    /// No more comes from the guest: front ends see the end when they took everything.
    pub fn close(&mut self) {
        self.connection = Connection::Closed;
        self.sinks.retain(|sink| !sink.backlog.is_empty());
    }

    /// The process has ended, or the guest is back: what is not connected by now never will be.
    pub fn expect_no_connection(&mut self) {
        self.resting = false;
        if matches!(self.connection, Connection::Awaited) {
            self.close();
        }
    }

    /// Gives up front ends that have yet to take something.
    pub fn drop_blocked(&mut self) {
        self.sinks.retain(|sink| sink.backlog.is_empty());
    }
}

/// Standard input of the process.
#[derive(Debug)]
pub struct Input {
    connection: Connection,
    sources: Vec<(ClientId, OwnedFd)>,
    backlog: Backlog,
    /// Ends with the first front end's input, as for a container started in the foreground.
    once: bool,
    /// No more will come.
    ended: bool,
    /// The guest goes to rest: nothing more is sent on this connection.
    resting: bool,
    /// The connection before the rest, until the guest has closed it too.
    _last: Option<OwnedFd>,
}

impl Input {
    /// `None` is a process without input. With `once` the end of the first front end's input is the end.
    pub fn new(wanted: bool, once: bool) -> Self {
        let connection = if wanted { Connection::Awaited } else { Connection::Closed };
        let (sources, backlog) = (Vec::new(), Backlog::default());
        Self { connection, sources, backlog, once, ended: false, resting: false, _last: None }
    }

    /// The guest connected the stream. A second connection is refused.
    pub fn connect(&mut self, connection: OwnedFd) {
        if matches!(self.connection, Connection::Awaited) {
            self.connection = Connection::Open(connection);
            (self.resting, self._last) = (false, None);
            self.finish();
        }
    }

    /// The guest goes to rest: what it is about to be sent is, then the connection ends. It makes another when it is back.
    pub fn rest(&mut self) {
        self.resting = true;
        self.finish();
    }

    /// The guest is back: what is not connected by now never will be.
    pub fn expect_no_connection(&mut self) {
        if matches!(self.connection, Connection::Awaited) {
            self.close();
        }
    }

    /// Takes input from a front end's pipe; closed at once when the process has no input.
    pub fn attach(&mut self, client: ClientId, pipe: OwnedFd) {
        if !matches!(self.connection, Connection::Closed) && !self.ended {
            self.sources.push((client, pipe));
        }
    }

    /// The front end left on purpose: its input is not ended, there is only no more of it.
    pub fn detach(&mut self, client: ClientId) {
        self.sources.retain(|(owner, _)| *owner != client);
    }

    /// The pipes to read from, when the guest took what was read before.
    pub fn readable(&self) -> impl Iterator<Item = (ClientId, BorrowedFd<'_>)> {
        let open = matches!(self.connection, Connection::Open(_)) && !self.resting;
        let ready = open && self.backlog.is_empty();
        self.sources.iter().filter(move |_| ready).map(|(client, pipe)| (*client, pipe.as_fd()))
    }

    /// The guest's end, and whether it has yet to take something.
    pub fn guest(&self) -> Option<(BorrowedFd<'_>, bool)> {
        match &self.connection {
            Connection::Open(connection) => Some((connection.as_fd(), !self.backlog.is_empty())),
            _ => None,
        }
    }

    /// Reads once from a front end and passes it on.
    pub fn pump(&mut self, client: ClientId, buffer: &mut [u8]) {
        let Connection::Open(connection) = &self.connection else { return };
        if !self.backlog.is_empty() {
            // Another source was quicker.
            return;
        }
        let Some(at) = self.sources.iter().position(|(owner, _)| *owner == client) else { return };
        match read(self.sources[at].1.as_fd(), buffer) {
            None => {}
            Some(0) => {
                self.sources.remove(at);
                if self.once {
                    self.ended = true;
                    self.sources.clear();
                    self.finish();
                }
            }
            Some(count) if self.backlog.send(connection.as_fd(), &buffer[..count]).is_ok() => {}
            Some(_) => self.close(),
        }
    }

    /// The guest has room.
    pub fn flush(&mut self) {
        let Connection::Open(connection) = &self.connection else { return };
        if self.backlog.flush(connection.as_fd()).is_err() {
            self.close();
        }
        self.finish();
    }

    /// Nobody in the guest reads any more.
    pub fn close(&mut self) {
        *self = Self::new(false, self.once);
    }

    /// Passes the end of the input on, once everything before it is written.
    fn finish(&mut self) {
        if let Connection::Open(connection) = &self.connection
            && (self.ended || self.resting)
            && self.backlog.is_empty()
        {
            // Half of it only: the guest's half ends when the process closes its input, or at once when the guest rests.
            let _ = rustix::net::shutdown(connection, rustix::net::Shutdown::Write);
            if self.resting
                && let Connection::Open(last) = std::mem::replace(&mut self.connection, Connection::Awaited)
            {
                self._last = Some(last);
            }
        }
    }
}
