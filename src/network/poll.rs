//! What a network waits for.

use std::{io, os::fd::AsFd, time::Duration};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
};

use super::slab::Key;

/// Something that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Keepers that connect.
    Door,
    /// The connection of a keeper that has not said what it wants.
    Visitor(Key),
    /// The frame socket of a member.
    Link(Key),
    /// The connection of a member's keeper.
    Keeper(Key),
    /// A TCP connection's socket.
    Flow(Key),
    /// A UDP conversation's socket.
    Conversation(Key),
    /// The socket of a published port.
    Listener(Key),
    /// A socket for ICMP echo.
    Ping(Key),
    /// The port at which containers are reached by name.
    Localhost,
    /// Somebody who has connected there.
    Caller(Key),
}

impl Source {
    fn token(self) -> u64 {
        let (kind, number) = match self {
            Self::Door => (0, 0),
            Self::Visitor(key) => (1, key.number()),
            Self::Link(key) => (2, key.number()),
            Self::Keeper(key) => (3, key.number()),
            Self::Flow(key) => (4, key.number()),
            Self::Conversation(key) => (5, key.number()),
            Self::Listener(key) => (6, key.number()),
            Self::Ping(key) => (7, key.number()),
            Self::Localhost => (8, 0),
            Self::Caller(key) => (9, key.number()),
        };
        kind << 56 | number
    }

    fn of(token: u64) -> Option<Self> {
        let key = Key::of(token);
        Some(match token >> 56 {
            0 => Self::Door,
            1 => Self::Visitor(key),
            2 => Self::Link(key),
            3 => Self::Keeper(key),
            4 => Self::Flow(key),
            5 => Self::Conversation(key),
            6 => Self::Listener(key),
            7 => Self::Ping(key),
            8 => Self::Localhost,
            9 => Self::Caller(key),
            _ => return None,
        })
    }
}

/// A set of descriptors that are waited for. A descriptor that is closed leaves by itself.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(256) })
    }

    /// Waits for something to read, for as long as there is something.
    ///
    /// # Errors
    /// When the kernel is out of memory.
    pub fn add(&self, source: Source, descriptor: impl AsFd) -> io::Result<()> {
        let data = EventData::new_u64(source.token());
        Ok(epoll::add(&self.epoll, descriptor, data, EventFlags::IN)?)
    }

    /// Waits for changes: something to read, room to write, the end.
    ///
    /// # Errors
    /// When the kernel is out of memory.
    pub fn add_changes(&self, source: Source, descriptor: impl AsFd) -> io::Result<()> {
        let data = EventData::new_u64(source.token());
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, descriptor, data, flags)?)
    }

    /// Waits no longer for this.
    pub fn remove(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Waits until something happens, or for this long.
    ///
    /// # Errors
    /// When the set is unusable.
    pub fn wait(&mut self, most: Option<Duration>) -> io::Result<Vec<(Source, EventFlags)>> {
        // Rounded up: too early would be at once again.
        let most = most.map(|most| most + Duration::from_millis(1));
        let most =
            most.map(|most| Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let known = |event: &Event| Some((Source::of(event.data.u64())?, event.flags));
        Ok(self.events.iter().filter_map(known).collect())
    }
}
