//! One connection: a flow with the guest, a socket with the host, and the bytes that go between them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{SendFlags, Shutdown, sockopt},
};

use super::{
    HEADER, TCP,
    flow::{Flow, Heard, Out},
};
use crate::network::{
    MTU,
    link::Link,
    quota::Usage,
    server::Ends,
    slab::{Key, Slab},
    wire::{Flags, Headers, Mac, Segment},
};

/// What a segment of the guest's may carry, by either version of IP.
const MOST: u16 = MTU - 40 - HEADER as u16;

/// A connection.
pub struct Connection {
    /// Whose it is.
    pub member: Key,
    /// Between whom it is, as the guest sees it.
    pub ends: Ends,
    /// The host's side.
    pub socket: OwnedFd,
    /// The guest's side.
    pub flow: Flow,
    /// Something happened to it that nothing was done about.
    pub dirty: bool,
    /// It waits for the member to read.
    pub waits: bool,
    /// The earliest of its deadlines that is waited for.
    pub timer: Option<Instant>,
    /// What it was counted to have.
    pub counted: Usage,
    /// The packet by which the guest called, until somebody has answered.
    pub quote: Option<Vec<u8>>,
    readable: bool,
    writable: bool,
    /// The host has said all; the guest has, and the host knows.
    ended: bool,
    shut: bool,
    error: Option<Errno>,
}

/// What became of a connection.
pub enum Work {
    /// Nothing is to be done until something happens.
    Done,
    /// The guest does not read its frames.
    NoRoom,
    /// Both sides have said all.
    Over,
    /// The host's side is broken.
    Broken(Errno),
}

impl Connection {
    /// Between a guest and a socket; `quote` is what the guest called by, if it did.
    pub fn new(member: Key, ends: Ends, socket: OwnedFd, flow: Flow, quote: Option<Vec<u8>>) -> Self {
        Self {
            member,
            ends,
            socket,
            flow,
            // Once it is found out about.
            dirty: true,
            waits: false,
            timer: None,
            counted: Usage::default(),
            readable: quote.is_none(),
            writable: quote.is_none(),
            quote,
            ended: false,
            shut: false,
            error: None,
        }
    }

