//! ICMP (RFC 792, RFC 4443): echo, and saying to a guest that somebody cannot be reached.
//!
//! An echo goes out by a socket of the kind that needs no right where the host lets its user have one
//! (`net.ipv4.ping_group_range`); the gateway answers for itself.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, socket_with};

use super::{
    poll::Source,
    quota::may_have_more,
    server::Network,
    slab::Key,
    wire::{Headers, ICMP, ICMP6, Packet, fold, sum},
};

/// Codes of "unreachable", as ICMP for IPv4 has them.
pub const HOST: u8 = 1;
/// Nobody listens at the port.
pub const PORT: u8 = 3;

/// What messages are called.
struct Kinds {
    echo: u8,
    reply: u8,
    unreachable: u8,
}

const V4: Kinds = Kinds { echo: 8, reply: 0, unreachable: 3 };
const V6: Kinds = Kinds { echo: 128, reply: 129, unreachable: 1 };

fn kinds(address: IpAddr) -> Kinds {
    if address.is_ipv4() { V4 } else { V6 }
}

/// Kind, code, checksum, and four bytes more.
const HEADER: usize = 8;
/// Longest message: with the header of either IP it is no longer than a packet can be.
const LONGEST: usize = 65535 - 40;
/// How long answers are waited for.
const QUIET: Duration = Duration::from_secs(30);
/// Echoes of one network that are waited for at most, by guest, number and whom they are for.
const MOST: usize = 256;

/// Somebody who is asked for echoes.
pub struct Ping {
    member: Key,
    guest: IpAddr,
    other: IpAddr,
    /// The guest's number for them; the host puts its own in its place.
    number: [u8; 2],
    socket: OwnedFd,
    used: Instant,
}

impl Network {
    /// A member sends a message to the world. Only echoes are passed on.
    pub(super) fn hear_icmp(&mut self, member: Key, packet: &Packet<'_>) {
        let other = packet.to;
        let Some((header, _)) = packet.payload.split_first_chunk::<HEADER>() else { return };
        if header[0] != kinds(other).echo || header[1] != 0 {
            return;
        }
        if self.is_gateway(other) {
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

    fn begin_ping(&mut self, member: Key, guest: IpAddr, other: IpAddr, number: [u8; 2]) -> Option<Key> {
        self.meant(member, SocketAddr::new(other, 0)).ok()?;
        let own = || self.pings.iter().filter(|(_, ping)| ping.member == member);
        if !may_have_more(own().count(), MOST.saturating_sub(self.pings.len())) {
            let oldest = own().min_by_key(|(_, ping)| ping.used).map(|(key, _)| key)?;
            self.pings.remove(oldest);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, protocol) = match other {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol)).ok()?;
        rustix::net::connect(&socket, &SocketAddr::new(other, 0)).ok()?;
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
            if !(HEADER..=LONGEST).contains(&length) || buffer[0] != kinds(ping.other).reply {
                continue;
            }
            let (member, from, to) = (ping.member, ping.other, ping.guest);
            buffer[4..6].copy_from_slice(&ping.number);
            self.echo(member, from, to, &buffer[4..length]);
        }
        self.buffer = buffer;
    }

    /// Answers an echo; `rest` is what stands behind its checksum.
    fn echo(&mut self, member: Key, from: IpAddr, to: IpAddr, rest: &[u8]) {
        self.tell_icmp(member, from, to, [kinds(to).reply, 0], rest);
    }

    /// Tells a guest that what it has sent did not arrive.
    pub(super) fn say_unreachable(&mut self, member: Key, packet: &Packet<'_>, code: u8) {
        // Its header, and as much of what it carries as says whose it is.
        let header = packet.whole.len() - packet.payload.len();
        let quote = &packet.whole[..packet.whole.len().min(header + 8)];
        let rest = [&[0; 4], quote].concat();
        let (gateway, code) = match (packet.from, self.subnet6, code) {
            (IpAddr::V4(_), ..) => (IpAddr::V4(self.gateway), code),
            // What these are called there (RFC 4443, 3.1).
            (IpAddr::V6(_), Some(subnet), PORT) => (subnet.gateway().into(), 4),
            (IpAddr::V6(_), Some(subnet), _) => (subnet.gateway().into(), 3),
            (IpAddr::V6(_), None, _) => return,
        };
        self.tell_icmp(member, gateway, packet.from, [kinds(packet.from).unreachable, code], &rest);
    }

    fn tell_icmp(&mut self, member: Key, from: IpAddr, to: IpAddr, [kind, code]: [u8; 2], rest: &[u8]) {
        let Some(member) = self.members.get_mut(member) else { return };
        let protocol = if to.is_ipv4() { ICMP } else { ICMP6 };
        let mut headers = Headers::ip((self.mac, member.mac), from, to, protocol, 4 + rest.len());
        headers.push(&[kind, code, 0, 0]);
        let checksum = match to {
            IpAddr::V4(_) => fold(sum(sum(0, &[kind, code]), rest)),
            IpAddr::V6(_) => headers.checksum(rest, &[]),
        };
        headers.set_checksum(2, checksum);
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
