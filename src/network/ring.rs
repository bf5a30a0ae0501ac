//! Bytes that wait between a socket and a guest: a ring that grows as far as it is allowed, and takes nothing when it rests.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::BorrowedFd,
};

use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};

/// What a ring begins with, in bytes.
const LEAST: usize = 4 << 10;
/// What a ring begins with at most, where it had as much the last time.
const USUAL: usize = 128 << 10;

/// A ring of bytes.
#[derive(Debug, Default)]
pub struct Ring {
    bytes: Box<[u8]>,
    start: usize,
    length: usize,
    /// As many bytes as it had when it was empty last: it begins with that.
    usual: usize,
}

impl Ring {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes of memory that it takes.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes from one place on, at most so many: they may lie in two parts.
    pub fn part(&self, from: usize, most: usize) -> (&[u8], &[u8]) {
        let count = most.min(self.length.saturating_sub(from));
        if count == 0 {
            return (&[], &[]);
        }
        let at = (self.start + from) % self.bytes.len();
        let first = count.min(self.bytes.len() - at);
        (&self.bytes[at..at + first], &self.bytes[..count - first])
    }

    /// Parts with the first bytes.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.length);
        self.length -= count;
        self.start = if self.length == 0 { 0 } else { (self.start + count) % self.bytes.len() };
    }

    /// Gives its memory back, if it is empty: nothing is about to come.
    pub fn release(&mut self) {
        if self.length == 0 && !self.bytes.is_empty() {
            self.usual = self.bytes.len().min(USUAL);
            self.bytes = Box::default();
        }
    }

    /// Adds bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.make_room(bytes.len());
        let (first, second) = self.free();
        let cut = bytes.len().min(first.len());
        first[..cut].copy_from_slice(&bytes[..cut]);
        second[..bytes.len() - cut].copy_from_slice(&bytes[cut..]);
        self.length += bytes.len();
    }

    /// Receives what is there, so that no more than `most` bytes are here then. 0 is the end.
    ///
    /// # Errors
    /// As `recvmsg(2)`.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        if self.length == self.bytes.len() && self.length < most {
            let more = if self.bytes.is_empty() { self.usual } else { self.bytes.len() };
            self.make_room(more.max(LEAST).min(most - self.length));
        }
        let room = most.saturating_sub(self.length);
        let (first, second) = self.free();
        let cut = room.min(first.len());
        let rest = (room - cut).min(second.len());
        let mut parts = [IoSliceMut::new(&mut first[..cut]), IoSliceMut::new(&mut second[..rest])];
        let mut none = RecvAncillaryBuffer::default();
        let received = rustix::net::recvmsg(socket, &mut parts, &mut none, RecvFlags::DONTWAIT);
        let count = received.map(|received| received.bytes);
        if let Ok(count) = count {
            self.length += count;
        }
        Ok(count?)
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// As `sendmsg(2)`.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let (first, second) = self.part(0, usize::MAX);
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let count = rustix::net::sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), flags)?;
        self.consume(count);
        Ok(count)
    }

    /// The two parts of what is free.
    fn free(&mut self) -> (&mut [u8], &mut [u8]) {
        let end = self.start + self.length;
        match end.checked_sub(self.bytes.len()) {
            // What is used reaches over the end.
            Some(end) => (&mut self.bytes[end..self.start], &mut []),
            None => {
                let (before, after) = self.bytes.split_at_mut(end);
                (after, &mut before[..self.start])
            }
        }
    }

    fn make_room(&mut self, more: usize) {
        let needed = self.length + more;
        if needed <= self.bytes.len() {
            return;
        }
        let mut bytes = vec![0; needed.next_power_of_two().max(LEAST)].into_boxed_slice();
        let (first, second) = self.part(0, usize::MAX);
        bytes[..first.len()].copy_from_slice(first);
        bytes[first.len()..self.length].copy_from_slice(second);
        (self.bytes, self.start) = (bytes, 0);
    }
}

#[cfg(test)]
#[path = "ring_test.rs"]
mod tests;
