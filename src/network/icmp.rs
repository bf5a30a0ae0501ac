//! ICMP (RFC 792): echo, and saying to a guest that somebody cannot be reached.
//!
//! An echo goes out by a socket of the kind that needs no right where the host lets its user have one
//! (`net.ipv4.ping_group_range`); the gateway answers for itself.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, socket_with};

use super::{
    poll::Source,
    quota::may_have_more,
    server::Network,
    slab::Key,
    wire::{Headers, ICMP, Packet, fold, sum},
};

/// Codes of "unreachable".
pub const HOST: u8 = 1;
/// Nobody listens at the port.
pub const PORT: u8 = 3;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO: u8 = 8;
/// Kind, code, checksum, and four bytes more.
const HEADER: usize = 8;
/// How long answers are waited for.
const QUIET: Duration = Duration::from_secs(30);
/// Echoes of one network that are waited for at most, by guest, number and whom they are for.
const MOST: usize = 256;

/// Somebody who is asked for echoes.
pub struct Ping {
    member: Key,
    guest: IpAddr,
    other: Ipv4Addr,
    /// The guest's number for them; the host puts its own in its place.
    number: [u8; 2],
    socket: OwnedFd,
    used: Instant,
}

impl Network {
    /// A member sends a message to the world. Only echoes are passed on.
    pub(super) fn hear_icmp(&mut self, member: Key, packet: &Packet<'_>) {
        let IpAddr::V4(other) = packet.to else { return };
        let Some((header, _)) = packet.payload.split_first_chunk::<HEADER>() else { return };
        if header[0] != ECHO || header[1] != 0 {
            return;
        }
        if other == self.gateway {
            return self.echo(member, packet.to, packet.from, &packet.payload[4..]);
        }
        let number = [header[4], header[5]];
        let known = self
            .pings
            .iter()
            .find(|(_, ping)| ping.member == member && ping.other == other && ping.number == number);
        let key = match known {
            Some((key, _)) => key,
            None => match self.begin_ping(member, packet.from, other, number) {
                Some(key) => key,
                None => return self.say_unreachable(member, packet, HOST),
            },
        };
        let now = self.now;
        if let Some(ping) = self.pings.get_mut(key) {
            ping.used = now;
            // An answer that does not come is the answer.
            let _ =
                rustix::net::send(&ping.socket, packet.payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    fn begin_ping(&mut self, member: Key, guest: IpAddr, other: Ipv4Addr, number: [u8; 2]) -> Option<Key> {
        self.meant(member, SocketAddr::new(other.into(), 0)).ok()?;
        let own = || self.pings.iter().filter(|(_, ping)| ping.member == member);
        if !may_have_more(own().count(), MOST.saturating_sub(self.pings.len())) {
            let oldest = own().min_by_key(|(_, ping)| ping.used).map(|(key, _)| key)?;
            self.pings.remove(oldest);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, Some(ipproto::ICMP)).ok()?;
        rustix::net::connect(&socket, &SocketAddr::new(other.into(), 0)).ok()?;
        let used = self.now;
        let key = self.pings.insert(|_| Ping { member, guest, other, number, socket, used });
        let ping = self.pings.get(key)?;
        self.poll.add(Source::Ping(key), &ping.socket).ok()?;
        Some(key)
    }

    /// An echo has come back.
    pub(super) fn read_ping(&mut self, key: Key) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(65535, 0);
        while let Some(ping) = self.pings.get(key)
            && let Ok((length, _)) = rustix::net::recv(&ping.socket, &mut *buffer, RecvFlags::DONTWAIT)
        {
            if length < HEADER || buffer[0] != ECHO_REPLY {
                continue;
            }
            let (member, from, to) = (ping.member, IpAddr::V4(ping.other), ping.guest);
            buffer[4..6].copy_from_slice(&ping.number);
            self.echo(member, from, to, &buffer[4..length]);
        }
        self.buffer = buffer;
    }

    /// Answers an echo; `rest` is what stands behind its checksum.
    fn echo(&mut self, member: Key, from: IpAddr, to: IpAddr, rest: &[u8]) {
        self.tell_icmp(member, from, to, [ECHO_REPLY, 0], rest);
    }

    /// Tells a guest that what it has sent did not arrive.
    pub(super) fn say_unreachable(&mut self, member: Key, packet: &Packet<'_>, code: u8) {
        // Its header, and as much of what it carries as says whose it is.
        let header = packet.whole.len() - packet.payload.len();
        let quote = &packet.whole[..packet.whole.len().min(header + 8)];
        let rest = [&[0; 4], quote].concat();
        let gateway = IpAddr::V4(self.gateway);
        self.tell_icmp(member, gateway, packet.from, [UNREACHABLE, code], &rest);
    }

    fn tell_icmp(&mut self, member: Key, from: IpAddr, to: IpAddr, [kind, code]: [u8; 2], rest: &[u8]) {
        let Some(member) = self.members.get_mut(member) else { return };
        let mut headers = Headers::ip((self.mac, member.mac), from, to, ICMP, 4 + rest.len());
        let checksum = fold(sum(sum(0, &[kind, code]), rest));
        headers.push(&[kind, code]);
        headers.push(&checksum.to_be_bytes());
        member.link.send_or_keep(headers.bytes(), rest);
    }

    /// Forgets whom nobody has asked for an echo for a while.
    pub(super) fn expire_pings(&mut self) {
        let now = self.now;
        let old: Vec<Key> = self
            .pings
            .iter()
            .filter(|(_, ping)| now.saturating_duration_since(ping.used) > QUIET)
            .map(|(key, _)| key)
            .collect();
        old.into_iter().for_each(|key| drop(self.pings.remove(key)));
    }

    /// A member is gone.
    pub(super) fn forget_pings(&mut self, member: Key) {
        let its: Vec<Key> =
            self.pings.iter().filter(|(_, ping)| ping.member == member).map(|(key, _)| key).collect();
        its.into_iter().for_each(|key| drop(self.pings.remove(key)));
    }
}
