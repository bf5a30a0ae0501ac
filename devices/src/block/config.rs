//! What a disk shows of itself: features and configuration space (VIRTIO 1.3, 5.2.3 and 5.2.4).
//!
//! A guest pays for every field it reads with a trapped access, so a read-only disk offers only what it needs.

use virtio_bindings::virtio_blk::*;

/// Bytes of a sector: the unit of the protocol, whatever the disk (5.2.2).
pub const SECTOR_SIZE: u64 = 512;
/// Number of requests a guest may have under way.
pub const QUEUE_SIZE: u16 = 128;
/// Most segments of data in a request: a chain is no longer than its queue, with a header and a status (2.7.5.3.1).
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Physical blocks have 2^3 sectors.
const PHYSICAL_BLOCK_EXP: u8 = 3;
/// Sectors of a physical block.
const PHYSICAL_BLOCK: u32 = 1 << PHYSICAL_BLOCK_EXP;
/// Most sectors of one range to discard or zero: 1 GiB.
pub const MAX_RANGE_SECTORS: u32 = 1 << 21;
/// Most ranges in one request.
pub const MAX_RANGES: u32 = 16;

pub(super) fn features(read_only: bool) -> u64 {
    let bits: &[u32] = match read_only {
        true => &[VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX],
        false => &[
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_BLK_SIZE,
            VIRTIO_BLK_F_FLUSH,
            VIRTIO_BLK_F_TOPOLOGY,
            VIRTIO_BLK_F_DISCARD,
            VIRTIO_BLK_F_WRITE_ZEROES,
        ],
    };
    bits.iter().fold(0, |features, bit| features | 1 << bit)
}

/// `struct virtio_blk_config`, up to the fields for zones.
pub(super) fn space(capacity: u64) -> [u8; 60] {
    let mut space = [0; 60];
    let mut put = |offset: usize, bytes: &[u8]| space[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &(capacity / SECTOR_SIZE).to_le_bytes());
    put(12, &SEG_MAX.to_le_bytes());
    put(20, &(SECTOR_SIZE as u32).to_le_bytes());
    put(24, &[PHYSICAL_BLOCK_EXP]);
    put(26, &(PHYSICAL_BLOCK as u16).to_le_bytes()); // minimum of efficient I/O
    put(36, &MAX_RANGE_SECTORS.to_le_bytes()); // discard: sectors, ranges, alignment
    put(40, &MAX_RANGES.to_le_bytes());
    put(44, &PHYSICAL_BLOCK.to_le_bytes());
    put(48, &MAX_RANGE_SECTORS.to_le_bytes()); // write zeroes: sectors, ranges, may unmap
    put(52, &MAX_RANGES.to_le_bytes());
    put(56, &[1]);
    space
}
