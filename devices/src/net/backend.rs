//! The socket at which a network card's frames come and go.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use vmm_sys_util::epoll::EventSet;

use super::Checksums;
use crate::device::Memory;
use crate::guest_io;
use crate::queue::Buffers;

/// Longest frame, in bytes: the largest IP packet, an Ethernet header and a tag.
pub const MAX_FRAME: usize = 65535 + 14 + 4;
/// Bytes of the length in front of each frame.
const LENGTH: usize = 4;
/// Bytes read at once: a few large frames, many small ones.
const INPUT: usize = 256 << 10;

/// A connection to a network.
pub struct Backend {
    socket: OwnedFd,
    pub checksums: Checksums,
    input: Vec<u8>,
    /// The bytes of `input` that were read and not taken.
    start: usize,
    end: usize,
    /// The rest of a frame of which the socket took a part.
    unsent: Vec<u8>,
    /// As far as is known there is something to read, room to write.
    readable: bool,
    writable: bool,
    over: bool,
}

impl Backend {
    pub fn new(socket: OwnedFd, checksums: Checksums) -> Self {
        let (input, unsent) = (Vec::new(), Vec::new());
        Self {
            socket,
            checksums,
            input,
            start: 0,
            end: 0,
            unsent,
            readable: true,
            writable: true,
            over: false,
        }
    }

    /// Takes note of what epoll says, once for each change.
    pub fn notice(&mut self, events: EventSet) {
        let ended = EventSet::HANG_UP | EventSet::ERROR | EventSet::READ_HANG_UP;
        self.readable |= events.intersects(EventSet::IN | ended);
        self.writable |= events.intersects(EventSet::OUT | ended);
    }

    /// Whether nothing more comes or goes.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The next whole frame that was read, if there is one; reads if there is none. It stays until it is [taken](Self::take).
    pub fn frame(&mut self) -> Option<&[u8]> {
        if self.whole().is_none() && self.readable {
            self.read();
        }
        let length = self.whole()?;
        Some(&self.input[self.start + LENGTH..][..length])
    }

    /// Parts with the next frame.
    pub fn take(&mut self) {
        if let Some(length) = self.whole() {
            self.start += LENGTH + length;
        }
    }

    /// The length of the frame that begins what was read, if all of it is there.
    fn whole(&mut self) -> Option<usize> {
        let (length, rest) = self.input[self.start..self.end].split_first_chunk::<LENGTH>()?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_FRAME {
            // No way to find the next.
            self.over = true;
            return None;
        }
        (rest.len() >= length).then_some(length)
    }

    fn read(&mut self) {
        if self.over {
            return;
        }
        // There when the first frame comes, which in most VMs is never.
        if self.input.is_empty() {
            // Fresh from the system: it takes memory as far as it is used.
            self.input = vec![0; INPUT];
        }
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        match rustix::net::recv(&self.socket, &mut self.input[self.end..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.over = true,
            Ok((_, length)) => self.end += length,
            Err(Errno::AGAIN) => self.readable = false,
            Err(Errno::INTR) => {}
            Err(_) => self.over = true,
        }
    }

    /// Whether a frame can be sent: the last one has gone, and the socket has not said that it is full.
    pub fn has_room(&mut self) -> bool {
        while self.writable && !self.unsent.is_empty() {
            match rustix::net::send(&self.socket, &self.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) => self.not_sent(error),
            }
        }
        self.writable && !self.over
    }

    /// Sends a frame: these bytes and what is left of the buffers. `false` when the socket took none of it.
    pub fn send(&mut self, memory: &Memory, head: &[u8], rest: &mut Buffers) -> bool {
        let length = (head.len() + rest.len()) as u32;
        let mut front = Vec::with_capacity(LENGTH + head.len());
        front.extend(length.to_be_bytes());
        front.extend(head);
        match guest_io::send_behind(self.socket.as_fd(), &front, memory, rest) {
            Ok(sent) => {
                let unsent = front.get(sent..).unwrap_or_default();
                if !unsent.is_empty() || !rest.is_empty() {
                    // The guest has its buffers back at once, and the rest goes when it can.
                    self.unsent.extend(unsent);
                    let kept = self.unsent.len();
                    self.unsent.resize(kept + rest.len(), 0);
                    rest.read(memory, &mut self.unsent[kept..]);
                }
                true
            }
            Err(error) => {
                self.not_sent(Errno::from_io_error(&error).unwrap_or(Errno::IO));
                self.over
            }
        }
    }

    fn not_sent(&mut self, error: Errno) {
        match error {
            Errno::AGAIN => self.writable = false,
            Errno::INTR => {}
            _ => {
                self.unsent.clear();
                self.over = true;
            }
        }
    }
}
