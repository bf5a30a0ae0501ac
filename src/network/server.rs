//! The process of a network: who is in it, and one loop for everything that happens to them.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::event::epoll::EventFlags;

use super::{
    address::{self, Subnet},
    elsewhere::Seen,
    entry::Visitor,
    icmp::Ping,
    localhost::{self, Caller},
    member::Member,
    names::HostResolver,
    poll::{Poll, Source},
    publish::Listener,
    quota::{self, Usage},
    slab::{Key, Slab},
    store::{Config, Store},
    subnet6::Subnet6,
    tcp::Flows,
    udp::Conversation,
    wire::Mac,
};
use crate::vm::folder::{self, Lock};

/// How often it is looked for what was quiet for long.
const SWEEP: Duration = Duration::from_secs(5);
/// How long a socket is not heard from that had a connection for which nothing is to be had, unless something is given back before.
const REST: Duration = Duration::from_millis(500);
/// How long a network waits for its first member.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two ports that a connection is between, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The guest's.
    pub guest: SocketAddr,
    /// The other.
    pub other: SocketAddr,
}

/// A network.
pub struct Network {
    pub(super) name: String,
    pub(super) subnet: Subnet,
    pub(super) gateway: Ipv4Addr,
    /// Its IPv6 addresses, if it has any.
    pub(super) subnet6: Option<Subnet6>,
    /// The gateway's Ethernet address.
    pub(super) mac: Mac,
    pub(super) folder: PathBuf,
    /// There is a file of who is called what.
    pub(super) names_written: bool,
    door: OwnedFd,
    pub(super) poll: Poll,
    /// The time at which what happens now happens.
    pub(super) now: Instant,
    pub(super) visitors: Slab<Visitor>,
    pub(super) members: Slab<Member>,
    /// What other networks have written down, by their names.
    pub(super) seen: HashMap<String, Seen>,
    /// Members that may have so much only.
    pub(super) rated: Vec<Key>,
    pub(super) by_address: HashMap<Ipv4Addr, Key>,
    pub(super) flows: Flows,
    /// Connections to which something happened.
    pub(super) dirty: Vec<Key>,
    /// Links that have more than was read.
    pub(super) unread: Vec<Key>,
    pub(super) conversations: Slab<Conversation>,
    pub(super) conversations_by_ends: HashMap<Ends, Key>,
    /// Those of published ports, by port and who speaks there.
    pub(super) conversations_by_peer: HashMap<(Key, SocketAddr), Key>,
    pub(super) listeners: Slab<Listener>,
    pub(super) pings: Slab<Ping>,
    /// Where containers are reached by name, and who has called there.
    pub(super) localhost: Option<OwnedFd>,
    pub(super) callers: Slab<Caller>,
    /// Descriptors that the process may have.
    pub(super) descriptors: usize,
    /// What all members have.
    pub(super) usage: Usage,
    /// Sockets that are not heard from, for want of something that connections need.
    pub(super) resting: Vec<Source>,
    /// Something was given back.
    pub(super) made_room: bool,
    rested: Instant,
    resolver: (Instant, HostResolver),
    /// Room for a datagram.
    pub(super) buffer: Vec<u8>,
    swept: Instant,
    started: Instant,
}

