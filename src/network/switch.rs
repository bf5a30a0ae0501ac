//! Where a frame goes: to another member, or to whoever answers for the rest of the world.

use std::{net::IpAddr, os::fd::AsFd};

use super::{
    link::{NoFrame, Read},
    server::Network,
    slab::Key,
    wire::{ARP, Arp, Frame, ICMP, IPV4, IPV6, Packet, TCP, UDP},
};

/// Reads of one link, and frames of it, before others have their turn.
const TURNS: usize = 8;
const FRAMES: usize = 512;

impl Network {
    /// Takes what a member has sent.
    pub(super) fn read_link(&mut self, key: Key) {
        let mut heard = 0;
        for _ in 0..TURNS {
            let now = self.now;
            let Some(member) = self.members.get_mut(key) else { return };
            if member.has_to_wait(now) {
                return;
            }
            let read = member.link.read();
            if read == Read::End {
                // Nothing more comes that could be too much.
                member.rate = None;
            }
            let mut frames = Vec::new();
            let broken = loop {
                if heard + frames.len() >= FRAMES || member.has_to_wait(now) {
                    break false;
                }
                match member.link.next_frame() {
                    Ok(Some(frame)) => {
                        if let Some(rate) = &mut member.rate {
                            rate.take(frame.len(), now);
                        }
                        frames.push(frame);
                    }
                    Ok(None) => break false,
                    Err(NoFrame) => break true,
                }
            };
            let bytes = member.link.take_bytes();
            heard += frames.len();
            for frame in frames {
                self.hear(key, &bytes[frame]);
            }
            if let Some(member) = self.members.get_mut(key) {
                member.link.put_back(bytes);
            }
            match read {
                _ if broken => return self.part(key),
                _ if heard >= FRAMES => break,
                Read::Some => {}
                // Frames that had to wait are heard later.
                Read::Nothing => return,
                Read::End => return self.part(key),
            }
        }
        // More is there, and changes are told only once.
        if !self.unread.contains(&key) {
            self.unread.push(key);
        }
    }

    /// A member has sent a frame. One that says that it is from somebody else is dropped.
    fn hear(&mut self, key: Key, bytes: &[u8]) {
        let (Some(member), Some(frame)) = (self.members.get(key), Frame::parse(bytes)) else { return };
        if frame.from != member.mac {
            return;
        }
        let own = member.address;
        match frame.kind {
            ARP => match Arp::parse(frame.payload) {
                Some(arp)
                    if arp.from == frame.from && (arp.from_ip == own || arp.from_ip.is_unspecified()) =>
                {
                    self.hear_arp(key, arp);
                }
                _ => {}
            },
            IPV4 | IPV6 => {
                let Some(packet) = Packet::parse(frame.kind, frame.payload) else { return };
                match (packet.from, packet.to) {
                    (IpAddr::V4(from), IpAddr::V4(_)) if from == own => {
                        self.hear_packet(key, &packet, bytes, frame.is_for_many());
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) if self.address6(own) == Some(from) => {
                        self.hear_packet6(key, &packet, bytes, to);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Somebody's Ethernet address is asked for: a member's, or the gateway's, which has the way to all the others.
    fn hear_arp(&mut self, key: Key, arp: Arp) {
        let own = self.members.get(key).map(|member| member.address);
        // Whether anybody else has the own address: nobody has.
        if !arp.asks || own == Some(arp.to_ip) {
            return;
        }
        let other = self.by_address.get(&arp.to_ip).and_then(|key| self.members.get(*key));
        let mac = match other {
            Some(member) => member.mac,
            None if arp.to_ip == self.gateway => self.mac,
            None => return,
        };
        if let Some(member) = self.members.get_mut(key) {
            member.link.send_or_keep(&arp.answer(mac), &[]);
        }
    }

    fn hear_packet(&mut self, key: Key, packet: &Packet<'_>, bytes: &[u8], is_for_many: bool) {
        let IpAddr::V4(to) = packet.to else { return };
        if let Some(other) = self.by_address.get(&to).copied() {
            return self.pass(key, other, bytes);
        }
        if is_for_many || to.is_broadcast() || to.is_multicast() {
            return self.spread(key, packet, bytes);
        }
        if self.subnet.has(to) && to != self.gateway {
            // Nobody has it: the host is not to look for it elsewhere.
            return self.say_unreachable(key, packet, super::icmp::HOST);
        }
        match packet.protocol {
            TCP => self.hear_segment(key, packet),
            UDP => self.hear_datagram(key, packet),
            ICMP => self.hear_icmp(key, packet),
            _ => {}
        }
    }

    /// A frame goes from one member to another.
    pub(super) fn pass(&mut self, from: Key, to: Key, bytes: &[u8]) {
        // As its own switch would: the header is as the sender wrote it, but for who it is for.
        if let Some(other) = self.members.get_mut(to).filter(|_| from != to) {
            let mut head = [0; 12];
            head[..6].copy_from_slice(&other.mac);
            head[6..].copy_from_slice(&bytes[6..12]);
            other.link.send_or_keep(&head, &bytes[12..]);
        }
    }

    /// What is for many goes to all members; nobody outside hears it.
    fn spread(&mut self, from: Key, packet: &Packet<'_>, bytes: &[u8]) {
        let IpAddr::V4(to) = packet.to else { return };
        if !(to.is_broadcast() || to.is_multicast() || to == self.subnet.broadcast()) {
            return;
        }
        self.pass_to_all(from, bytes);
    }

    /// A frame goes from one member to all others.
    pub(super) fn pass_to_all(&mut self, from: Key, bytes: &[u8]) {
        let others: Vec<Key> = self.members.iter().map(|(key, _)| key).filter(|key| *key != from).collect();
        for key in others {
            if let Some(member) = self.members.get_mut(key) {
                member.link.send_or_keep(bytes, &[]);
            }
        }
    }

    /// A member reads again: what waited for that goes on.
    pub(super) fn write_link(&mut self, key: Key) {
        let Some(member) = self.members.get_mut(key) else { return };
        member.link.notice_room();
        if member.link.has_room() && member.link.may_send() {
            for key in std::mem::take(&mut member.link.waiting) {
                if let Some(connection) = self.flows.get_mut(key) {
                    connection.waits = false;
                    self.dirty.push(key);
                }
            }
        }
    }

    /// A member is gone, and all that it had.
    pub(super) fn part(&mut self, key: Key) {
        let Some(member) = self.members.remove(key) else { return };
        self.poll.remove(member.link.socket());
        self.poll.remove(member.keeper.as_fd());
        self.by_address.remove(&member.address);
        for listener in &member.listeners {
            self.listeners.remove(*listener);
        }
        self.forget_flows(key);
        self.forget_conversations(key);
        self.forget_pings(key);
        self.rated.retain(|rated| *rated != key);
        self.write_names();
    }
}
