//! What a kernel file says of itself: which parts of it go where, and how it is entered.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{LoadError, Protocol, bzimage, elf};
use crate::layout::{AddressRange, HIGH_MEMORY};

/// A part of a file, and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it is in the file, in bytes.
    pub offset: u64,
    /// Bytes of it in the file.
    pub file_size: u64,
    /// Where it goes in the guest, and how much of memory it takes: what is not in the file is zero.
    pub range: AddressRange,
}

/// A kernel file that has been looked at, and found to be whole and in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its parts, by address; no two overlap, and all are above 1 MiB.
    pub segments: Vec<Segment>,
    /// The ways to enter it with their addresses, the one to prefer first.
    pub entries: Vec<(Protocol, u64)>,
    /// The setup header of a bzImage, from offset 0x1f1 of the file on.
    pub(super) setup_header: Vec<u8>,
}

impl Image {
    /// Looks at `file`. Reads its headers and notes only, at most some 70 KiB.
    pub fn read(file: &File) -> Result<Self, LoadError> {
        let size = regular_size(file)?;
        let mut start = [0; HEAD];
        let head = &mut start[..size.min(HEAD as u64) as usize];
        file.read_exact_at(head, 0)?;

        let image = if head.starts_with(elf::MAGIC) {
            elf::parse(file, size, head)?
        } else if bzimage::is_one(head) {
            bzimage::parse(size, head)?
        } else {
            return Err(refusal(head));
        };
        image.check()?;
        Ok(image)
    }

    /// From the first byte to the last that the kernel takes in memory.
    pub fn range(&self) -> AddressRange {
        let start = self.segments.iter().map(|segment| segment.range.start).min().unwrap_or(0);
        let end = self.segments.iter().map(|segment| segment.range.end()).max().unwrap_or(0);
        AddressRange::new(start, end - start)
    }

    /// What must hold for any kernel, whatever its format.
    fn check(&self) -> Result<(), LoadError> {
        for segment in &self.segments {
            if segment.range.start < HIGH_MEMORY.0 {
                let AddressRange { start, .. } = segment.range;
                let there = "boot structures (below 1 MiB)";
                return Err(LoadError::Place { start, end: segment.range.end(), there });
            }
        }
        if self.segments.windows(2).any(|pair| pair[0].range.end() > pair[1].range.start) {
            return Err(LoadError::Malformed("two of its segments overlap"));
        }
        let inside = |&(_, address): &(Protocol, u64)| {
            self.segments.iter().any(|segment| segment.range.contains(address))
        };
        if !self.entries.iter().all(inside) {
            return Err(LoadError::Malformed("its entry point is outside its segments"));
        }
        Ok(())
    }
}

/// Bytes of a file that are read to see what it is: the setup header of a bzImage ends before.
const HEAD: usize = 1024;

/// The size of a file that can be mapped.
pub(super) fn regular_size(file: &File) -> Result<u64, LoadError> {
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok(metadata.len()) } else { Err(LoadError::NotAFile) }
}

/// What a file that is no kernel of ours might be instead.
fn refusal(head: &[u8]) -> LoadError {
    let starts = |magic: &[u8]| head.starts_with(magic);
    let at_0x38 = head.get(0x38..0x3c);
    if head.is_empty() {
        LoadError::NotAKernel("it is empty")
    } else if at_0x38 == Some(b"ARMd") {
        LoadError::Architecture("an arm64 Image".into())
    } else if at_0x38 == Some(b"RSC\x05") {
        LoadError::Architecture("a RISC-V Image".into())
    } else if starts(b"\x1f\x8b") || starts(b"\xfd7zXZ") || starts(b"\x28\xb5\x2f\xfd") || starts(b"BZh") {
        LoadError::NotAKernel("it is a compressed file, which has to be decompressed first")
    } else {
        LoadError::NotAKernel("it is neither an ELF file nor a bzImage")
    }
}

/// Little-endian numbers out of a header. The offsets are constants inside a buffer whose length has been checked.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

/// As [`u16_at`].
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) | u32::from(u16_at(bytes, offset + 2)) << 16
}

/// As [`u16_at`].
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}