/// Serves the network of this name, whose door is this descriptor, until its last member is gone.
///
/// # Errors
/// When there is no such network, or the process is out of descriptors.
pub fn run(name: &str, door: RawFd) -> anyhow::Result<()> {
    let _ = rustix::process::setsid();
    // SAFETY: only tested; a number that is not open is an error.
    if door <= libc::STDERR_FILENO || unsafe { libc::fcntl(door, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        anyhow::bail!("this is a process that hull starts for a network, not a command");
    }
    // SAFETY: it is open, as was just seen, and whoever started this process left it for nobody else.
    let door = unsafe { OwnedFd::from_raw_fd(door) };
    let store = Store::open();
    let config = store.get(name)?;
    let mut network = Network::new(&config, store.folder(name), door)?;
    network.listen_at_localhost();
    network.serve()?;
    Ok(())
}

impl Network {
    /// A network without members.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new(config: &Config, folder: PathBuf, door: OwnedFd) -> io::Result<Self> {
        let (subnet, now) = (config.subnet, Instant::now());
        let (gateway, poll) = (subnet.gateway(), Poll::new()?);
        poll.add(Source::Door, &door)?;
        Ok(Self {
            name: config.name.to_ascii_lowercase(),
            subnet,
            gateway,
            subnet6: config.subnet6,
            mac: address::mac(gateway),
            folder,
            names_written: true,
            seen: HashMap::new(),
            door,
            poll,
            now,
            visitors: Slab::default(),
            members: Slab::default(),
            rated: Vec::new(),
            by_address: HashMap::new(),
            flows: Flows::default(),
            dirty: Vec::new(),
            unread: Vec::new(),
            conversations: Slab::default(),
            conversations_by_ends: HashMap::new(),
            conversations_by_peer: HashMap::new(),
            listeners: Slab::default(),
            pings: Slab::default(),
            localhost: None,
            callers: Slab::default(),
            descriptors: quota::descriptors(),
            usage: Usage::default(),
            resting: Vec::new(),
            made_room: false,
            rested: now,
            resolver: (now, HostResolver::now()),
            buffer: Vec::new(),
            swept: now,
            started: now,
        })
    }

    /// Has members reached by name.
    pub(super) fn listen_at_localhost(&mut self) {
        self.localhost = localhost::listen();
        if let Some(listener) = &self.localhost
            && self.poll.add(Source::Localhost, listener).is_err()
        {
            self.localhost = None;
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut had_members = false;
        loop {
            self.turn(None)?;
            had_members |= !self.members.is_empty();
            let waited = self.now.saturating_duration_since(self.started) > PATIENCE;
            if self.members.is_empty()
                && self.visitors.is_empty()
                && (had_members || waited)
                && self.may_end()
            {
                return Ok(());
            }
        }
    }

    /// Whether nobody is about to join; from then on nobody can.
    fn may_end(&mut self) -> bool {
        // Whoever joins holds the lock until they have connected.
        let Ok(Some(lock)) = Lock::take(&self.folder.join(super::client::LOCK), false) else { return false };
        // Somebody may have connected before the lock was free.
        self.admit_visitors();
        if !self.visitors.is_empty() {
            return false;
        }
        folder::stop_listening(&self.folder);
        // Held to the end of the process.
        std::mem::forget(lock);
        true
    }

    /// Waits until something happens, for so long at most, and sees to it.
    ///
    /// # Errors
    /// When nothing can be waited for.
    pub fn turn(&mut self, most: Option<Duration>) -> io::Result<()> {
        self.now = Instant::now();
        let wait = self.patience().into_iter().chain(most).min();
        let events = self.poll.wait(wait)?;
        self.now = Instant::now();
        for key in std::mem::take(&mut self.unread) {
            self.read_link(key);
        }
        for (source, flags) in events {
            self.handle(source, flags);
        }
        self.resume_rated();
        self.expire_flows();
        if self.now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = self.now;
            self.expire_conversations();
            self.expire_pings();
            self.expire_callers();
        }
        while !self.dirty.is_empty() {
            self.work_flows();
        }
        let waited = self.now.saturating_duration_since(self.rested) >= REST;
        if !self.resting.is_empty() && (self.made_room || waited) {
            self.rested = self.now;
            self.end_rest();
        }
        Ok(())
    }

    /// Whom the host asks for names, as of now.
    pub(super) fn resolver(&mut self) -> &HostResolver {
        // Guests may ask much faster than that changes.
        if self.now.saturating_duration_since(self.resolver.0) >= Duration::from_secs(1) {
            self.resolver = (self.now, HostResolver::now());
        }
        &self.resolver.1
    }

    /// Where keepers connect.
    pub(super) fn door(&self) -> BorrowedFd<'_> {
        self.door.as_fd()
    }

    /// How long nothing is to be done unless something happens.
    fn patience(&self) -> Option<Duration> {
        if !self.unread.is_empty() || !self.dirty.is_empty() {
            return Some(Duration::ZERO);
        }
        let flows = self.flow_deadline().map(|deadline| deadline.saturating_duration_since(self.now));
        let sweeps = !(self.conversations.is_empty() && self.pings.is_empty() && self.callers.is_empty());
        let sweep = sweeps.then(|| (self.swept + SWEEP).saturating_duration_since(self.now));
        let first = self.members.is_empty().then_some(PATIENCE);
        let rest =
            (!self.resting.is_empty()).then(|| (self.rested + REST).saturating_duration_since(self.now));
        let rate = self.rate_deadline().map(|deadline| deadline.saturating_duration_since(self.now));
        flows.into_iter().chain(rate).chain(sweep).chain(first).chain(rest).min()
    }

    fn handle(&mut self, source: Source, flags: EventFlags) {
        match source {
            Source::Door => self.admit_visitors(),
            Source::Visitor(key) => self.hear_visitor(key),
            Source::Link(key) => {
                if flags.contains(EventFlags::OUT) {
                    self.write_link(key);
                }
                if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
                    self.read_link(key);
                }
            }
            Source::Keeper(key) => self.hear_keeper(key),
            Source::Flow(key) => self.notice_flow(key, flags),
            Source::Conversation(key) => self.read_conversation(key),
            Source::Listener(key) => self.read_listener(key),
            Source::Ping(key) => self.read_ping(key),
            Source::Localhost => self.admit_callers(),
            Source::Caller(key) => self.hear_caller(key),
        }
    }
}

#[cfg(test)]
#[path = "server_test.rs"]
pub(super) mod tests;
