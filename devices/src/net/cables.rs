//! The networks that a card is connected to at once: a guest has an address in each, and a frame goes to the network that its sender's
//! address is of.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::header::HEADER_SIZE;
use crate::device::Memory;
use crate::queue::Buffers;

/// Where an Ethernet frame says what is in it, and where ARP (RFC 826), IPv4 (RFC 791) and IPv6 (RFC 8200) say who sends it.
const KIND: usize = 12;
const ARP_SENDER: usize = 28;
const IPV4_SENDER: usize = 26;
const IPV6_SENDER: usize = 22;
/// Bytes of a frame that this is seen in.
const FRONT: usize = IPV6_SENDER + 16;

/// How long frames for a network that takes none are kept in the card, where others are behind them that are for other networks.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// A connection to a network.
pub struct Cable {
    /// Its number.
    pub place: u32,
    /// The guest's addresses there; it has whatever is no other's when there is none.
    pub addresses: Vec<IpAddr>,
    pub backend: Backend,
    /// Since when its network has taken nothing, as far as that was looked at.
    stuck: Option<Instant>,
}

/// Whether a frame can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It can.
    Yes,
    /// Not yet.
    Later,
    /// Whoever waits for it waits in vain.
    Never,
}

impl Cable {
    /// One at this place.
    pub fn new(place: u32, addresses: Vec<IpAddr>, backend: Backend) -> Self {
        Self { place, addresses, backend, stuck: None }
    }

    /// Whether it takes a frame; what is left of the last goes first. A network that is the only one is waited for however long it
    /// takes, as there is nobody who would have to wait as well.
    pub fn room(&mut self, is_only: bool, now: Instant) -> Room {
        if self.backend.has_room() {
            self.stuck = None;
            return Room::Yes;
        }
        let since = *self.stuck.get_or_insert(now);
        let in_vain = !is_only && now.saturating_duration_since(since) >= PATIENCE;
        if in_vain || self.backend.is_over() { Room::Never } else { Room::Later }
    }

    /// When it is waited for in vain, if it is not yet.
    pub fn patience_ends(&self, now: Instant) -> Option<Instant> {
        self.stuck.map(|since| since + PATIENCE).filter(|end| *end > now)
    }
}

/// The one of them that takes the frame in these buffers, which has its header in front.
pub fn pick<'a>(cables: &'a mut [Cable], memory: &Memory, buffers: &Buffers) -> Option<&'a mut Cable> {
    // Most cards have one, and most of these are for everything.
    let index = match cables {
        [Cable { addresses, .. }] if addresses.is_empty() => Some(0),
        _ => {
            let mut front = [0; HEADER_SIZE + FRONT];
            buffers.clone().read(memory, &mut front);
            let sender = sender(&front[HEADER_SIZE..]);
            let its = |sender| cables.iter().position(|cable| cable.addresses.contains(&sender));
            let rest = || cables.iter().position(|cable| cable.addresses.is_empty());
            sender.and_then(its).or_else(rest)
        }
    };
    cables.get_mut(index?)
}

/// The address that a frame says it is from.
fn sender(frame: &[u8]) -> Option<IpAddr> {
    let at = match frame.get(KIND..KIND + 2)? {
        [0x08, 0x00] => IPV4_SENDER,
        [0x08, 0x06] => ARP_SENDER,
        [0x86, 0xdd] => {
            return frame.get(IPV6_SENDER..)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets));
        }
        _ => return None,
    };
    frame.get(at..)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets))
}