    /// Takes a segment of the guest's; `false` when it has reset the connection.
    pub fn hear(&mut self, segment: &Segment<'_>, now: Instant) -> bool {
        let (socket, error, writable) = (&self.socket, &mut self.error, &mut self.writable);
        let mut take = |bytes: &[u8]| {
            if !*writable || error.is_some() {
                return 0;
            }
            match rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => count,
                Err(Errno::AGAIN) => {
                    *writable = false;
                    0
                }
                Err(Errno::INTR) => 0,
                Err(why) => {
                    *error = Some(why);
                    0
                }
            }
        };
        self.flow.hear(segment, now, &mut take) != Heard::Reset
    }

    /// What it has of what there is for all.
    pub fn usage(&self) -> Usage {
        Usage { flows: 1, half_open: usize::from(!self.flow.is_open()), bytes: self.flow.memory() }
    }

    /// Takes note of what epoll says.
    pub fn notice(&mut self, events: EventFlags) {
        let ended = EventFlags::HUP | EventFlags::ERR;
        if self.quote.is_some() {
            // The call was answered.
            if events.intersects(EventFlags::OUT | ended) {
                match sockopt::socket_error(&self.socket) {
                    Ok(Ok(())) if events.contains(EventFlags::OUT) => {
                        self.quote = None;
                        self.flow.answer();
                    }
                    Ok(Ok(())) => return,
                    Ok(Err(error)) | Err(error) => self.error = Some(error),
                }
            }
        }
        self.readable |= events.intersects(EventFlags::IN | EventFlags::RDHUP | ended);
        self.writable |= events.intersects(EventFlags::OUT | ended);
    }

    /// Whether the host has all that the guest said, and nothing follows.
    pub fn is_complete(&self) -> bool {
        self.shut
    }

    /// Passes on what there is, both ways.
    pub fn work(&mut self, now: Instant, link: &mut Link, ethernet: (Mac, Mac)) -> Work {
        if self.error.is_none()
            && let Err(error) = self.pass_on()
        {
            self.error = Some(error);
        }
        if let Some(error) = self.error {
            return Work::Broken(error);
        }
        loop {
            if let Err(error) = self.fetch() {
                return Work::Broken(error);
            }
            let ends = self.ends;
            let mut send = |out: Out<'_>| {
                let (first, second) = out.payload;
                link.send(headers(ethernet, ends, &out).bytes(), first, second)
            };
            if !self.flow.speak(now, &mut send) {
                return Work::NoRoom;
            }
            if !self.may_fetch() {
                break;
            }
        }
        self.flow.input().release();
        if !self.readable || self.ended {
            self.flow.output().release();
        }
        if self.flow.is_over() { Work::Over } else { Work::Done }
    }

    /// To the host.
    fn pass_on(&mut self) -> Result<(), Errno> {
        while self.writable && !self.flow.input().is_empty() {
            match self.flow.input().send(self.socket.as_fd()).map_err(errno) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable = false,
                Err(error) => return Err(error),
            }
        }
        if self.flow.is_finished() && self.flow.input().is_empty() && !self.shut {
            self.shut = true;
            // One that the host has reset meanwhile is found out by reading.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        }
        Ok(())
    }

    fn may_fetch(&mut self) -> bool {
        self.readable && !self.ended && self.flow.is_open() && self.flow.wants_output()
    }

    /// From the host.
    fn fetch(&mut self) -> Result<(), Errno> {
        if !self.may_fetch() {
            return Ok(());
        }
        let most = self.flow.most_output();
        match self.flow.output().receive(self.socket.as_fd(), most).map_err(errno) {
            Ok(0) => {
                self.ended = true;
                self.flow.finish();
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => self.readable = false,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// The headers of a segment to a guest.
pub fn headers(ethernet: (Mac, Mac), ends: Ends, out: &Out<'_>) -> Headers {
    let (first, second) = out.payload;
    let call = out.flags.has(Flags::SYN);
    let options = if call { 4 + if out.scale.is_some() { 4 } else { 0 } } else { 0 };
    let length = HEADER + options + first.len() + second.len();
    let mut headers = Headers::ip(ethernet, ends.other.ip(), ends.guest.ip(), TCP, length);
    headers.push(&ends.other.port().to_be_bytes());
    headers.push(&ends.guest.port().to_be_bytes());
    headers.push(&out.sequence.to_be_bytes());
    let acknowledged = if out.flags.has(Flags::ACK) { out.acknowledged } else { 0 };
    headers.push(&acknowledged.to_be_bytes());
    headers.push(&[(((HEADER + options) / 4) << 4) as u8, out.flags.0]);
    headers.push(&out.window.to_be_bytes());
    headers.push(&[0; 4]);
    if call {
        headers.push(&[2, 4]);
        headers.push(&MOST.to_be_bytes());
        if let Some(scale) = out.scale {
            headers.push(&[1, 3, 3, scale]);
        }
    }
    let checksum = headers.checksum(first, second);
    headers.set_checksum(16, checksum);
    headers
}

/// All connections of a network.
#[derive(Default)]
pub struct Flows {
    all: Slab<Connection>,
    /// Connections by whom they are between.
    pub by_ends: HashMap<Ends, Key>,
    /// Deadlines; one that is not its connection's any more counts for nothing.
    pub timers: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Flows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Has a connection's deadline waited for.
    pub fn arm(&mut self, key: Key) {
        let Some(connection) = self.all.get_mut(key) else { return };
        if let Some(deadline) = connection.flow.deadline()
            && connection.timer.is_none_or(|timer| deadline < timer)
        {
            connection.timer = Some(deadline);
            self.timers.push(Reverse((deadline, key)));
        }
        if self.timers.len() > 4 * self.all.len() + 1024 {
            // Most are of connections that are over, or have another.
            let all = &self.all;
            self.timers.retain(|Reverse((deadline, key))| {
                all.get(*key).is_some_and(|connection| connection.timer == Some(*deadline))
            });
        }
    }

    /// Adds one.
    pub fn insert(&mut self, connection: Connection) -> Key {
        let ends = connection.ends;
        let key = self.all.insert(|_| connection);
        self.by_ends.insert(ends, key);
        key
    }

    /// One of them.
    pub fn get(&self, key: Key) -> Option<&Connection> {
        self.all.get(key)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Connection> {
        self.all.get_mut(key)
    }

    /// Takes one out.
    pub fn remove(&mut self, key: Key) -> Option<Connection> {
        let connection = self.all.remove(key)?;
        self.by_ends.remove(&connection.ends);
        Some(connection)
    }

    /// Those of a member.
    pub fn of(&self, member: Key) -> Vec<Key> {
        self.all.iter().filter(|(_, connection)| connection.member == member).map(|(key, _)| key).collect()
    }
}
