//! Packets as they are on the wire: Ethernet, ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293), UDP (RFC 768).
//!
//! What comes from a guest is parsed into views of its bytes, each checked against what is there; what goes to a guest is a
//! [`Headers`] in front of a payload that is elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Kinds of Ethernet frames.
pub const ARP: u16 = 0x0806;
/// IPv4.
pub const IPV4: u16 = 0x0800;
/// IPv6.
pub const IPV6: u16 = 0x86dd;
/// Kinds of IP packets.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMP6: u8 = 58;

/// Hops that packets to a guest have left.
const HOPS: u8 = 64;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// An Ethernet frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Who it is for.
    pub to: Mac,
    /// Who it is from.
    pub from: Mac,
    /// What it is.
    pub kind: u16,
    /// What it says.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Parses one.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let to = *bytes.first_chunk()?;
        let from = *bytes.get(6..)?.first_chunk()?;
        Some(Self { to, from, kind: u16_at(bytes, 12)?, payload: bytes.get(ETHERNET..)? })
    }

    /// Whether it is for many.
    pub fn is_for_many(&self) -> bool {
        self.to[0] & 1 != 0
    }
}

/// An IP packet that is whole.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Who it is from.
    pub from: IpAddr,
    /// Who it is for.
    pub to: IpAddr,
    /// Which protocol it carries.
    pub protocol: u8,
    /// What that says.
    pub payload: &'a [u8],
    /// Routers that it may still pass.
    pub hops: u8,
    /// All of it.
    pub whole: &'a [u8],
}

/// IPv6 extensions that are passed over, and how many at most: options for routers, and for whom the packet is for (RFC 8200, 4.3, 4.6).
const HOP_BY_HOP: u8 = 0;
const DESTINATION: u8 = 60;
const MOST_EXTENSIONS: usize = 4;
/// Those with which a packet is none here: routes, fragments, and what cannot be seen through.
const REFUSED: [u8; 5] = [43, 44, 50, 51, 135];

impl<'a> Packet<'a> {
    /// Parses what an Ethernet frame of this kind says. Fragments are none: nobody sends them here, as the MTU
    /// is as large as a packet.
    pub fn parse(kind: u16, bytes: &'a [u8]) -> Option<Self> {
        match kind {
            IPV4 => Self::parse_v4(bytes),
            IPV6 => Self::parse_v6(bytes),
            _ => None,
        }
    }

    /// One of which only the beginning was kept, for a message about it.
    pub fn quoted(bytes: &'a [u8]) -> Option<Self> {
        if *bytes.first()? >> 4 == 6 {
            return Self::of_v6(bytes);
        }
        let header = usize::from(*bytes.first()? & 0xf) * 4;
        let address = |at: usize| Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<4>()?));
        let (from, to, payload) = (address(12)?, address(16)?, bytes.get(header..)?);
        Some(Self { from, to, protocol: *bytes.get(9)?, payload, hops: *bytes.get(8)?, whole: bytes })
    }

    fn parse_v4(bytes: &'a [u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let header = usize::from(first & 0xf) * 4;
        let length = usize::from(u16_at(bytes, 2)?);
        // More fragments follow, or some came before.
        let fragment = u16_at(bytes, 6)? & 0x3fff != 0;
        if first >> 4 != 4 || header < 20 || fragment || length < header {
            return None;
        }
        let whole = bytes.get(..length)?;
        let address = |at: usize| Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<4>()?));
        let protocol = *bytes.get(9)?;
        let (from, to, hops) = (address(12)?, address(16)?, *bytes.get(8)?);
        Some(Self { from, to, protocol, payload: whole.get(header..)?, hops, whole })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Self> {
        if *bytes.first()? >> 4 != 6 {
            return None;
        }
        Self::of_v6(bytes.get(..40 + usize::from(u16_at(bytes, 4)?))?)
    }

    /// One of these bytes, behind whose extensions is what it carries.
    fn of_v6(whole: &'a [u8]) -> Option<Self> {
        let address = |at: usize| Some(IpAddr::from(*whole.get(at..)?.first_chunk::<16>()?));
        let (from, to, hops) = (address(8)?, address(24)?, *whole.get(7)?);
        let (mut protocol, mut payload) = (*whole.get(6)?, whole.get(40..)?);
        for _ in 0..=MOST_EXTENSIONS {
            if !matches!(protocol, HOP_BY_HOP | DESTINATION) {
                let packet = Self { from, to, protocol, payload, hops, whole };
                return Some(packet).filter(|_| !REFUSED.contains(&protocol));
            }
            protocol = *payload.first()?;
            payload = payload.get((usize::from(*payload.get(1)?) + 1) * 8..)?;
        }
        None
    }
}

