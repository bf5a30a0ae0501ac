//! Published ports: sockets of the host at which a member's ports are reached.
//!
//! A guest sees who has connected, address and port, as far as these mean something to it: who comes from the host's own loopback, or by
//! IPv6, comes from the gateway.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with, sockopt},
};

use super::{
    control::{self, Answer, Bound, Protocol, Publication, Republish},
    member::Member,
    poll::Source,
    quota::Verdict,
    server::{Ends, Network},
    slab::Key,
};

/// Connections, or datagrams, taken from one socket before others have their turn.
const TURNS: usize = 64;
/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;
/// Ports that the gateway gives connections from the host itself.
const FIRST_OWN: u16 = 32768;

/// A socket of a published port.
pub struct Listener {
    socket: OwnedFd,
    pub member: Key,
    inside: u16,
    protocol: Protocol,
    at: SocketAddr,
}

impl Listener {
    /// What is reached there.
    fn bound(&self) -> Bound {
        Bound { inside: self.inside, protocol: self.protocol, at: self.at }
    }

    /// Its socket.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Says something to whoever had said something here.
    pub fn say(&self, payload: &[u8], to: SocketAddr) -> Result<(), Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::sendto(&self.socket, payload, flags, &to).map(drop)
    }
}

/// Opens the sockets of a port: two where it is to be reached at all addresses and the host has IPv6.
///
/// # Errors
/// What to tell the user: the port is taken, or needs a right.
pub fn open(publication: &Publication) -> Result<Vec<(OwnedFd, Bound)>, String> {
    let Publication { inside, protocol, address, ports: (first, last) } = *publication;
    let at = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut why = None;
    for port in first..=last {
        match bind(protocol, SocketAddr::new(at, port)) {
            Ok((socket, at)) => {
                let mut sockets = vec![(socket, Bound { inside, protocol, at })];
                if address.is_none() {
                    let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), at.port());
                    match bind(protocol, both) {
                        Ok((socket, at)) => sockets.push((socket, Bound { inside, protocol, at })),
                        // Somebody else's there: the port is not ours alone.
                        Err(error) if error.kind() == io::ErrorKind::AddrInUse && port != 0 => {
                            why = Some((both, error));
                            continue;
                        }
                        Err(_) => {}
                    }
                }
                return Ok(sockets);
            }
            Err(error) => why = Some((SocketAddr::new(at, port), error)),
        }
    }
    let (at, error) =
        why.ok_or_else(|| format!("cannot publish port {inside}: no port of the host is given"))?;
    Err(match error.kind() {
        _ if first != last => format!(
            "cannot publish port {inside}/{protocol}: none of {}:{first}-{last} is free ({error})",
            at.ip()
        ),
        io::ErrorKind::AddrInUse => format!(
            "cannot publish port {inside}/{protocol}: {at} is already in use on this host; choose another, or end what uses it"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "cannot publish port {inside}/{protocol} at {at}: ports below 1024 need a right; choose one above, or as root \
             `sysctl net.ipv4.ip_unprivileged_port_start={}`",
            at.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("cannot publish port {inside}/{protocol} at {at}: this host does not have that address")
        }
        _ => format!("cannot publish port {inside}/{protocol} at {at}: {error}"),
    })
}

fn bind(protocol: Protocol, at: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections that ended a moment ago do not keep the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    let at = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, at))
}

impl Network {
    /// Reaches a member at these sockets, all of them or none.
    pub(super) fn publish(&mut self, member: Key, sockets: Vec<(OwnedFd, Bound)>) -> io::Result<()> {
        let mut keys = Vec::new();
        for (socket, Bound { inside, protocol, at }) in sockets {
            let key = self.listeners.insert(|_| Listener { socket, member, inside, protocol, at });
            keys.push(key);
            let listener = self.listeners.get(key).ok_or(io::ErrorKind::NotFound);
            let watched = listener
                .map_err(io::Error::from)
                .and_then(|listener| self.poll.add(Source::Listener(key), listener.socket.as_fd()));
            if let Err(error) = watched {
                keys.iter().for_each(|key| drop(self.listeners.remove(*key)));
                return Err(error);
            }
        }
        if let Some(member) = self.members.get_mut(member) {
            member.listeners.extend(keys);
        }
        Ok(())
    }

    /// A keeper wants other ports of its VM to be reached: all of that is done, or nothing.
    pub(super) fn republish(&mut self, key: Key, file: OwnedFd) {
        let done = self.try_republish(key, file);
        let Some(member) = self.members.get(key) else { return };
        let mut ports: Vec<Bound> =
            member.listeners.iter().filter_map(|key| self.listeners.get(*key)).map(Listener::bound).collect();
        let answer = match done {
            Ok(()) => control::unload(&mut ports).map(|file| (Answer::Published { ports }, file)),
            Err(message) => Ok((Answer::Refused { message }, None)),
        };
        // A keeper that does not read is about to end.
        if let Ok((answer, file)) = answer {
            let _ = member.keeper.send(&answer, file.as_ref().map(AsFd::as_fd));
        }
    }

    fn try_republish(&mut self, key: Key, file: OwnedFd) -> Result<(), String> {
        let wanted: Republish =
            control::read(file).map_err(|error| format!("the keeper is not understood: {error}"))?;
        self.check_room(wanted.add.len())?;
        // What is removed gives its place on the host to what is added.
        let removed = self.unpublish(key, &wanted.remove);
        let added = self.add_ports(key, &wanted.add);
        added.map_err(|error| match self.publish_again(key, removed) {
            Ok(()) => error,
            Err(lost) => format!("{error}; what was reached at {lost} is not any more, either"),
        })
    }

