//! IPv6: whose an address is, and the discovery of neighbours (RFC 4861). Who has an address is answered here, as it is by ARP; nothing of
//! that passes from one member to another, so that none speaks for another, or as a router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hull_protocol::NetworkV6;

use super::{
    icmp,
    server::Network,
    slab::Key,
    wire::{ICMP6, Packet, Solicitation, TCP, UDP},
};

/// ICMP between a host and those on its link (RFC 4861, RFC 2710, RFC 3810): routers, neighbours, and who listens to what.
fn is_of_the_link(packet: &Packet<'_>) -> bool {
    packet.protocol == ICMP6
        && packet.payload.first().is_none_or(|kind| matches!(kind, 130..=137 | 143 | 148..=149 | 151..=153))
}

impl Network {
    /// What a member with this address has of IPv6.
    pub(super) fn v6(&self, address: Ipv4Addr) -> Option<NetworkV6> {
        let subnet = self.subnet6?;
        let address = self.address6(address)?;
        Some(NetworkV6 { address, prefix: subnet.prefix, gateway: subnet.gateway() })
    }

    /// The IPv6 address of a member, by its other.
    pub(super) fn address6(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        Some(self.subnet6?.nth(self.subnet.number(address)))
    }

    /// Whether this is the gateway's address.
    pub(super) fn is_gateway(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.gateway,
            IpAddr::V6(address) => self.subnet6.is_some_and(|subnet| subnet.gateway() == address),
        }
    }

    /// The member with this address.
    fn member6(&self, address: Ipv6Addr) -> Option<Key> {
        let number = self.subnet6?.number(address)?;
        self.by_address.get(&self.subnet.nth(number)).copied().filter(|_| self.subnet.may_have_number(number))
    }

    /// A member has sent a packet, from its own address.
    pub(super) fn hear_packet6(&mut self, key: Key, packet: &Packet<'_>, bytes: &[u8], to: Ipv6Addr) {
        if is_of_the_link(packet) {
            if let Some(asked) = Solicitation::parse(packet) {
                self.hear_solicitation(key, packet.from, asked);
            }
            return;
        }
        if let Some(other) = self.member6(to) {
            return self.pass(key, other, bytes);
        }
        if to.is_multicast() {
            return self.pass_to_all(key, bytes);
        }
        let is_nobodys = self.subnet6.is_some_and(|subnet| subnet.has(to)) && !self.is_gateway(packet.to);
        if is_nobodys || to.to_ipv4_mapped().is_some() {
            // An IPv4 address in disguise is not looked for by the host either.
            return self.say_unreachable(key, packet, icmp::HOST);
        }
        match packet.protocol {
            TCP => self.hear_segment(key, packet),
            UDP => self.hear_datagram(key, packet),
            ICMP6 => self.hear_icmp(key, packet),
            _ => {}
        }
    }

    /// Somebody's Ethernet address is asked for.
    fn hear_solicitation(&mut self, key: Key, from: IpAddr, asked: Solicitation) {
        let other = self.member6(asked.target);
        let (mac, is_router) = match other.and_then(|key| self.members.get(key)) {
            // Whether anybody else has the own address: nobody has.
            Some(_) if other == Some(key) => return,
            Some(member) => (member.mac, false),
            None if self.is_gateway(asked.target.into()) => (self.mac, true),
            None => return,
        };
        if let Some(member) = self.members.get_mut(key) {
            let answer = asked.answer((mac, member.mac), from, is_router);
            member.link.send_or_keep(answer.bytes(), &[]);
        }
    }
}

#[cfg(test)]
#[path = "six_test.rs"]
mod tests;