/// A TCP segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Port that it is from.
    pub from: u16,
    /// Port that it is for.
    pub to: u16,
    /// Number of its first byte, or of its SYN.
    pub sequence: u32,
    /// Number of the byte that is expected next, if [`Flags::ACK`].
    pub acknowledged: u32,
    /// What it is.
    pub flags: Flags,
    /// Bytes beyond `acknowledged` that there is room for, before scaling.
    pub window: u16,
    /// Most bytes of a segment, if it says so.
    pub most: Option<u16>,
    /// By how many bits windows are shifted, if it says so.
    pub scale: Option<u8>,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Flags of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more follows.
    pub const FIN: Self = Self(1);
    /// The beginning.
    pub const SYN: Self = Self(2);
    /// There is no such connection.
    pub const RST: Self = Self(4);
    /// Something is acknowledged.
    pub const ACK: Self = Self(16);

    /// Whether all of these are among them.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl<'a> Segment<'a> {
    /// Parses what an IP packet carries. Its checksum is not looked at: no wire lies between.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = usize::from(*bytes.get(12)? >> 4) * 4;
        let mut options = bytes.get(20..header)?;
        let (mut most, mut scale) = (None, None);
        while let Some(&kind) = options.first().filter(|kind| **kind != 0) {
            if kind == 1 {
                options = &options[1..];
                continue;
            }
            let Some(&length) = options.get(1) else { break };
            let Some(option) = options.get(2..usize::from(length)) else { break };
            match (kind, option) {
                (2, [high, low]) => most = Some(u16::from_be_bytes([*high, *low])),
                (3, [shift]) => scale = Some((*shift).min(14)),
                _ => {}
            }
            options = &options[usize::from(length)..];
        }
        Some(Self {
            from: u16_at(bytes, 0)?,
            to: u16_at(bytes, 2)?,
            sequence: u32_at(bytes, 4)?,
            acknowledged: u32_at(bytes, 8)?,
            flags: Flags(*bytes.get(13)?),
            window: u16_at(bytes, 14)?,
            most,
            scale,
            payload: bytes.get(header..)?,
        })
    }

    /// How many numbers it takes.
    pub fn length(&self) -> u32 {
        let marks = u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN));
        self.payload.len() as u32 + marks
    }
}

/// A UDP datagram.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Port that it is from.
    pub from: u16,
    /// Port that it is for.
    pub to: u16,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Parses what an IP packet carries.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let length = usize::from(u16_at(bytes, 4)?);
        Some(Self { from: u16_at(bytes, 0)?, to: u16_at(bytes, 2)?, payload: bytes.get(8..length)? })
    }
}

/// Headers of a packet to a guest, put together in front of its payload.
#[derive(Debug, Clone)]
pub struct Headers {
    bytes: Vec<u8>,
    /// Where the protocol's own begin.
    own: usize,
    pseudo: u64,
}

impl Headers {
    /// Of an Ethernet frame and an IP packet with `length` bytes of this protocol.
    pub fn ip(ethernet: (Mac, Mac), from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Self {
        let (source, destination) = ethernet;
        let mut bytes = Vec::with_capacity(96);
        bytes.extend(destination);
        bytes.extend(source);
        let mut pseudo = u64::from(protocol) + length as u64;
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes.extend(IPV4.to_be_bytes());
                bytes.extend([0x45, 0]);
                bytes.extend((20 + length as u16).to_be_bytes());
                // Never in fragments, so it needs no number.
                bytes.extend([0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
                let header = fold(sum(0, &bytes[ETHERNET..]));
                bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&header.to_be_bytes());
                pseudo = sum(pseudo, &bytes[ETHERNET + 12..]);
            }
            (from, to) => {
                bytes.extend(IPV6.to_be_bytes());
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend((length as u16).to_be_bytes());
                // Neighbours are asked with the most hops there are, so that nobody asks from afar (RFC 4861).
                bytes.extend([protocol, if protocol == ICMP6 { 255 } else { HOPS }]);
                bytes.extend(v6(from).octets());
                bytes.extend(v6(to).octets());
                pseudo = sum(pseudo, &bytes[ETHERNET + 8..]);
            }
        }
        Self { own: bytes.len(), bytes, pseudo }
    }

