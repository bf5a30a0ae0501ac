//! The networks that a card is connected to at once: a guest has an address in each, and a frame goes to the network that its sender's
//! address is of.

use std::net::Ipv4Addr;

use super::backend::Backend;
use super::header::HEADER_SIZE;
use crate::device::Memory;
use crate::queue::Buffers;

/// Where an Ethernet frame says what is in it, and where ARP (RFC 826) and IPv4 (RFC 791) say who sends it.
const KIND: usize = 12;
const ARP_SENDER: usize = 28;
const IPV4_SENDER: usize = 26;
/// Bytes of a frame that this is seen in.
const FRONT: usize = ARP_SENDER + 4;

/// A connection to a network.
pub struct Cable {
    /// Its number.
    pub place: u32,
    /// The guest's address there; it has whatever is no other's when absent.
    pub address: Option<Ipv4Addr>,
    pub backend: Backend,
}

/// The one of them that takes the frame in these buffers, which has its header in front.
pub fn pick<'a>(cables: &'a mut [Cable], memory: &Memory, buffers: &Buffers) -> Option<&'a mut Backend> {
    // Most cards have one, and most of these are for everything.
    let index = match cables {
        [Cable { address: None, .. }] => Some(0),
        _ => {
            let mut front = [0; HEADER_SIZE + FRONT];
            buffers.clone().read(memory, &mut front);
            let sender = sender(&front[HEADER_SIZE..]);
            let of = |wanted: Option<Ipv4Addr>| cables.iter().position(|cable| cable.address == wanted);
            sender.and_then(|sender| of(Some(sender))).or_else(|| of(None))
        }
    };
    Some(&mut cables.get_mut(index?)?.backend)
}

/// The IPv4 address that a frame says it is from.
fn sender(frame: &[u8]) -> Option<Ipv4Addr> {
    let at = match frame.get(KIND..KIND + 2)? {
        [0x08, 0x00] => IPV4_SENDER,
        [0x08, 0x06] => ARP_SENDER,
        _ => return None,
    };
    frame.get(at..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}