    fn add_ports(&mut self, key: Key, ports: &[Publication]) -> Result<(), String> {
        let mut sockets = Vec::new();
        for publication in ports {
            sockets.extend(open(publication)?);
        }
        self.publish(key, sockets)
            .map_err(|error| format!("the process of network {} is out of something: {error}", self.name))
    }

    /// Closes the sockets of a member's ports; gives which of its sockets they were.
    fn unpublish(&mut self, key: Key, ports: &[(u16, Protocol)]) -> Vec<(usize, Bound)> {
        let Some(member) = self.members.get_mut(key) else { return Vec::new() };
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for (place, key) in std::mem::take(&mut member.listeners).into_iter().enumerate() {
            match self.listeners.get(key) {
                Some(one) if ports.contains(&(one.inside, one.protocol)) => {
                    removed.push((place, one.bound()));
                    self.listeners.remove(key);
                }
                _ => kept.push(key),
            }
        }
        member.listeners = kept;
        removed
    }

    /// Opens those sockets again, where they were.
    fn publish_again(&mut self, key: Key, removed: Vec<(usize, Bound)>) -> Result<(), SocketAddr> {
        let mut lost = None;
        for (place, bound) in removed {
            let again = bind(bound.protocol, bound.at)
                .and_then(|(socket, _)| self.publish(key, vec![(socket, bound)]));
            match (again, self.members.get_mut(key)) {
                (Ok(()), Some(Member { listeners, .. })) => {
                    // In the order that the keeper knows.
                    if let Some(last) = listeners.pop() {
                        listeners.insert(place.min(listeners.len()), last);
                    }
                }
                _ => lost = Some(bound.at),
            }
        }
        lost.map_or(Ok(()), Err)
    }

    /// Refuses more ports than there are descriptors for.
    pub(super) fn check_room(&mut self, ports: usize) -> Result<(), String> {
        // One for IPv4 and one for IPv6 each.
        let (wanted, left) = (2 * ports, self.descriptors_left());
        if wanted <= left {
            return Ok(());
        }
        Err(format!(
            "cannot publish {ports} ports: network {} has room for {}; publish fewer, or raise the limit of open files \
             (`ulimit -Hn`) for whoever starts its first container",
            self.name,
            left / 2
        ))
    }

    /// Somebody has connected to a published port, or has said something there.
    pub(super) fn read_listener(&mut self, key: Key) {
        match self.listeners.get(key).map(|listener| listener.protocol) {
            Some(Protocol::Tcp) => self.accept(key),
            Some(Protocol::Udp) => self.receive(key),
            None => {}
        }
    }

    fn accept(&mut self, key: Key) {
        for _ in 0..TURNS {
            let Some(listener) = self.listeners.get(key) else { return };
            let (member, inside) = (listener.member, listener.inside);
            if self.may_have_flow(member) != Verdict::Yes {
                // Those that come wait in the host's queue, and behind that are not heard.
                return self.rest(Source::Listener(key));
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (socket, peer) = match rustix::net::acceptfrom_with(&listener.socket, flags) {
                Ok(accepted) => accepted,
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    return self.rest(Source::Listener(key));
                }
                // One that is gone again.
                Err(_) => continue,
            };
            let Some(Ok(peer)) = peer.map(SocketAddr::try_from) else { continue };
            let is_free = |ends: &Ends| !self.flows.by_ends.contains_key(ends);
            if let Some(ends) = self.ends(member, inside, peer, is_free) {
                self.call_guest(member, ends, socket);
            }
        }
    }

    fn receive(&mut self, key: Key) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(65535, 0);
        for _ in 0..TURNS {
            let Some(listener) = self.listeners.get(key) else { break };
            let (member, inside) = (listener.member, listener.inside);
            let received = rustix::net::recvfrom(&listener.socket, &mut *buffer, RecvFlags::DONTWAIT);
            let Ok((length, _, Some(peer))) = received else { break };
            let Ok(peer) = SocketAddr::try_from(peer) else { continue };
            self.hear_outside(key, member, inside, peer, &buffer[..length]);
        }
        self.buffer = buffer;
    }

    /// Between whom a connection is, as the guest sees it: one that there is none between yet. Who means nothing to a guest comes from the
    /// gateway, by a port from [`FIRST_OWN`] up, its own if that is one and free.
    pub(super) fn ends(
        &self,
        member: Key,
        inside: u16,
        peer: SocketAddr,
        is_free: impl Fn(&Ends) -> bool,
    ) -> Option<Ends> {
        let guest = SocketAddr::new(self.members.get(member)?.address.into(), inside);
        let means_something = match peer.ip() {
            IpAddr::V4(address) => !address.is_loopback() && !self.subnet.has(address),
            IpAddr::V6(_) => false,
        };
        let direct = Ends { guest, other: peer };
        if means_something && is_free(&direct) {
            return Some(direct);
        }
        let first = peer.port().max(FIRST_OWN);
        (first..=u16::MAX).chain(FIRST_OWN..first).find_map(|port| {
            let ends = Ends { guest, other: SocketAddr::new(self.gateway.into(), port) };
            is_free(&ends).then_some(ends)
        })
    }
}
