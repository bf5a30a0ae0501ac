//! A disk in a raw file or a block device of the host.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::Backend;
use crate::block::config::SECTOR_SIZE;
use crate::device::Memory;
use crate::guest_io;
use crate::queue::Buffers;

/// Zeroes to write where the file system cannot make them: in the program's image, as no page of memory.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// A raw file or a block device.
pub struct FileDisk {
    file: File,
    capacity: u64,
    read_only: bool,
}

impl FileDisk {
    /// A disk over a file or block device. A tail of less than 512 bytes is not seen.
    ///
    /// # Errors
    /// When its size cannot be found out.
    pub fn new(mut file: File, read_only: bool) -> io::Result<Self> {
        // Not by metadata: a block device has no size there.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, capacity: size - size % SECTOR_SIZE, read_only })
    }

    /// fallocate, also of block devices; with `KEEP_SIZE` as the kernel wants it for holes.
    fn allocate(&self, flags: FallocateFlags, offset: u64, length: u64) -> io::Result<()> {
        let flags = flags | FallocateFlags::KEEP_SIZE;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.file, flags, offset, length))?)
    }

    fn writable(&self) -> io::Result<()> {
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

fn unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV))
}

/// Reads all of `buffers` from a file.
pub(super) fn read_file(file: &File, offset: u64, memory: &Memory, buffers: &mut Buffers) -> io::Result<()> {
    let mut offset = offset;
    while !buffers.is_empty() {
        match guest_io::read_at(file.as_fd(), offset, memory, buffers) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => offset += length as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Backend for FileDisk {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, memory: &Memory, buffers: &mut Buffers) -> io::Result<()> {
        read_file(&self.file, offset, memory, buffers)
    }

    fn write(&self, offset: u64, memory: &Memory, buffers: &mut Buffers) -> io::Result<()> {
        self.writable()?;
        let mut offset = offset;
        while !buffers.is_empty() {
            match guest_io::write_at(self.file.as_fd(), offset, memory, buffers) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => offset += length as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.writable()?;
        self.allocate(FallocateFlags::PUNCH_HOLE, offset, length).map_err(|error| match unsupported(&error) {
            true => io::ErrorKind::Unsupported.into(),
            false => error,
        })
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.writable()?;
        let ways: &[FallocateFlags] = match unmap {
            true => &[FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE],
            false => &[FallocateFlags::ZERO_RANGE],
        };
        for flags in ways {
            match self.allocate(*flags, offset, length) {
                Err(error) if unsupported(&error) => {}
                result => return result,
            }
        }
        let mut done = 0;
        while done < length {
            let part = (length - done).min(ZEROES.len() as u64);
            self.file.write_all_at(&ZEROES[..part as usize], offset + done)?;
            done += part;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "file_test.rs"]
mod tests;
