//! What a disk's bytes are kept in.

mod file;
mod layers;

use std::io;

use crate::device::Memory;
use crate::queue::Buffers;
pub use file::FileDisk;
pub use layers::{Extent, LAYER_ALIGNMENT, Layers};

/// Where a disk's bytes are. Offsets and lengths are in bytes, multiples of 512, and within the capacity: the device has
/// checked them. Called by the disk's worker, but for `capacity` and `read_only`.
pub trait Backend: Send + Sync {
    /// Size in bytes; the guest sees whole sectors of 512. May grow.
    fn capacity(&self) -> u64;

    /// Whether writes, discards and zeroes are refused, for good.
    fn read_only(&self) -> bool;

    /// Fills all of `buffers`.
    ///
    /// # Errors
    /// When it could not; what the buffers hold then is undefined.
    fn read(&self, offset: u64, memory: &Memory, buffers: &mut Buffers) -> io::Result<()>;

    /// Writes all of `buffers`.
    ///
    /// # Errors
    /// When it could not, or the disk is read-only.
    fn write(&self, offset: u64, memory: &Memory, buffers: &mut Buffers) -> io::Result<()>;

    /// Makes everything written durable.
    ///
    /// # Errors
    /// When that is not known to have worked.
    fn flush(&self) -> io::Result<()>;

    /// The guest has no more use for these bytes.
    ///
    /// # Errors
    /// `Unsupported` when they cannot be given back, or the disk is read-only.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes these bytes zeroes; with `unmap` their space may be given back.
    ///
    /// # Errors
    /// When it could not, or the disk is read-only.
    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()>;
}
