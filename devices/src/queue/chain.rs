//! A descriptor chain, checked as a whole before a device sees it.

use virtio_queue::DescriptorChain;
use vm_memory::GuestMemoryBackend;

use super::QueueError;
use super::buffers::{Buffers, Segment};
use crate::device::Memory;

/// Most descriptors a chain may have, those of an indirect table included. The specification allows as many as the queue
/// has (VIRTIO 1.3, 2.7.5.3.1), drivers sometimes take more.
pub const MAX_DESCRIPTORS: usize = 1024;

/// A message of the driver: what it says, and room for the answer.
#[derive(Debug)]
pub struct Chain {
    pub(super) head: u16,
    /// What the device may read.
    pub readable: Buffers,
    /// What the device may write.
    pub writable: Buffers,
}

impl Chain {
    /// Walks the descriptors of a chain.
    ///
    /// # Errors
    /// When the chain is empty, does not end, has a descriptor outside of guest memory, or one to read after one to write.
    pub(super) fn walk(memory: &Memory, descriptors: DescriptorChain<&Memory>) -> Result<Self, QueueError> {
        let mut chain = Self {
            head: descriptors.head_index(),
            readable: Buffers::default(),
            writable: Buffers::default(),
        };
        let mut count = 0;
        let mut ended = false;
        let mut writing = false;
        for descriptor in descriptors {
            count += 1;
            if count > MAX_DESCRIPTORS {
                return Err(QueueError::ChainTooLong(chain.head));
            }
            // The iterator stops without a word at a descriptor it cannot follow; then this one promised another.
            ended = !descriptor.has_next();
            let (address, length) = (descriptor.addr(), descriptor.len());
            if !memory.check_range(address, length as usize) {
                return Err(QueueError::ChainAddress { head: chain.head, address: address.0, length });
            }
            writing |= descriptor.is_write_only();
            match (descriptor.is_write_only(), writing) {
                (true, _) => chain.writable.append(Segment { address, length }),
                (false, false) => chain.readable.append(Segment { address, length }),
                (false, true) => return Err(QueueError::ChainOrder(chain.head)),
            }
        }
        if ended { Ok(chain) } else { Err(QueueError::ChainBroken(chain.head)) }
    }

    /// A chain of this memory, for tests.
    #[cfg(any(test, feature = "hostile"))]
    pub(crate) fn of(readable: Buffers, writable: Buffers) -> Self {
        Self { head: 0, readable, writable }
    }

    /// The chain's name in its queue, by which it is returned.
    pub fn head(&self) -> u16 {
        self.head
    }
}
