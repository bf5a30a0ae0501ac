//! Writing a guest's output to a descriptor without ever blocking, and remembering the last of it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::io::Errno;
use vmm_sys_util::epoll::EventSet;

use crate::poll_set::PollSet;

/// How much of a guest's last output is remembered, in bytes.
pub const TAIL_SIZE: usize = 16 << 10;
/// How much output is kept for a reader that does not read, in bytes.
pub(crate) const PENDING_SIZE: usize = 64 << 10;

/// Makes reads and writes of a descriptor return at once: also plain `read` and `write` of a socket, which is all that a
/// vCPU's thread may call.
pub(crate) fn make_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    if !flags.contains(OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    }
    Ok(())
}

/// A descriptor that takes output, what it did not take yet, and the last that it was given.
pub(crate) struct Output {
    fd: OwnedFd,
    pending: VecDeque<u8>,
    tail: VecDeque<u8>,
    watched: bool,
}

impl Output {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        make_nonblocking(&fd)?;
        Ok(Self { fd, pending: VecDeque::new(), tail: VecDeque::new(), watched: false })
    }

    /// How many bytes it will keep if the reader takes none.
    pub(crate) fn room(&self) -> usize {
        PENDING_SIZE.saturating_sub(self.pending.len())
    }

    pub(crate) fn pending(&self) -> Vec<u8> {
        self.pending.iter().copied().collect()
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn restore_pending(&mut self, bytes: Vec<u8>) {
        self.pending = bytes.into();
    }

    pub(crate) fn tail(&self) -> Vec<u8> {
        self.tail.iter().copied().collect()
    }

    /// Writes what the reader takes and keeps the rest, as far as there is room. What it refuses for good is lost.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.remember(bytes);
        let written = if self.has_pending() { 0 } else { self.write_now(bytes) };
        let rest = &bytes[written..];
        self.pending.extend(&rest[..rest.len().min(self.room())]);
    }

    /// Writes what is pending, as far as the reader takes it.
    pub(crate) fn flush_pending(&mut self) {
        while self.has_pending() {
            let first = self.pending.as_slices().0;
            let written = self.write_now(first);
            if written == 0 {
                return;
            }
            self.pending.drain(..written);
        }
        self.pending = VecDeque::new();
    }

    /// Watches for the reader while something is pending, and not otherwise: a closed pipe would always be ready.
    pub(crate) fn watch(&mut self, poll: &PollSet, token: u64) {
        let wanted = self.has_pending();
        if wanted && !self.watched {
            // What cannot be watched (a file on disk) never makes anybody wait.
            self.watched = poll.add(&self.fd, token, EventSet::OUT).is_ok();
        } else if !wanted && self.watched {
            poll.remove(&self.fd);
            self.watched = false;
        }
    }

    /// Returns how many bytes were taken or will never be; 0 when the reader has to be waited for.
    fn write_now(&self, bytes: &[u8]) -> usize {
        loop {
            // Where nobody reads any more this is an error, not a signal: Rust's runtime has the process ignore SIGPIPE.
            match rustix::io::write(&self.fd, bytes) {
                Ok(written) => return written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return 0,
                // Nobody reads any more, or the disk is full: the guest is not to hang for that.
                Err(_) => return bytes.len(),
            }
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_SIZE)..];
        let excess = (self.tail.len() + bytes.len()).saturating_sub(TAIL_SIZE);
        self.tail.drain(..excess);
        self.tail.extend(bytes);
    }
}

/// For what writes and does not care what becomes of it.
impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "output_test.rs"]
mod tests;
