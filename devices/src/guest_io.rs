//! System calls that move data straight between a descriptor and guest memory. The only unsafe code of this crate.
//!
//! Each call moves what the kernel moves in one go, and consumes as much of the buffers.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, iovec, off_t};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap};

use crate::queue::Buffers;

/// Pieces of memory given to one system call; more are left for the next.
const MAX_PIECES: usize = 128;

/// Pieces of guest memory for one system call.
///
/// The type of memory is written out on purpose: with a dirty bitmap, what is read into these pieces would have to
/// be marked in it here.
struct Pieces<'m> {
    list: [iovec; MAX_PIECES],
    count: usize,
    memory: &'m GuestMemoryMmap<()>,
}

impl<'m> Pieces<'m> {
    /// At most `limit` bytes from the front of `buffers`.
    fn new(memory: &'m GuestMemoryMmap<()>, buffers: &Buffers, limit: usize) -> io::Result<Self> {
        let empty = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self { list: [empty; MAX_PIECES], count: 0, memory }.with(buffers, limit)
    }

    /// The same behind bytes of our own.
    fn behind(front: &'m [u8], memory: &'m GuestMemoryMmap<()>, buffers: &Buffers) -> io::Result<Self> {
        let front = iovec { iov_base: front.as_ptr().cast_mut().cast(), iov_len: front.len() };
        Self { list: [front; MAX_PIECES], count: 1, memory }.with(buffers, usize::MAX)
    }

    /// Adds at most `limit` bytes from the front of `buffers`.
    fn with(mut self, buffers: &Buffers, limit: usize) -> io::Result<Self> {
        let memory = self.memory;
        let mut left = limit;
        for segment in buffers.segments() {
            let length = left.min(segment.length as usize);
            for slice in memory.get_slices(segment.address, length) {
                let slice = slice.map_err(io::Error::other)?;
                let Some(piece) = self.list.get_mut(self.count) else { return Ok(self) };
                *piece = iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() };
                self.count += 1;
            }
            left -= length;
            if left == 0 {
                break;
            }
        }
        Ok(self)
    }

    fn message(&mut self) -> libc::msghdr {
        // SAFETY: a msghdr of zeroes is valid: no address, no control data, no pieces.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = self.list.as_mut_ptr();
        message.msg_iovlen = self.count;
        message
    }
}

/// The result of a system call that returns a length; the buffers lose as much.
fn moved(buffers: &mut Buffers, result: isize) -> io::Result<usize> {
    let bytes = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    buffers.advance(bytes);
    Ok(bytes)
}

fn file_offset(offset: u64) -> io::Result<off_t> {
    off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Reads a file at `offset` into the front of `buffers`; returns the number of bytes, 0 at the end of the file.
///
/// # Errors
/// As `preadv`.
pub fn read_at(
    file: BorrowedFd<'_>,
    offset: u64,
    memory: &GuestMemoryMmap<()>,
    buffers: &mut Buffers,
) -> io::Result<usize> {
    let pieces = Pieces::new(memory, buffers, usize::MAX)?;
    let offset = file_offset(offset)?;
    // SAFETY: the first `count` pieces lie in mappings that live as long as `memory`, which is borrowed. The guest may change these
    // bytes meanwhile; nothing here looks at them.
    let result =
        unsafe { libc::preadv(file.as_raw_fd(), pieces.list.as_ptr(), pieces.count as c_int, offset) };
    moved(buffers, result)
}

/// Writes the front of `buffers` to a file at `offset`; returns the number of bytes.
///
/// # Errors
/// As `pwritev`.
pub fn write_at(
    file: BorrowedFd<'_>,
    offset: u64,
    memory: &GuestMemoryMmap<()>,
    buffers: &mut Buffers,
) -> io::Result<usize> {
    let pieces = Pieces::new(memory, buffers, usize::MAX)?;
    let offset = file_offset(offset)?;
    // SAFETY: as in `read_at`.
    let result =
        unsafe { libc::pwritev(file.as_raw_fd(), pieces.list.as_ptr(), pieces.count as c_int, offset) };
    moved(buffers, result)
}

/// Writes the front of `buffers` to the end of a file, wherever that is by now; returns the number of bytes.
///
/// # Errors
/// As `pwritev2`.
pub fn append(
    file: BorrowedFd<'_>,
    memory: &GuestMemoryMmap<()>,
    buffers: &mut Buffers,
) -> io::Result<usize> {
    let pieces = Pieces::new(memory, buffers, usize::MAX)?;
    let (list, count) = (pieces.list.as_ptr(), pieces.count as c_int);
    // SAFETY: as in `read_at`.
    let result = unsafe { libc::pwritev2(file.as_raw_fd(), list, count, 0, libc::RWF_APPEND) };
    moved(buffers, result)
}

/// Receives at most `limit` bytes from a stream socket into the front of `buffers`, without waiting; returns the
/// number of bytes, 0 at the end of the stream.
///
/// # Errors
/// As `recvmsg`; `WouldBlock` when there is nothing.
pub fn receive(
    socket: BorrowedFd<'_>,
    limit: usize,
    memory: &GuestMemoryMmap<()>,
    buffers: &mut Buffers,
) -> io::Result<usize> {
    let mut pieces = Pieces::new(memory, buffers, limit)?;
    let mut message = pieces.message();
    // SAFETY: as in `read_at`; `message` names the pieces and nothing else. Descriptors that a peer sends along are dropped by the
    // kernel, as there is no room for them.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
    moved(buffers, result)
}

/// Sends the front of `buffers` to a stream socket, as much as it takes without waiting; returns the number of bytes.
///
/// # Errors
/// As `sendmsg`; `WouldBlock` when it takes nothing. No signal is raised.
pub fn send(
    socket: BorrowedFd<'_>,
    memory: &GuestMemoryMmap<()>,
    buffers: &mut Buffers,
) -> io::Result<usize> {
    let mut pieces = Pieces::new(memory, buffers, usize::MAX)?;
    let message = pieces.message();
    // SAFETY: as in `receive`.
    let result =
        unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    moved(buffers, result)
}

/// Sends bytes of our own and then the front of `buffers`, as [`send`] does; returns the number of bytes of both, and consumes
/// of the buffers what was theirs.
///
/// # Errors
/// As [`send`].
pub fn send_behind(
    socket: BorrowedFd<'_>,
    front: &[u8],
    memory: &GuestMemoryMmap<()>,
    buffers: &mut Buffers,
) -> io::Result<usize> {
    let mut pieces = Pieces::behind(front, memory, buffers)?;
    let message = pieces.message();
    loop {
        // SAFETY: as in `receive`; the first piece is `front`, which is borrowed and only read.
        let result =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if let Ok(bytes) = usize::try_from(result) {
            buffers.advance(bytes.saturating_sub(front.len()));
            return Ok(bytes);
        }
        let error = io::Error::last_os_error();
        // Whoever waits is told when there is room, which there may be.
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
#[path = "guest_io_test.rs"]
mod tests;
