//! The composite read-only layer disk: every layer of every image a VM uses, on one disk that grows.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::sync::{PoisonError, RwLock};

use super::Backend;
use super::file::read_file;
use crate::device::Memory;
use crate::queue::Buffers;

/// Layers begin at multiples of this many bytes: an EROFS block.
pub const LAYER_ALIGNMENT: u64 = 4096;

static PADDING: [u8; LAYER_ALIGNMENT as usize] = [0; LAYER_ALIGNMENT as usize];

/// The composite read-only layer disk: files one after the other, each padded with zeroes to 4 KiB.
///
/// Layers are only ever added, at the end, so a reader never sees one move.
pub struct Layers {
    layers: RwLock<Vec<Layer>>,
}

struct Layer {
    file: File,
    /// Bytes of the file; its padding follows.
    size: u64,
    extent: Extent,
}

/// Where a layer is on the layer disk, in bytes: both multiples of 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// Its length with padding.
    pub length: u64,
}

impl Extent {
    fn end(self) -> u64 {
        self.offset + self.length
    }
}

fn end(layers: &[Layer]) -> u64 {
    layers.last().map_or(0, |layer| layer.extent.end())
}

impl Layers {
    /// A disk of these files, in order; there may be none yet.
    ///
    /// # Errors
    /// When a file's size cannot be found out.
    pub fn new(files: Vec<File>) -> io::Result<Self> {
        let disk = Self { layers: RwLock::default() };
        files.into_iter().try_for_each(|file| disk.append(file).map(drop))?;
        Ok(disk)
    }

    /// Appends a layer and says where it is. The guest sees it after [`Block::capacity_changed`](crate::block::Block::capacity_changed).
    ///
    /// # Errors
    /// When the file's size cannot be found out, or is more than fits on a disk.
    pub fn append(&self, mut file: File) -> io::Result<Extent> {
        let size = file.seek(SeekFrom::End(0))?;
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let offset = end(&layers);
        let length = size.checked_next_multiple_of(LAYER_ALIGNMENT);
        let length = length.filter(|length| offset.checked_add(*length).is_some());
        let extent = Extent { offset, length: length.ok_or(io::ErrorKind::FileTooLarge)? };
        layers.push(Layer { file, size, extent });
        Ok(extent)
    }

    /// Where each layer is.
    pub fn extents(&self) -> Vec<Extent> {
        let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
        layers.iter().map(|layer| layer.extent).collect()
    }
}

impl Layer {
    /// Reads from inside the layer, from its file or its padding, at most to its end; returns the number of bytes.
    fn read(&self, offset: u64, memory: &Memory, buffers: &mut Buffers) -> io::Result<u64> {
        let (start, end) =
            if offset < self.size { (offset, self.size) } else { (offset, self.extent.length) };
        let length = (end - start).min(buffers.len() as u64);
        let rest = buffers.split_off(length as usize);
        if offset < self.size {
            read_file(&self.file, offset, memory, buffers)?;
        } else {
            buffers.write(memory, &PADDING[..length as usize]);
        }
        *buffers = rest;
        Ok(length)
    }
}

fn read_only() -> io::Result<()> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Backend for Layers {
    fn capacity(&self) -> u64 {
        end(&self.layers.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read(&self, mut offset: u64, memory: &Memory, buffers: &mut Buffers) -> io::Result<()> {
        let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
        let mut at = layers.partition_point(|layer| layer.extent.end() <= offset);
        while !buffers.is_empty() {
            let layer = layers.get(at).ok_or(io::ErrorKind::UnexpectedEof)?;
            offset += layer.read(offset - layer.extent.offset, memory, buffers)?;
            at += usize::from(offset == layer.extent.end());
        }
        Ok(())
    }

    fn write(&self, _offset: u64, _memory: &Memory, _buffers: &mut Buffers) -> io::Result<()> {
        read_only()
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _length: u64) -> io::Result<()> {
        read_only()
    }

    fn write_zeroes(&self, _offset: u64, _length: u64, _unmap: bool) -> io::Result<()> {
        read_only()
    }
}

#[cfg(test)]
#[path = "layers_test.rs"]
mod tests;
