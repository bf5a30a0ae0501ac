//! Addresses: of networks, of their members, and those of the host's that a guest has no way to.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::wire::Mac;

/// A range of IPv4 addresses: what a network has. The first is its gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    /// The lowest address.
    pub base: Ipv4Addr,
    /// Bits that all addresses have in common, 8 to 29.
    pub prefix: u8,
}

impl Subnet {
    /// The ranges that networks get whose maker wants none: Docker's.
    pub fn all() -> impl Iterator<Item = Self> {
        let large = (17..32).map(|second| Self { base: Ipv4Addr::new(172, second, 0, 0), prefix: 16 });
        let small = (0..16).map(|third| Self { base: Ipv4Addr::new(192, 168, third * 16, 0), prefix: 20 });
        large.chain(small)
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }

    /// Whether the address is one of it.
    pub fn has(self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.base.to_bits()) & self.mask() == 0
    }

    /// Whether they have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.has(other.base) || other.has(self.base)
    }

    /// How many addresses are below this one of it.
    pub fn number(self, address: Ipv4Addr) -> u32 {
        address.to_bits() & !self.mask()
    }

    /// The address with this number, the base being 0.
    pub fn nth(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits().wrapping_add(number))
    }

    /// The gateway's.
    pub fn gateway(self) -> Ipv4Addr {
        self.nth(1)
    }

    /// The one that means all members.
    pub fn broadcast(self) -> Ipv4Addr {
        self.nth(!self.mask())
    }

    /// Addresses of members, the lowest first.
    pub fn members(self) -> impl Iterator<Item = Ipv4Addr> {
        // Neither the gateway's nor the one for all.
        (2..!self.mask()).map(move |number| self.nth(number))
    }

    /// Whether a member may have this address.
    pub fn may_have(self, address: Ipv4Addr) -> bool {
        self.has(address) && self.may_have_number(self.number(address))
    }

    /// Whether a member may have the address with this number.
    pub fn may_have_number(self, number: u32) -> bool {
        number >= 2 && number < !self.mask()
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid subnet {text:?}; write an IPv4 range, such as 172.30.0.0/16");
        let (base, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (base, prefix): (Ipv4Addr, u8) =
            (base.parse().map_err(|_| wrong())?, prefix.parse().map_err(|_| wrong())?);
        if !(8..=29).contains(&prefix) {
            return Err(format!("invalid subnet {text:?}: its prefix is not one of /8 to /29"));
        }
        let subnet = Self { base, prefix };
        if base.to_bits() & !subnet.mask() != 0 {
            return Err(format!("invalid subnet {text:?}: bits are set behind the prefix"));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// The Ethernet address of a member, as Docker makes it of the other.
pub fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// An Ethernet address as people write it.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads one; it must be one card's.
///
/// # Errors
/// When it is none.
pub fn parse_mac(text: &str) -> Result<Mac, String> {
    let wrong = || format!("invalid MAC address {text:?}; write one like 02:42:ac:11:00:02");
    let bytes: Vec<u8> = text
        .split([':', '-'])
        .map(|part| if part.len() == 2 { u8::from_str_radix(part, 16).ok() } else { None })
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let mac: Mac = bytes.try_into().map_err(|_| wrong())?;
    if mac[0] & 1 != 0 { Err(format!("invalid MAC address {text:?}: it is one for many")) } else { Ok(mac) }
}

/// Ranges that the host has routes to, but for the one that leads everywhere: a network with the same would hide them.
pub fn routed() -> Vec<Subnet> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let number = |text: Option<&str>| Some(u32::from_be(u32::from_str_radix(text?, 16).ok()?));
        let base = number(fields.next())?;
        let mask = number(fields.nth(5))?;
        (mask != 0).then(|| Subnet { base: Ipv4Addr::from_bits(base), prefix: mask.leading_ones() as u8 })
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// Whether a guest has a way to this address of the world: not to the host's own loopback and what is on its links only, where
/// services listen that trust whoever reaches them.
pub fn reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => reachable_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped().or_else(|| compatible(address)) {
            Some(address) => reachable_v4(address),
            None => {
                // Site-local (RFC 3879) is another kind of what is nearby only.
                let is_near = address.is_unicast_link_local() || address.segments()[0] & 0xffc0 == 0xfec0;
                !(address.is_multicast() || is_near || is_metadata(address))
            }
        },
    }
}

/// Whether it is where a cloud keeps what a machine is told in confidence, if not at a link-local address: Amazon's and Google's ranges,
/// Oracle's, Linode's and Scaleway's addresses.
fn is_metadata(address: Ipv6Addr) -> bool {
    matches!(
        address.segments(),
        [0xfd00, 0xec2, ..]
            | [0xfd20, 0xce, ..]
            | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
            | [0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]
            | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]
    )
}

/// The IPv4 address that somebody may take an IPv6 address for: one of 96 bits of zero (`::` and `::1` are among them), or translated
/// (RFC 2765, RFC 6052, RFC 8215), or of a tunnel (RFC 3056).
fn compatible(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Ipv4Addr::LOCALHOST),
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

fn reachable_v4(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    // 0 is this host, 224 and up are many.
    !(first == 0 || address.is_loopback() || address.is_link_local() || first >= 224)
}

#[cfg(test)]
#[path = "address_test.rs"]
mod tests;
