//! Reading and writing descriptors that never block.

use std::{io, os::fd::BorrowedFd};

use rustix::io::Errno;

/// Bytes on their way to a descriptor that takes them when it likes.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Writes what it can of `bytes` and keeps the rest. The backlog must be empty.
    ///
    /// # Errors
    /// When nobody reads there any more.
    pub fn send(&mut self, to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
        let sent = write(to, bytes)?;
        self.bytes.clear();
        self.bytes.extend_from_slice(&bytes[sent..]);
        self.sent = 0;
        Ok(())
    }

    /// Writes what it can of what was kept.
    ///
    /// # Errors
    /// When nobody reads there any more.
    pub fn flush(&mut self, to: BorrowedFd<'_>) -> io::Result<()> {
        self.sent += write(to, &self.bytes[self.sent..])?;
        Ok(())
    }
}

/// As much as a non-blocking descriptor takes now.
fn write(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => {
                sent += count;
                bytes = &bytes[count..];
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}

/// What a non-blocking descriptor has now: `None` when that is nothing, `Some(0)` at its end. A connection that was
/// reset has ended, too.
pub fn read(from: BorrowedFd<'_>, buffer: &mut [u8]) -> Option<usize> {
    match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut *buffer)) {
        Ok(count) => Some(count),
        Err(Errno::AGAIN) => None,
        Err(_) => Some(0),
    }
}
