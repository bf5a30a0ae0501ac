//! TCP connections between guests and the world: each is one with the guest ([`flow`]) and a socket of the host's.
//!
//! A guest's call is answered when the host's own has been, so that a guest finds out who is not there.

mod connection;
mod flow;

use std::{net::SocketAddr, os::fd::OwnedFd, time::Instant};

use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt},
};

pub use self::connection::Flows;
use self::connection::{Connection, Work};
use super::{
    poll::Source,
    quota::Verdict,
    server::{Ends, Network},
    slab::Key,
    wire::{Flags, Packet, Segment, TCP},
};

impl Network {
    /// A member sends a segment to the world.
    pub(super) fn hear_segment(&mut self, member: Key, packet: &Packet<'_>) {
        let Some(segment) = Segment::parse(packet.payload) else { return };
        let ends = Ends {
            guest: SocketAddr::new(packet.from, segment.from),
            other: SocketAddr::new(packet.to, segment.to),
        };
        let now = self.now;
        if let Some(&key) = self.flows.by_ends.get(&ends) {
            self.count(key);
            let Some(connection) = self.flows.get_mut(key) else { return };
            let well = connection.hear(&segment, now);
            self.count(key);
            let Some(connection) = self.flows.get_mut(key) else { return };
            if well {
                if !std::mem::replace(&mut connection.dirty, true) {
                    self.dirty.push(key);
                }
            } else {
                self.drop_flow(key, true);
            }
            return;
        }
        if segment.flags.has(Flags::RST) {
            return;
        }
        if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) {
            match self.call_host(member, ends, &segment, packet) {
                // As if it had been lost: the guest calls again.
                Ok(()) | Err(Errno::AGAIN) => return,
                Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::PERM) => {
                    return self.say_unreachable(member, packet, super::icmp::HOST);
                }
                Err(_) => {}
            }
        }
        self.refuse(member, ends, &segment);
    }

    /// Calls whom a guest calls.
    fn call_host(
        &mut self,
        member: Key,
        ends: Ends,
        call: &Segment<'_>,
        packet: &Packet<'_>,
    ) -> Result<(), Errno> {
        let to = self.meant(member, ends.other)?;
        match self.may_have_flow(member) {
            Verdict::Yes => {}
            Verdict::Later => return Err(Errno::AGAIN),
            Verdict::No => return Err(Errno::MFILE),
        }
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let flow = flow::Flow::called(self.number(), call);
        // What an error is to say of it.
        let quote = packet.whole[..packet.whole.len().min(60)].to_vec();
        self.admit_flow(Connection::new(member, ends, socket, flow, Some(quote)));
        Ok(())
    }

    /// Calls a guest for somebody who has connected to one of its ports.
    pub(super) fn call_guest(&mut self, member: Key, ends: Ends, socket: OwnedFd) {
        let flow = flow::Flow::calling(self.number());
        self.admit_flow(Connection::new(member, ends, socket, flow, None));
    }

    fn admit_flow(&mut self, connection: Connection) {
        // Whoever writes here has written as much as is to be sent.
        let _ = sockopt::set_tcp_nodelay(&connection.socket, true);
        let key = self.flows.insert(connection);
        self.count(key);
        let Some(connection) = self.flows.get(key) else { return };
        if self.poll.add_changes(Source::Flow(key), &connection.socket).is_err() {
            return self.drop_flow(key, true);
        }
        self.dirty.push(key);
    }

    /// A first number that nobody can guess.
    fn number(&self) -> u32 {
        let mut bytes = [0; 4];
        // It has been there since before anything else that is used here.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        u32::from_ne_bytes(bytes)
    }

    /// Something happened to a connection's socket.
    pub(super) fn notice_flow(&mut self, key: Key, events: EventFlags) {
        let Some(connection) = self.flows.get_mut(key) else { return };
        connection.notice(events);
        if !std::mem::replace(&mut connection.dirty, true) {
            self.dirty.push(key);
        }
    }

    /// Does what there is to do for connections to which something happened.
    pub(super) fn work_flows(&mut self) {
        for key in std::mem::take(&mut self.dirty) {
            // What it may have by now, which may be less than when it last did something.
            self.count(key);
            self.work_flow(key);
            self.count(key);
        }
    }

    fn work_flow(&mut self, key: Key) {
        let (now, ethernet) = (self.now, self.mac);
        let Some(connection) = self.flows.get_mut(key) else { return };
        connection.dirty = false;
        let Some(member) = self.members.get_mut(connection.member) else { return };
        match connection.work(now, &mut member.link, (ethernet, member.mac)) {
            Work::Done => {}
            Work::NoRoom if std::mem::replace(&mut connection.waits, true) => {}
            Work::NoRoom => {
                let (waiting, flows) = (&mut member.link.waiting, member.usage.flows);
                waiting.push(key);
                if waiting.len() > 2 * flows + 64 {
                    // Some are over by now.
                    let mut gone = std::mem::take(waiting);
                    gone.retain(|key| self.flows.get(*key).is_some());
                    *waiting = gone;
                }
            }
            Work::Over => return self.drop_flow(key, false),
            Work::Broken(error) => {
                let (member, ends, numbers) =
                    (connection.member, connection.ends, connection.flow.reset_numbers());
                let quote = connection.quote.take();
                match (error, quote.as_deref().and_then(Packet::quoted)) {
                    (Errno::NETUNREACH | Errno::HOSTUNREACH, Some(packet)) => {
                        self.say_unreachable(member, &packet, super::icmp::HOST);
                    }
                    // Nobody has answered, and nobody answers the guest.
                    (Errno::TIMEDOUT, Some(_)) => {}
                    _ => self.reset(member, ends, numbers, Flags::RST.and(Flags::ACK)),
                }
                return self.drop_flow(key, true);
            }
        }
        self.flows.arm(key);
    }

    /// Acts on deadlines that are over.
    pub(super) fn expire_flows(&mut self) {
        while let Some(std::cmp::Reverse((deadline, key))) = self.flows.timers.peek().copied() {
            if deadline > self.now {
                break;
            }
            self.flows.timers.pop();
            let now = self.now;
            let Some(connection) = self.flows.get_mut(key).filter(|flow| flow.timer == Some(deadline)) else {
                continue;
            };
            connection.timer = None;
            if connection.waits {
                // What was not sent cannot have been lost.
                connection.flow.postpone(now);
                self.flows.arm(key);
            } else if connection.flow.expire(now) {
                self.dirty.push(key);
            } else {
                let (member, ends, numbers) =
                    (connection.member, connection.ends, connection.flow.reset_numbers());
                self.reset(member, ends, numbers, Flags::RST.and(Flags::ACK));
                self.drop_flow(key, true);
            }
        }
    }

    /// When that is to be done.
    pub(super) fn flow_deadline(&self) -> Option<Instant> {
        self.flows.timers.peek().map(|std::cmp::Reverse((deadline, _))| *deadline)
    }

    /// Parts with a connection; the host's side is `reset` where it is not to be taken for complete.
    fn drop_flow(&mut self, key: Key, reset: bool) {
        let Some(connection) = self.flows.remove(key) else { return };
        self.give_back(connection.member, connection.counted);
        if reset {
            let _ = sockopt::set_socket_linger(&connection.socket, Some(std::time::Duration::ZERO));
        }
    }

    /// A member is gone: its connections are reset, but for those that it had said all on.
    pub(super) fn forget_flows(&mut self, member: Key) {
        for key in self.flows.of(member) {
            let complete = self.flows.get(key).is_some_and(Connection::is_complete);
            self.drop_flow(key, !complete);
        }
    }

    /// Answers what belongs to no connection (RFC 9293, 3.10.7.1).
    fn refuse(&mut self, member: Key, ends: Ends, segment: &Segment<'_>) {
        if segment.flags.has(Flags::ACK) {
            self.reset(member, ends, (segment.acknowledged, 0), Flags::RST);
        } else {
            let end = segment.sequence.wrapping_add(segment.length());
            self.reset(member, ends, (0, end), Flags::RST.and(Flags::ACK));
        }
    }

    fn reset(&mut self, member: Key, ends: Ends, (sequence, acknowledged): (u32, u32), flags: Flags) {
        let Some(member) = self.members.get_mut(member) else { return };
        let out = flow::Out { sequence, acknowledged, flags, window: 0, scale: None, payload: (&[], &[]) };
        let headers = connection::headers((self.mac, member.mac), ends, &out);
        member.link.send_or_keep(headers.bytes(), &[]);
    }
}

/// The length of a TCP header without options.
const HEADER: usize = 20;
