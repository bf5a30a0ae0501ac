//! How VMs come into a network: keepers connect, say who comes, and are told what it has.

use std::{net::Ipv4Addr, os::fd::AsFd};

use rustix::{fd::OwnedFd, io::Errno, net::SocketFlags};

use super::{
    address,
    control::{self, Answer, Join, Lease, Publication, Request},
    egress::Egress,
    link::Link,
    member::Member,
    poll::Source,
    publish,
    server::Network,
    slab::Key,
    wire::Mac,
};
use crate::vmm::channel::{Channel, Received};

/// Keepers that have connected and said nothing yet, at most.
const MOST_VISITORS: usize = 64;

/// A keeper that has connected.
pub struct Visitor {
    channel: Channel,
    /// Ports that it said were too many for one message.
    ports: Vec<Publication>,
}

impl Network {
    /// Keepers have connected.
    pub(super) fn admit_visitors(&mut self) {
        loop {
            if self.visitors.len() >= MOST_VISITORS {
                return self.rest(Source::Door);
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let connection = match rustix::net::accept_with(self.door(), flags) {
                Ok(connection) => connection,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                // Out of descriptors, or of memory.
                Err(_) => return self.rest(Source::Door),
            };
            let channel = Channel::from(connection);
            let key = self.visitors.insert(|_| Visitor { channel, ports: Vec::new() });
            if let Some(visitor) = self.visitors.get(key)
                && self.poll.add(Source::Visitor(key), &visitor.channel).is_err()
            {
                self.visitors.remove(key);
            }
        }
    }

    /// A keeper says who comes.
    pub(super) fn hear_visitor(&mut self, key: Key) {
        let Some(visitor) = self.visitors.get_mut(key) else { return };
        match visitor.channel.receive() {
            Ok(Received::Nothing) => {}
            Ok(Received::Message(Request::Ports, Some(file))) => match control::read(file) {
                Ok(ports) => visitor.ports = ports,
                Err(_) => self.dismiss(key),
            },
            Ok(Received::Message(Request::Join(mut join), Some(frames))) => {
                let Some(Visitor { channel, ports }) = self.visitors.remove(key) else { return };
                self.made_room = true;
                self.poll.remove(&channel);
                join.ports.extend(ports);
                self.join(join, frames, channel);
            }
            Ok(Received::Message(Request::Visit(visit), Some(socket))) => {
                self.dismiss(key);
                self.visit(visit, socket);
            }
            _ => self.dismiss(key),
        }
    }

    fn dismiss(&mut self, key: Key) {
        self.visitors.remove(key);
        self.made_room = true;
    }

    /// A VM comes in.
    fn join(&mut self, join: Join, frames: OwnedFd, keeper: Channel) {
        let refuse = |message: String| drop(keeper.send(&Answer::Refused { message }, None));
        let address = match self.lease(&join) {
            Ok(address) => address,
            Err(message) => return refuse(message),
        };
        let mac = match join.mac {
            Some(mac) if !join.shares_card && self.has_mac(mac) => {
                return refuse(format!(
                    "{} is the MAC address of another in network {}",
                    address::mac_text(mac),
                    self.name
                ));
            }
            Some(mac) => mac,
            None => self.free_mac(address),
        };
        if let Err(message) = self.check_room(join.ports.len()) {
            return refuse(message);
        }
        let mut sockets = Vec::new();
        for publication in &join.ports {
            match publish::open(publication) {
                Ok(more) => sockets.extend(more),
                Err(message) => return refuse(message),
            }
        }
        let ports: Vec<_> = sockets.iter().map(|(_, bound)| *bound).collect();
        let names = join.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let mut member = Member::new(Link::new(frames), keeper, mac, address, names);
        (member.egress, member.host) = (Egress::new(join.egress), join.host);
        member.http = join.http.unwrap_or(member.http);
        let key = self.members.insert(|_| member);
        self.by_address.insert(address, key);
        self.limit_rate(key, join.rate);
        let published = self.publish(key, sockets);
        let search = self.resolver().search.clone();
        let v6 = self.v6(address);
        let Some(member) = self.members.get_mut(key) else { return };
        let watched = self
            .poll
            .add_changes(Source::Link(key), member.link.socket())
            .and_then(|()| self.poll.add(Source::Keeper(key), member.keeper.as_fd()));
        let mut lease =
            Lease { address, prefix: self.subnet.prefix, gateway: self.gateway, mac, v6, ports, search };
        let told = match published.and(watched).and_then(|()| control::unload(&mut lease.ports)) {
            Ok(more) => {
                let told = member.keeper.send(&Answer::Joined(lease), more.as_ref().map(AsFd::as_fd));
                told.is_ok()
            }
            Err(error) => {
                let message = format!("the process of network {} is out of something: {error}", self.name);
                let _ = member.keeper.send(&Answer::Refused { message }, None);
                false
            }
        };
        if told {
            self.write_names();
        } else {
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

    fn has_mac(&self, mac: Mac) -> bool {
        mac == self.mac || self.members.iter().any(|(_, member)| member.mac == mac)
    }

    /// The Ethernet address that goes with an address, or one like it where somebody has chosen that one.
    fn free_mac(&self, address: Ipv4Addr) -> Mac {
        let [_, rest @ ..] = address::mac(address);
        let mut mac = address::mac(address);
        // Of one card, and given by nobody who makes cards (IEEE 802, 8.4).
        for first in (0x02..=0xff).step_by(4) {
            mac = [first, rest[0], rest[1], rest[2], rest[3], rest[4]];
            if !self.has_mac(mac) {
                break;
            }
        }
        mac
    }

    /// A keeper says something, or is gone, and its VM with it.
    pub(super) fn hear_keeper(&mut self, key: Key) {
        let Some(member) = self.members.get(key) else { return };
        match member.keeper.receive::<Request>() {
            Ok(Received::Nothing) => {}
            Ok(Received::Message(Request::Elsewhere { networks }, _)) => self.set_elsewhere(key, networks),
            Ok(Received::Message(Request::Publish, Some(file))) => self.republish(key, file),
            _ => {
                // What its VM has said before, which has waited long enough.
                self.lift_rate(key);
                self.read_link(key);
                while !self.dirty.is_empty() {
                    self.work_flows();
                }
                self.part(key);
            }
        }
    }
}
