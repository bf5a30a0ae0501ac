//! `http://NAME.hull.localhost:4855`: every container of this user, by name, without a port that was published.
//!
//! `*.localhost` is this host's loopback wherever it is asked for (RFC 6761, 6.3), so a port there leads to all containers, and which one is
//! meant is what HTTP says (RFC 9112, 3.2). Only that is looked at, and left where it is: the connection itself becomes one of the
//! container's. All networks of a user listen at the port (`SO_REUSEPORT`), whichever is called passes on what is for another's members.
//!
//! Whoever calls is a program of the same user, or of root; and the host that it says is one of these names: a page of another site whose
//! name was made to lead to this address reaches nothing.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, socket_with, sockopt,
    },
};
use serde::{Deserialize, Serialize};

use super::{control::Request, poll::Source, quota::Verdict, server::Network, slab::Key, store::Store};
use crate::{vm::folder, vmm::channel::Channel};

/// The port: "hull" on a telephone.
const PORT: u16 = 4855;
/// Says another, or that there is none (0).
const VARIABLE: &str = "HULL_LOCALHOST_PORT";
/// What follows a container's name.
const SUFFIX: &str = ".hull.localhost";
/// The port of a container's that is meant where nobody says.
pub const HTTP: u16 = 80;
/// Bytes in which a request says for whom it is.
const MOST_HEAD: usize = 16 << 10;
/// How long it may take for that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Callers that have not said it yet, at most.
const MOST_CALLERS: usize = 64;
const BACKLOG: i32 = 128;
/// Connections taken before others have their turn.
const TURNS: usize = 16;

/// Somebody who has connected.
pub struct Caller {
    socket: OwnedFd,
    since: Instant,
}

impl Caller {
    /// Its socket.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connection that is for a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Whom it is for: `NAME` or `PORT.NAME`, in small letters.
    pub whom: String,
    /// Networks in which the container is not.
    pub tried: Vec<String>,
}

/// The port at which containers are reached by name, if they are to be.
pub fn port() -> Option<u16> {
    let said = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    Some(said.unwrap_or(PORT)).filter(|port| *port != 0)
}

/// A socket at it. Somebody else's program may have it: then there are no names.
pub fn listen() -> Option<OwnedFd> {
    try_listen(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port()?)).ok()
}

fn try_listen(at: SocketAddrV4) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // With other networks of this user, and nobody else: the kernel sees to that.
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &at)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// What the beginning of a request says.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// Not yet for whom it is.
    More,
    /// It is for this one: `NAME` or `PORT.NAME`.
    For(String),
    /// It is for somebody else, or makes no sense.
    Wrong,
}

/// Reads for whom a request is.
fn read(head: &[u8]) -> Head {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    let whole = |line: &[u8]| line.ends_with(b"\n");
    let Some(first) = lines.next().filter(|line| whole(line)) else {
        // What is no request has no end of a line, or not soon; what is encrypted begins so.
        return if head.first().is_none_or(u8::is_ascii_uppercase) { Head::More } else { Head::Wrong };
    };
    if !matches!(first.trim_ascii_end().rsplit(|byte| *byte == b' ').next(), Some(b"HTTP/1.1" | b"HTTP/1.0"))
    {
        return Head::Wrong;
    }
    for line in lines {
        if !whole(line) {
            return Head::More;
        }
        if line.trim_ascii().is_empty() {
            return Head::Wrong;
        }
        if let Some((name, value)) = line.iter().position(|byte| *byte == b':').map(|at| line.split_at(at))
            && name.eq_ignore_ascii_case(b"host")
        {
            return whom(&value[1..]).map_or(Head::Wrong, Head::For);
        }
    }
    Head::More
}

/// Whom a host's name, with a port or without, means.
fn whom(host: &[u8]) -> Option<String> {
    let host = std::str::from_utf8(host).ok()?.trim().to_ascii_lowercase();
    let name = host.rsplit_once(':').map_or(&*host, |(name, _)| name);
    let whom = name.strip_suffix('.').unwrap_or(name).strip_suffix(SUFFIX)?;
    (!whom.is_empty()).then(|| whom.to_owned())
}

/// The port and the name in `PORT.NAME`.
fn with_port(whom: &str) -> Option<(u16, &str)> {
    let (port, name) = whom.split_once('.')?;
    Some((port.parse().ok().filter(|port| *port != 0)?, name))
}

/// Who has the other end of a connection on the loopback, as `/proc/net/tcp` has it.
fn owner(table: &str, peer: SocketAddrV4, own: SocketAddrV4) -> Option<u32> {
    let text = |at: SocketAddrV4| format!("{:08X}:{:04X}", u32::from_ne_bytes(at.ip().octets()), at.port());
    let (peer, own) = (text(peer), text(own));
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ends = fields.next() == Some(&peer) && fields.next() == Some(&own);
        // Behind the state, queues, timer and retransmissions.
        if ends { fields.nth(4)?.parse().ok() } else { None }
    })
}

/// Whether a program of this user, or of root, has called.
fn is_ours(peer: SocketAddrV4, own: SocketAddrV4) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    owner(&table, peer, own).is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw())
}

