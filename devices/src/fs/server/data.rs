//! What is in files: reading, writing, holes, and bringing it to the disk.

use std::os::fd::AsFd;

use rustix::fs::{
    FallocateFlags, FileType, OFlags, SeekFrom, copy_file_range, fallocate, fdatasync, fsync, seek, syncfs,
};
use rustix::io::Errno;

use super::super::wire::Answer;
use super::{Request, Result, Share};
use crate::device::Memory;
use crate::guest_io;
use crate::queue::Buffers;

/// Most bytes that one request copies: the guest asks again for what is left.
const MAX_COPY: u64 = 64 << 20;

/// Flags of a write (`FUSE_WRITE_*`).
const WRITE_CACHE: u32 = 1;
const WRITE_DROP_SET_ID: u32 = 1 << 2;

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

impl Share {
    /// Reads into `room`; gives the number of bytes.
    pub(super) fn read(
        &self,
        request: &mut Request<'_>,
        memory: &Memory,
        room: &mut Buffers,
    ) -> Result<usize> {
        let arguments = &mut request.arguments;
        let (handle, offset, size) = (arguments.u64()?, arguments.u64()?, arguments.u32()?);
        let handle = self.handle(handle)?;
        let _ = room.split_off(size as usize);
        let mut done = 0;
        while !room.is_empty() {
            let at = offset.checked_add(done as u64).ok_or(Errno::INVAL)?;
            match guest_io::read_at(handle.file.as_fd(), at, memory, room).map_err(errno) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Writes `data`.
    pub(super) fn write(
        &self,
        request: &mut Request<'_>,
        memory: &Memory,
        data: &mut Buffers,
    ) -> Result<Answer> {
        let arguments = &mut request.arguments;
        let (handle, offset, size) = (arguments.u64()?, arguments.u64()?, arguments.u32()?);
        let (write_flags, _, flags) = (arguments.u32()?, arguments.u64()?, arguments.u32()?);
        let handle = self.handle(handle)?;
        if data.len() < size as usize {
            return Err(Errno::INVAL);
        }
        let _ = data.split_off(size as usize);
        if write_flags & WRITE_DROP_SET_ID != 0 {
            // Before: what is new is never run with rights that were given to the old.
            self.drop_set_id(&self.changeable(request.header.node)?)?;
        }
        // The host may have appended too: its end counts, not what the guest thinks is the end. But not for pages of a mapping.
        let appends =
            OFlags::from_bits_retain(flags).contains(OFlags::APPEND) && write_flags & WRITE_CACHE == 0;
        let mut done = 0u32;
        while !data.is_empty() {
            let at = offset.checked_add(done.into()).ok_or(Errno::INVAL)?;
            let written = if appends {
                guest_io::append(handle.file.as_fd(), memory, data)
            } else {
                guest_io::write_at(handle.file.as_fd(), at, memory, data)
            };
            match written.map_err(errno) {
                Ok(0) => break,
                Ok(count) => done += count as u32,
                Err(Errno::INTR) => {}
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(Answer::default().u32(done).u32(0))
    }

    pub(super) fn close(&self, request: &mut Request<'_>) -> Result<Answer> {
        let handle = self.handles().remove(&request.arguments.u64()?);
        // Closed here, and not while everybody waits for the table.
        drop(handle);
        Ok(Answer::default())
    }

    pub(super) fn synchronize(&self, request: &mut Request<'_>) -> Result<Answer> {
        let (handle, flags) = (request.arguments.u64()?, request.arguments.u32()?);
        let handle = self.handle(handle)?;
        if flags & 1 != 0 {
            fdatasync(&handle.file)?
        } else {
            fsync(&handle.file)?
        }
        Ok(Answer::default())
    }

    /// Brings everything to the disk.
    pub(super) fn synchronize_all(&self) -> Result<Answer> {
        let roots = (0..self.roots.len()).filter(|root| !self.policy(*root).read_only);
        for root in roots {
            let id = self.nodes().root(root).ok_or(Errno::NOENT)?;
            syncfs(self.open_for_use(&self.node(id)?, OFlags::RDONLY)?)?;
        }
        Ok(Answer::default())
    }

    pub(super) fn allocate(&self, request: &mut Request<'_>) -> Result<Answer> {
        let arguments = &mut request.arguments;
        let handle = self.handle(arguments.u64()?)?;
        let (offset, length, mode) = (arguments.u64()?, arguments.u64()?, arguments.u32()?);
        let mode = FallocateFlags::from_bits_retain(mode);
        let known = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE;
        if !known.contains(mode) {
            return Err(Errno::OPNOTSUPP);
        }
        self.drop_set_id(&self.changeable(request.header.node)?)?;
        fallocate(&handle.file, mode, offset, length)?;
        Ok(Answer::default())
    }

    pub(super) fn seek(&self, request: &mut Request<'_>) -> Result<Answer> {
        const DATA: u32 = 3;
        const HOLE: u32 = 4;
        let arguments = &mut request.arguments;
        let handle = self.handle(arguments.u64()?)?;
        let (offset, whence) = (arguments.u64()?, arguments.u32()?);
        let offset = i64::try_from(offset).map_err(|_| Errno::NXIO)?.cast_unsigned();
        // The position itself is nobody's: reads and writes say where.
        let place = match whence {
            DATA => SeekFrom::Data(offset),
            HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        Ok(Answer::default().u64(seek(&handle.file, place)?))
    }

    pub(super) fn copy(&self, request: &mut Request<'_>) -> Result<Answer> {
        let arguments = &mut request.arguments;
        let (from, mut from_offset) = (self.handle(arguments.u64()?)?, arguments.u64()?);
        let target = self.changeable(arguments.u64()?)?;
        let (to, mut to_offset) = (self.handle(arguments.u64()?)?, arguments.u64()?);
        let (length, flags) = (arguments.u64()?, arguments.u64()?);
        if flags != 0 || target.kind != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        // The guest does not say who asks, as it does of a write.
        self.drop_set_id(&target)?;
        let length = length.min(MAX_COPY) as usize;
        let count =
            copy_file_range(&from.file, Some(&mut from_offset), &to.file, Some(&mut to_offset), length)?;
        Ok(Answer::default().u32(count as u32).u32(0))
    }
}