    /// Of a UDP datagram with these bytes.
    pub fn udp(ethernet: (Mac, Mac), from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Self {
        let length = 8 + payload.len();
        let mut headers = Self::ip(ethernet, from.ip(), to.ip(), UDP, length);
        headers.push(&from.port().to_be_bytes());
        headers.push(&to.port().to_be_bytes());
        headers.push(&(length as u16).to_be_bytes());
        headers.push(&[0, 0]);
        let checksum = match headers.checksum(payload, &[]) {
            // 0 would be none.
            0 => 0xffff,
            checksum => checksum,
        };
        headers.set_checksum(6, checksum);
        headers
    }

    /// Adds bytes of the protocol's own header.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The checksum of the protocol's header and these bytes, with that of the addresses (TCP, UDP, ICMP for IPv6). The first part
    /// must be of even length where there is another.
    pub fn checksum(&self, first: &[u8], second: &[u8]) -> u16 {
        let total = sum(self.pseudo, &self.bytes[self.own..]);
        let total = sum(total, first);
        // A part of odd length stands as if a byte of zero followed; swapping bytes sets the next one right.
        if first.len().is_multiple_of(2) {
            fold(sum(total, second))
        } else {
            fold(total + u64::from(sum16(second).swap_bytes()))
        }
    }

    /// Puts a checksum into the protocol's header.
    pub fn set_checksum(&mut self, at: usize, checksum: u16) {
        let at = self.own + at;
        self.bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Adds up bytes as the Internet's checksums do (RFC 1071), not folded.
pub fn sum(mut total: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    total += words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum::<u64>();
    let (pairs, last) = rest.as_chunks::<2>();
    total += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
    total + last.first().map_or(0, |last| u64::from(*last) << 8)
}

/// The same, folded.
fn sum16(bytes: &[u8]) -> u16 {
    !fold(sum(0, bytes))
}

/// The checksum of such a sum.
pub fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

/// Who has an IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Whether it asks, or answers.
    pub asks: bool,
    /// Ethernet address of the sender.
    pub from: Mac,
    /// IPv4 address of the sender.
    pub from_ip: Ipv4Addr,
    /// The address in question.
    pub to_ip: Ipv4Addr,
}

impl Arp {
    /// Parses what an Ethernet frame says.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[0, 1, 8, 0, 6, 4])?;
        let asks = match u16_at(rest, 0)? {
            1 => true,
            2 => false,
            _ => return None,
        };
        let address = |at: usize| Some(Ipv4Addr::from(*rest.get(at..)?.first_chunk::<4>()?));
        Some(Self { asks, from: *rest.get(2..)?.first_chunk()?, from_ip: address(8)?, to_ip: address(18)? })
    }

    /// The frame that answers it: that `mac` has the address.
    pub fn answer(&self, mac: Mac) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(42);
        bytes.extend(self.from);
        bytes.extend(mac);
        bytes.extend(ARP.to_be_bytes());
        bytes.extend([0, 1, 8, 0, 6, 4, 0, 2]);
        bytes.extend(mac);
        bytes.extend(self.to_ip.octets());
        bytes.extend(self.from);
        bytes.extend(self.from_ip.octets());
        bytes
    }
}

/// Who has an IPv6 address (RFC 4861, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// The address in question.
    pub target: Ipv6Addr,
}

impl Solicitation {
    const KIND: u8 = 135;
    const ADVERTISEMENT: u8 = 136;

    /// Parses what a packet of [`ICMP6`] says, which must be from nearby.
    pub fn parse(packet: &Packet<'_>) -> Option<Self> {
        let rest = packet.payload.strip_prefix(&[Self::KIND, 0]).filter(|_| packet.hops == 255)?;
        let target = Ipv6Addr::from(*rest.get(6..)?.first_chunk::<16>()?);
        (packet.protocol == ICMP6 && !target.is_multicast()).then_some(Self { target })
    }

    /// The frame that answers it: that the first of these has the address, as a router or not.
    pub fn answer(&self, ethernet: (Mac, Mac), to: IpAddr, is_router: bool) -> Headers {
        const ROUTER: u8 = 0x80;
        // It was asked for, and holds in place of what was known.
        const ASKED_FOR: u8 = 0x60;
        let mut headers = Headers::ip(ethernet, self.target.into(), to, ICMP6, 32);
        headers.push(&[Self::ADVERTISEMENT, 0, 0, 0]);
        headers.push(&[ASKED_FOR | if is_router { ROUTER } else { 0 }, 0, 0, 0]);
        headers.push(&self.target.octets());
        headers.push(&[2, 1]);
        headers.push(&ethernet.0);
        let checksum = headers.checksum(&[], &[]);
        headers.set_checksum(2, checksum);
        headers
    }
}

#[cfg(test)]
#[path = "wire_test.rs"]
mod tests;
