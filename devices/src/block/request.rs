//! A descriptor chain becomes a request (VIRTIO 1.3, 5.2.6).

use virtio_bindings::virtio_blk::*;

use super::config::{MAX_RANGE_SECTORS, MAX_RANGES, SECTOR_SIZE};
use crate::device::Memory;
use crate::queue::Buffers;

/// What a guest asks of its disk. Offsets and lengths in bytes, multiples of 512, not yet held against its capacity.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Read into these buffers.
    Read {
        /// Where from.
        offset: u64,
        /// Where to.
        into: Buffers,
    },
    /// Write these buffers.
    Write {
        /// Where to.
        offset: u64,
        /// Where from.
        from: Buffers,
    },
    /// Make everything written durable.
    Flush,
    /// Write the serial number.
    GetId {
        /// Where to.
        into: Buffers,
    },
    /// Give ranges back.
    Discard(Vec<Range>),
    /// Make ranges zeroes.
    WriteZeroes(Vec<Range>),
}

/// A range to discard or zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its space may be given back.
    pub unmap: bool,
}

/// The last byte of every request, as the guest reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = VIRTIO_BLK_S_OK as u8,
    /// Failed, or wrong.
    IoError = VIRTIO_BLK_S_IOERR as u8,
    /// Not something this disk does.
    Unsupported = VIRTIO_BLK_S_UNSUPP as u8,
}

/// The request in a chain, or the status that answers it. `writable` is without the last byte, the status's.
///
/// # Errors
/// The status that says what is wrong with the request.
pub fn parse(mut readable: Buffers, writable: Buffers, memory: &Memory) -> Result<Request, Status> {
    let header: [u8; 16] = readable.read_array(memory).map_err(|_| Status::IoError)?;
    let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = header;
    let sector = u64::from_le_bytes(sector);
    let offset = sector.checked_mul(SECTOR_SIZE).ok_or(Status::IoError);
    let whole_sectors = |buffers: Buffers| match (buffers.len() as u64).is_multiple_of(SECTOR_SIZE) {
        true => Ok(buffers),
        false => Err(Status::IoError),
    };
    match u32::from_le_bytes([t0, t1, t2, t3]) {
        VIRTIO_BLK_T_IN => Ok(Request::Read { offset: offset?, into: whole_sectors(writable)? }),
        VIRTIO_BLK_T_OUT => Ok(Request::Write { offset: offset?, from: whole_sectors(readable)? }),
        VIRTIO_BLK_T_FLUSH => Ok(Request::Flush),
        VIRTIO_BLK_T_GET_ID => Ok(Request::GetId { into: writable }),
        VIRTIO_BLK_T_DISCARD => {
            let ranges = ranges(readable, memory)?;
            // Only zeroing has the choice (5.2.6.2).
            if ranges.iter().any(|range| range.unmap) {
                Err(Status::Unsupported)
            } else {
                Ok(Request::Discard(ranges))
            }
        }
        VIRTIO_BLK_T_WRITE_ZEROES => ranges(readable, memory).map(Request::WriteZeroes),
        _ => Err(Status::Unsupported),
    }
}

/// The ranges of a discard or zeroing.
fn ranges(mut readable: Buffers, memory: &Memory) -> Result<Vec<Range>, Status> {
    const SIZE: usize = 16;
    let count = readable.len() / SIZE;
    if count == 0 || count > MAX_RANGES as usize || !readable.len().is_multiple_of(SIZE) {
        return Err(Status::IoError);
    }
    (0..count)
        .map(|_| {
            let bytes: [u8; SIZE] = readable.read_array(memory).map_err(|_| Status::IoError)?;
            let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = bytes;
            let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
            let flags = u32::from_le_bytes(flags);
            if flags & !VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0 {
                return Err(Status::Unsupported);
            }
            if sectors > MAX_RANGE_SECTORS {
                return Err(Status::IoError);
            }
            let offset = sector.checked_mul(SECTOR_SIZE).ok_or(Status::IoError)?;
            let unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0;
            Ok(Range { offset, length: u64::from(sectors) * SECTOR_SIZE, unmap })
        })
        .collect()
}

#[cfg(test)]
#[path = "request_test.rs"]
mod tests;
