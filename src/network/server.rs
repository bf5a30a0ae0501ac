//! The process of a network: who is in it, and one loop for everything that happens to them.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, FromRawFd, OwnedFd, RawFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::EventFlags,
    net::SocketFlags,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::{
    address::{self, Subnet},
    control::{Answer, Join, Lease, Request},
    icmp::Ping,
    link::Link,
    member::Member,
    names::HostResolver,
    poll::{Poll, Source},
    publish::{self, Listener},
    slab::{Key, Slab},
    store::{Config, Store},
    tcp::Flows,
    udp::Conversation,
    wire::Mac,
};
use crate::{
    vm::folder::{self, Lock},
    vmm::channel::{Channel, Received},
};

/// Descriptors that are for something else than connections, or a quarter where there are few.
const KEPT_DESCRIPTORS: u64 = 4096;
/// Most connections, whatever the limit of descriptors is.
const MOST_FLOWS: u64 = 32 << 10;
/// How often it is looked for what was quiet for long.
const SWEEP: Duration = Duration::from_secs(5);
/// How long a network waits for its first member.
const PATIENCE: Duration = Duration::from_secs(30);
/// Keepers that have connected and said nothing yet, at most.
const MOST_VISITORS: usize = 64;

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
    /// The gateway's Ethernet address.
    pub(super) mac: Mac,
    folder: PathBuf,
    door: OwnedFd,
    pub(super) poll: Poll,
    /// The time at which what happens now happens.
    pub(super) now: Instant,
    visitors: Slab<Channel>,
    pub(super) members: Slab<Member>,
    pub(super) by_address: HashMap<Ipv4Addr, Key>,
    pub(super) flows: Flows,
    /// Connections to which something happened.
    pub(super) dirty: Vec<Key>,
    /// Links that have more than was read.
    pub(super) unread: Vec<Key>,
    pub(super) conversations: Slab<Conversation>,
    pub(super) conversations_by_ends: HashMap<Ends, Key>,
    pub(super) listeners: Slab<Listener>,
    pub(super) pings: Slab<Ping>,
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
    network.serve()?;
    Ok(())
}

