//! What the driver and the device say of a frame (VIRTIO 1.3, section 5.1.6).

use virtio_bindings::virtio_net::{
    VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE,
};

/// Bytes of `struct virtio_net_hdr`, which stands in front of each frame.
pub const HEADER_SIZE: usize = 12;

/// Where a checksum is to be completed: the sum of everything from `start` on, put at `at`, where what it begins with is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// First byte of the frame that it covers.
    pub start: usize,
    /// Where in the frame it stands.
    pub at: usize,
}

/// What the driver says of a frame that it sends. `Err` when it asks for what was not offered.
pub fn parse(header: [u8; HEADER_SIZE]) -> Result<Option<Partial>, Unoffered> {
    let half = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    if u32::from(header[1]) != VIRTIO_NET_HDR_GSO_NONE {
        return Err(Unoffered);
    }
    let partial = Partial { start: half(6), at: half(6) + half(8) };
    Ok((u32::from(header[0]) & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0).then_some(partial))
}

/// The driver wants what it was not offered: a frame cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unoffered;

/// What the device says of a frame that takes so many of the driver's buffers: its checksums need not be looked at.
pub fn received(buffers: u16) -> [u8; HEADER_SIZE] {
    let mut header = [0; HEADER_SIZE];
    header[0] = VIRTIO_NET_HDR_F_DATA_VALID as u8;
    header[10..].copy_from_slice(&buffers.to_le_bytes());
    header
}

/// The sum of the Internet's checksums, not folded (RFC 1071); `odd` is whether an odd number of bytes came before.
pub fn sum(mut total: u64, odd: bool, bytes: &[u8]) -> u64 {
    let mut bytes = bytes;
    if odd && let Some((first, rest)) = bytes.split_first() {
        total += u64::from(*first);
        bytes = rest;
    }
    let (words, rest) = bytes.as_chunks::<4>();
    // Words of four bytes: their halves add up to the same.
    total += words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum::<u64>();
    let (pairs, last) = rest.as_chunks::<2>();
    total += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
    total + last.first().map_or(0, |last| u64::from(*last) << 8)
}

/// The checksum of such a sum.
pub fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}
