//! What a disk's bytes are kept in.

use std::fs::File;
use std::io;

/// Where a disk's bytes are.
pub trait Backend: Send + Sync {
    /// Size in bytes; the guest sees whole sectors of 512.
    fn capacity(&self) -> u64;
    /// Whether writes are refused.
    fn read_only(&self) -> bool;
}

/// A raw file or a block device.
pub struct FileDisk {}

impl FileDisk {
    /// A disk over a file or block device. A tail of less than 512 bytes is not seen.
    ///
    /// # Errors
    /// When its size cannot be found out.
    pub fn new(_file: File, _read_only: bool) -> io::Result<Self> {
        unimplemented!()
    }
}

impl Backend for FileDisk {
    fn capacity(&self) -> u64 {
        unimplemented!()
    }
    fn read_only(&self) -> bool {
        unimplemented!()
    }
}

/// The composite read-only layer disk: files one after the other, each padded with zeroes to 4 KiB.
pub struct Layers {}

/// Where a layer is on the layer disk, in bytes: both multiples of 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// Its length with padding.
    pub length: u64,
}

impl Layers {
    /// A disk of these files, in order; there may be none yet.
    ///
    /// # Errors
    /// When a file's size cannot be found out.
    pub fn new(_files: Vec<File>) -> io::Result<Self> {
        unimplemented!()
    }

    /// Appends a layer and says where it is. The guest sees it after [`Block::capacity_changed`](super::Block::capacity_changed).
    ///
    /// # Errors
    /// When the file's size cannot be found out.
    pub fn append(&self, _file: File) -> io::Result<Extent> {
        unimplemented!()
    }

    /// Where each layer is.
    pub fn extents(&self) -> Vec<Extent> {
        unimplemented!()
    }
}

impl Backend for Layers {
    fn capacity(&self) -> u64 {
        unimplemented!()
    }
    fn read_only(&self) -> bool {
        true
    }
}