impl Network {
    /// Somebody has connected.
    pub(super) fn admit_callers(&mut self) {
        for _ in 0..TURNS {
            let Some(listener) = &self.localhost else { return };
            if self.callers.len() >= MOST_CALLERS || self.descriptors_left() == 0 {
                return self.rest(Source::Localhost);
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (socket, peer) = match rustix::net::acceptfrom_with(listener, flags) {
                Ok(accepted) => accepted,
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    return self.rest(Source::Localhost);
                }
                Err(_) => continue,
            };
            let own = rustix::net::getsockname(&socket).ok().and_then(|own| own.try_into().ok());
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            let (Some(SocketAddr::V4(peer)), Some(SocketAddr::V4(own))) = (peer, own) else { continue };
            if !is_ours(peer, own) {
                continue;
            }
            let since = self.now;
            let key = self.callers.insert(|_| Caller { socket, since });
            let Some(caller) = self.callers.get(key) else { continue };
            // Told of what is new only: what is there stays there.
            if self.poll.add_changes(Source::Caller(key), &caller.socket).is_err() {
                self.callers.remove(key);
            }
        }
    }

    /// A caller has said something.
    pub(super) fn hear_caller(&mut self, key: Key) {
        let Some(caller) = self.callers.get(key) else { return };
        let mut head = vec![0; MOST_HEAD];
        let said = match recv(&caller.socket, &mut *head, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => return self.dismiss_caller(key, None),
            Ok((length, _)) => &head[..length],
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => return self.dismiss_caller(key, None),
        };
        match read(said) {
            Head::More if said.len() < MOST_HEAD => {}
            Head::For(whom) => {
                let Some(Caller { socket, .. }) = self.callers.remove(key) else { return };
                self.made_room = true;
                self.poll.remove(&socket);
                self.visit(Visit { whom, tried: Vec::new() }, socket);
            }
            Head::More | Head::Wrong => self.dismiss_caller(
                key,
                Some(("421 Misdirected Request", "this is for http://NAME.hull.localhost only\n".to_owned())),
            ),
        }
    }

    fn dismiss_caller(&mut self, key: Key, answer: Option<(&str, String)>) {
        let Some(Caller { socket, .. }) = self.callers.remove(key) else { return };
        self.made_room = true;
        if let Some((status, text)) = answer {
            say(&socket, status, &text);
        }
    }

    /// Parts with those who have not said for whom they come.
    pub(super) fn expire_callers(&mut self) {
        let late = |caller: &Caller| self.now.saturating_duration_since(caller.since) > PATIENCE;
        let late: Vec<_> =
            self.callers.iter().filter(|(_, caller)| late(caller)).map(|(key, _)| key).collect();
        late.into_iter().for_each(|key| self.dismiss_caller(key, None));
    }

    /// A connection is for a container: of this network, or else of another.
    pub(super) fn visit(&mut self, mut visit: Visit, socket: OwnedFd) {
        let member = |name: &str| {
            // Its name and its id; what it is called besides may be others' name, too.
            let own = |names: &[String]| names.iter().take(2).any(|own| own == name);
            self.members.iter().find(|(_, member)| own(&member.names)).map(|(key, member)| (key, member.http))
        };
        let with_port = with_port(&visit.whom);
        let found =
            member(&visit.whom).or_else(|| with_port.and_then(|(port, name)| Some((member(name)?.0, port))));
        if let Some((member, inside)) = found {
            return self.let_in(member, inside, socket);
        }
        visit.tried.push(self.name.clone());
        let store = Store::open();
        for network in store.list().unwrap_or_default() {
            let name = network.name.to_ascii_lowercase();
            if visit.tried.contains(&name) {
                continue;
            }
            if let Ok(door) = folder::connect(&store.folder(&network.name)) {
                let told = Channel::from(door).send(&Request::Visit(visit.clone()), Some(socket.as_fd()));
                if told.is_ok() {
                    return;
                }
            }
            visit.tried.push(name);
        }
        let text = format!("no container {} runs in a network; `hull ps` lists those that run\n", visit.whom);
        say(&socket, "404 Not Found", &text);
    }

    fn let_in(&mut self, member: Key, inside: u16, socket: OwnedFd) {
        let peer = rustix::net::getpeername(&socket).ok().flatten();
        let Some(Ok(peer)) = peer.map(SocketAddr::try_from) else { return };
        let is_free = |ends: &super::server::Ends| !self.flows.by_ends.contains_key(ends);
        match self.ends(member, inside, peer, is_free) {
            Some(ends) if self.may_have_flow(member) == Verdict::Yes => self.call_guest(member, ends, socket),
            _ => say(&socket, "503 Service Unavailable", "the container has too many connections\n"),
        }
    }
}

/// Answers a request, and takes it out of the way: what was not read would make the system part with the answer, too.
fn say(socket: &OwnedFd, status: &str, text: &str) {
    let mut request = [0; MOST_HEAD];
    let _ = recv(socket, &mut request, RecvFlags::DONTWAIT);
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    );
    let _ = rustix::net::send(socket, answer.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    let _ = rustix::net::shutdown(socket, Shutdown::Write);
}

#[cfg(test)]
#[path = "localhost_test.rs"]
mod tests;
