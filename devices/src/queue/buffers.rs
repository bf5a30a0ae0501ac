//! One direction of a descriptor chain: a sequence of guest memory, consumed from its front.
//!
//! VIRTIO leaves it to the driver how a message is cut into descriptors (1.3, section 2.7.4), so devices
//! see bytes here, never descriptors.

use vm_memory::{Bytes, GuestAddress};

use crate::device::Memory;

/// A range of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins.
    pub address: GuestAddress,
    /// Its length in bytes, never 0.
    pub length: u32,
}

/// A sequence of guest memory. Every segment has been found to lie in guest memory.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Buffers {
    segments: Vec<Segment>,
    /// The first segment not consumed.
    next: usize,
    length: usize,
}

/// Fewer bytes were left than asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the driver's buffers are too short")]
pub struct TooShort;

impl Buffers {
    /// Memory given piece by piece, for tests.
    #[cfg(any(test, feature = "hostile"))]
    pub(crate) fn of(segments: impl IntoIterator<Item = Segment>) -> Self {
        let mut buffers = Self::default();
        segments.into_iter().for_each(|segment| buffers.append(segment));
        buffers
    }

    /// Adds memory at the end.
    pub(super) fn append(&mut self, segment: Segment) {
        if segment.length > 0 {
            self.length += segment.length as usize;
            self.segments.push(segment);
        }
    }

    /// Bytes left.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The memory left.
    pub fn segments(&self) -> &[Segment] {
        &self.segments[self.next..]
    }

    /// Passes over bytes at the front, all of them if fewer are left.
    pub fn advance(&mut self, bytes: usize) {
        let mut left = bytes.min(self.length);
        self.length -= left;
        while left > 0 {
            let segment = &mut self.segments[self.next];
            if left < segment.length as usize {
                segment.address.0 += left as u64;
                segment.length -= left as u32;
                return;
            }
            left -= segment.length as usize;
            self.next += 1;
        }
    }

    /// Keeps the first bytes and returns the rest, which is empty if there is none.
    pub fn split_off(&mut self, bytes: usize) -> Buffers {
        let mut rest = Buffers::default();
        let mut keep = bytes.min(self.length);
        let mut at = self.next;
        while let Some(segment) = self.segments.get_mut(at).filter(|segment| keep >= segment.length as usize)
        {
            keep -= segment.length as usize;
            at += 1;
        }
        if let Some(segment) = self.segments.get_mut(at).filter(|_| keep > 0) {
            rest.append(Segment {
                address: GuestAddress(segment.address.0 + keep as u64),
                length: segment.length - keep as u32,
            });
            segment.length = keep as u32;
            at += 1;
        }
        for segment in self.segments.drain(at..) {
            rest.append(segment);
        }
        self.length -= rest.length;
        rest
    }

    /// Copies out as many bytes as there are room and data for, and returns how many.
    pub fn read(&mut self, memory: &Memory, target: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(segment) = self.segments().first().filter(|_| done < target.len()) {
            let part = (segment.length as usize).min(target.len() - done);
            if memory.read_slice(&mut target[done..done + part], segment.address).is_err() {
                break;
            }
            self.advance(part);
            done += part;
        }
        done
    }

    /// Takes a fixed number of bytes: a header, say.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn read_array<const N: usize>(&mut self, memory: &Memory) -> Result<[u8; N], TooShort> {
        let mut bytes = [0; N];
        if self.len() < N || self.read(memory, &mut bytes) < N {
            return Err(TooShort);
        }
        Ok(bytes)
    }

    /// Copies in as many bytes as there are room and data for, and returns how many.
    pub fn write(&mut self, memory: &Memory, source: &[u8]) -> usize {
        let mut done = 0;
        while let Some(segment) = self.segments().first().filter(|_| done < source.len()) {
            let part = (segment.length as usize).min(source.len() - done);
            if memory.write_slice(&source[done..done + part], segment.address).is_err() {
                break;
            }
            self.advance(part);
            done += part;
        }
        done
    }

    /// Copies all of `source` in.
    ///
    /// # Errors
    /// When less room is left; then nothing is written.
    pub fn write_all(&mut self, memory: &Memory, source: &[u8]) -> Result<(), TooShort> {
        if self.len() < source.len() || self.write(memory, source) < source.len() {
            return Err(TooShort);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "buffers_test.rs"]
mod tests;
