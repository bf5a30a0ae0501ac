//! The frame socket of one VM: each frame follows its length, a big-endian `u32`.

use std::{
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags},
};

use super::{rate::Bucket, slab::Key};

/// Longest frame, in bytes.
const MAX_FRAME: usize = 65535 + 14 + 4;
const LENGTH: usize = 4;
/// Bytes read at once.
const INPUT: usize = 512 << 10;
/// Bytes that wait for a VM that does not read, at most; what comes when there are more is lost.
const MAX_UNSENT: usize = 256 << 10;

/// A VM's end of the network.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Frames that are kept, and in front the rest of what is on its way.
    unsent: Vec<u8>,
    /// How long that rest is. It is counted already.
    begun: usize,
    writable: bool,
    /// What went last was kept: a frame that waits elsewhere may go before the others that are.
    kept_went: bool,
    /// How fast the VM may be spoken to.
    pub rate: Option<Bucket>,
    /// When it may be again, if something waits for that.
    pub resumes: Option<Instant>,
    /// Connections that have something for the VM when it reads.
    pub waiting: Vec<Key>,
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// There may be more.
    Some,
    /// There is nothing more for now.
    Nothing,
    /// The VM is gone, or makes no sense.
    End,
}

impl Link {
    /// At this socket, whose other end is the VM's.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            input: Vec::new(),
            start: 0,
            end: 0,
            unsent: Vec::new(),
            begun: 0,
            writable: true,
            kept_went: false,
            rate: None,
            resumes: None,
            waiting: Vec::new(),
        }
    }

    /// The socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what is there, once.
    pub fn read(&mut self) -> Read {
        if self.input.is_empty() {
            // Fresh from the system: it takes memory as far as it is used.
            self.input = vec![0; INPUT];
        }
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.input.len() {
            // There are frames that had to wait for their turn.
            return Read::Some;
        }
        match rustix::net::recv(&self.socket, &mut self.input[self.end..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Read::End,
            Ok((_, length)) => {
                self.end += length;
                if self.next_length().is_some_and(|length| length > MAX_FRAME) {
                    Read::End
                } else {
                    Read::Some
                }
            }
            Err(Errno::AGAIN) => Read::Nothing,
            Err(Errno::INTR) => Read::Some,
            Err(_) => Read::End,
        }
    }

    fn next_length(&self) -> Option<usize> {
        let length = self.input[self.start..self.end].first_chunk::<LENGTH>()?;
        Some(u32::from_be_bytes(*length) as usize)
    }

    /// Where in [`Self::bytes`] the next whole frame is; it is passed over. `Err` when what follows is none.
    pub fn next_frame(&mut self) -> Result<Option<std::ops::Range<usize>>, NoFrame> {
        let Some(length) = self.next_length() else { return Ok(None) };
        if length > MAX_FRAME {
            return Err(NoFrame);
        }
        let begin = self.start + LENGTH;
        if begin + length > self.end {
            return Ok(None);
        }
        self.start = begin + length;
        Ok(Some(begin..begin + length))
    }

    /// Takes what was read out, so that it can be looked at while frames are sent; to be [put back](Self::put_back).
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Puts it back.
    pub fn put_back(&mut self, bytes: Vec<u8>) {
        self.input = bytes;
    }

    /// The VM has read, or may be spoken to again.
    pub fn notice_room(&mut self) {
        self.writable = true;
        // Where only so much may go, what is kept and what waits elsewhere take turns, or else datagrams could stop all connections.
        let yields = self.rate.is_some() && self.kept_went && self.begun == 0 && !self.waiting.is_empty();
        if yields && self.may_send() {
            // It may be that none of those has anything to say any more.
            self.resumes = Some(Instant::now());
        } else {
            self.flush();
        }
    }

    fn flush(&mut self) {
        while self.writable && !self.unsent.is_empty() {
            if self.begun == 0 {
                if !self.may_send() {
                    return;
                }
                let (length, bytes) = self.next_kept();
                self.begun = length;
                self.kept_went = true;
                self.count(bytes);
            }
            let next = self.unsent.get(..self.begun).unwrap_or(&self.unsent);
            match rustix::net::send(&self.socket, next, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.unsent.drain(..count);
                    self.begun -= count;
                }
                Err(Errno::INTR) => {}
                Err(_) => self.writable = false,
            }
        }
    }

    /// How long the kept frames are that may go at once, one at least: with their lengths, and without.
    fn next_kept(&self) -> (usize, usize) {
        let most = self.rate.as_ref().map_or(usize::MAX, Bucket::burst);
        let (mut end, mut bytes) = (0, 0);
        while let Some(length) = self.unsent.get(end..).and_then(|rest| rest.first_chunk::<LENGTH>()) {
            let length = u32::from_be_bytes(*length) as usize;
            if end > 0 && bytes + length > most {
                break;
            }
            end += LENGTH + length;
            bytes += length;
        }
        (end, bytes)
    }

    /// Whether a frame that can wait elsewhere may be sent.
    pub fn has_room(&self) -> bool {
        self.writable && self.begun == 0 && (self.unsent.is_empty() || self.kept_went)
    }

    /// Whether the VM may be spoken to now. If not, whoever asks is told when it may.
    pub fn may_send(&mut self) -> bool {
        let until = self.rate.as_ref().and_then(|rate| rate.waits(Instant::now()));
        self.resumes = until.or(self.resumes);
        until.is_none()
    }

    fn count(&mut self, bytes: usize) {
        if let Some(rate) = &mut self.rate {
            rate.take(bytes, Instant::now());
        }
    }

    /// Sends a frame in three parts. `false` when none of it was taken, because the VM does not read.
    pub fn send(&mut self, head: &[u8], first: &[u8], second: &[u8]) -> bool {
        if !self.has_room() || !self.may_send() {
            return false;
        }
        let length = ((head.len() + first.len() + second.len()) as u32).to_be_bytes();
        let parts = [&length, head, first, second].map(IoSlice::new);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut none = SendAncillaryBuffer::default();
        let sent = loop {
            match rustix::net::sendmsg(&self.socket, &parts, &mut none, flags) {
                Ok(sent) => break sent,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.writable = false;
                    return false;
                }
            }
        };
        self.count(head.len() + first.len() + second.len());
        self.kept_went = false;
        let (mut rest, mut skip) = (Vec::new(), sent);
        for part in &parts {
            let passed = skip.min(part.len());
            rest.extend_from_slice(&part[passed..]);
            skip -= passed;
        }
        self.begun = rest.len();
        self.unsent.splice(..0, rest);
        true
    }

    /// Sends a frame, or keeps it until the VM reads, as long as there is not too much.
    pub fn send_or_keep(&mut self, head: &[u8], payload: &[u8]) {
        // None overtakes another.
        let is_sent = self.unsent.is_empty() && self.send(head, payload, &[]);
        if !is_sent && self.unsent.len() < MAX_UNSENT {
            self.unsent.extend(((head.len() + payload.len()) as u32).to_be_bytes());
            self.unsent.extend_from_slice(head);
            self.unsent.extend_from_slice(payload);
        }
    }
}

/// What came is no frame, and there is no way to find the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFrame;

#[cfg(test)]
#[path = "link_test.rs"]
mod tests;
