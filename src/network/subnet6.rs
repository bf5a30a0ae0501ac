//! Ranges of IPv6 addresses: what a network has beside its IPv4 ones. Each member has the number in both.

use std::{net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::address::Subnet;

/// A range of IPv6 addresses. The first is its gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet6 {
    /// The lowest address.
    pub base: Ipv6Addr,
    /// Bits that all addresses have in common, 48 to 96: what is left has room for the number of any IPv4 address.
    pub prefix: u8,
}

impl Subnet6 {
    /// What the network has that is there without being made: always the same, as guests are made ready for it.
    pub const DEFAULT: Self = Self { base: Ipv6Addr::new(0xfd68, 0x756c, 0x6c00, 0, 0, 0, 0, 0), prefix: 64 };

    /// One that most likely nobody else has: a unique local one (RFC 4193, 3.2).
    pub fn random() -> Self {
        let mut octets = [0; 16];
        // It has been there since before anything else that is used here.
        let _ = rustix::rand::getrandom(&mut octets[1..6], rustix::rand::GetRandomFlags::empty());
        octets[0] = 0xfd;
        Self { base: octets.into(), prefix: 64 }
    }

    fn mask(self) -> u128 {
        u128::MAX << (128 - u32::from(self.prefix))
    }

    /// Whether the address is one of it.
    pub fn has(self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.base.to_bits()) & self.mask() == 0
    }

    /// Whether they have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.has(other.base) || other.has(self.base)
    }

    /// The address with this number, the base being 0.
    pub fn nth(self, number: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.base.to_bits() | u128::from(number))
    }

    /// The number of one of its addresses, if that is one that a member can have.
    pub fn number(self, address: Ipv6Addr) -> Option<u32> {
        u32::try_from(address.to_bits() & !self.mask()).ok().filter(|_| self.has(address))
    }

    /// The gateway's.
    pub fn gateway(self) -> Ipv6Addr {
        self.nth(1)
    }
}

impl FromStr for Subnet6 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid subnet {text:?}; write an IPv6 range, such as fd12:3456:789a::/64");
        let (base, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (base, prefix): (Ipv6Addr, u8) =
            (base.parse().map_err(|_| wrong())?, prefix.parse().map_err(|_| wrong())?);
        if !(48..=96).contains(&prefix) {
            return Err(format!("invalid subnet {text:?}: its prefix is not one of /48 to /96"));
        }
        // Unique local (RFC 4193), and what is routed in the Internet.
        let first = base.segments()[0];
        if first & 0xfe00 != 0xfc00 && first & 0xe000 != 0x2000 {
            return Err(format!("invalid subnet {text:?}: it is neither in fc00::/7 nor in 2000::/3"));
        }
        let subnet = Self { base, prefix };
        if base.to_bits() & !subnet.mask() != 0 {
            return Err(format!("invalid subnet {text:?}: bits are set behind the prefix"));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet6 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Subnet6> for String {
    fn from(subnet: Subnet6) -> Self {
        subnet.to_string()
    }
}

impl std::fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// A range of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Of IPv4.
    V4(Subnet),
    /// Of IPv6.
    V6(Subnet6),
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(':') { text.parse().map(Self::V6) } else { text.parse().map(Self::V4) }
    }
}

#[cfg(test)]
#[path = "subnet6_test.rs"]
mod tests;