/// How many connections the process has descriptors for, of which it takes as many as it may have.
fn most_flows() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(MOST_FLOWS + KEPT_DESCRIPTORS);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    let most = if raised.is_ok() { most } else { limit.current.unwrap_or(1024) };
    (most - (most / 4).min(KEPT_DESCRIPTORS)) as usize
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
            mac: address::mac(gateway),
            folder,
            door,
            poll,
            now,
            visitors: Slab::default(),
            members: Slab::default(),
            by_address: HashMap::new(),
            flows: Flows::new(most_flows()),
            dirty: Vec::new(),
            unread: Vec::new(),
            conversations: Slab::default(),
            conversations_by_ends: HashMap::new(),
            listeners: Slab::default(),
            pings: Slab::default(),
            buffer: Vec::new(),
            swept: now,
            started: now,
        })
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
        self.admit_visitor();
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
        self.expire_flows();
        if self.now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = self.now;
            self.expire_conversations();
            self.expire_pings();
        }
        while !self.dirty.is_empty() {
            self.work_flows();
        }
        Ok(())
    }

    /// How long nothing is to be done unless something happens.
    fn patience(&self) -> Option<Duration> {
        if !self.unread.is_empty() || !self.dirty.is_empty() {
            return Some(Duration::ZERO);
        }
        let flows = self.flow_deadline().map(|deadline| deadline.saturating_duration_since(self.now));
        let sweeps = !self.conversations.is_empty() || !self.pings.is_empty();
        let sweep = sweeps.then(|| (self.swept + SWEEP).saturating_duration_since(self.now));
        let first = self.members.is_empty().then_some(PATIENCE);
        flows.into_iter().chain(sweep).chain(first).min()
    }

    fn handle(&mut self, source: Source, flags: EventFlags) {
        match source {
            Source::Door => self.admit_visitor(),
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
        }
    }

    fn admit_visitor(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(connection) = rustix::net::accept_with(&self.door, flags) else { return };
        if self.visitors.len() >= MOST_VISITORS {
            return;
        }
        let key = self.visitors.insert(|_| Channel::from(connection));
        if let Some(visitor) = self.visitors.get(key)
            && self.poll.add(Source::Visitor(key), visitor).is_err()
        {
            self.visitors.remove(key);
        }
    }

    fn hear_visitor(&mut self, key: Key) {
        let Some(visitor) = self.visitors.get(key) else { return };
        match visitor.receive() {
            Ok(Received::Nothing) => {}
            Ok(Received::Message(Request::Join(join), Some(frames))) => {
                let Some(visitor) = self.visitors.remove(key) else { return };
                self.poll.remove(&visitor);
                self.join(join, frames, visitor);
            }
            _ => drop(self.visitors.remove(key)),
        }
    }

    /// A VM comes in.
    fn join(&mut self, join: Join, frames: OwnedFd, keeper: Channel) {
        let refuse = |message: String| drop(keeper.send(&Answer::Refused { message }, None));
        let address = match self.lease(&join) {
            Ok(address) => address,
            Err(message) => return refuse(message),
        };
        let mac = join.mac.unwrap_or_else(|| address::mac(address));
        if mac == self.mac || self.members.iter().any(|(_, member)| member.mac == mac) {
            return refuse(format!("{} is the MAC address of another", address::mac_text(mac)));
        }
        let mut sockets = Vec::new();
        for publication in &join.ports {
            match publish::open(publication) {
                Ok(more) => sockets.extend(more),
                Err(message) => return refuse(message),
            }
        }
        let ports = sockets.iter().map(|(_, bound)| *bound).collect();
        let names = join.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let link = Link::new(frames);
        let key =
            self.members.insert(|_| Member { link, keeper, mac, address, names, listeners: Vec::new() });
        self.by_address.insert(address, key);
        let published = self.publish(key, sockets);
        let Some(member) = self.members.get_mut(key) else { return };
        let watched = self
            .poll
            .add_changes(Source::Link(key), member.link.socket())
            .and_then(|()| self.poll.add(Source::Keeper(key), member.keeper.as_fd()));
        let lease = Lease {
            address,
            prefix: self.subnet.prefix,
            gateway: self.gateway,
            mac,
            ports,
            search: HostResolver::now().search,
        };
        let answer = match (published, watched) {
            (Ok(listeners), Ok(())) => {
                member.listeners = listeners;
                Answer::Joined(lease)
            }
            (Err(error), _) | (_, Err(error)) => {
                Answer::Refused { message: format!("cannot wait for it: {error}") }
            }
        };
        let told = member.keeper.send(&answer, None);
        if told.is_err() || matches!(answer, Answer::Refused { .. }) {
            self.part(key);
        }
    }

    /// The address that a VM gets.
    fn lease(&self, join: &Join) -> Result<Ipv4Addr, String> {
        let is_free = |address: &Ipv4Addr| !self.by_address.contains_key(address);
        let any = || {
            let free = self.subnet.members().find(is_free);
            free.ok_or_else(|| format!("network {} has no address left", self.name))
        };
        match join.address {
            None => any(),
            Some(address) if self.subnet.may_have(address) && is_free(&address) => Ok(address),
            Some(_) if join.any_address => any(),
            Some(address) if !self.subnet.may_have(address) => Err(format!(
                "{address} is no address for a container in network {} ({})",
                self.name, self.subnet
            )),
            Some(address) => Err(format!("address {address} is already in use in network {}", self.name)),
        }
    }

    /// A keeper says something, which none does, or is gone, and its VM with it.
    fn hear_keeper(&mut self, key: Key) {
        let Some(member) = self.members.get(key) else { return };
        match member.keeper.receive::<Request>() {
            Ok(Received::Nothing) => {}
            _ => {
                // What its VM has said before.
                self.read_link(key);
                while !self.dirty.is_empty() {
                    self.work_flows();
                }
                self.part(key);
            }
        }
    }
}
