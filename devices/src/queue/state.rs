//! A queue as its registers and a snapshot describe it.

use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

use super::QueueError;
use crate::device::Memory;

/// Where a queue is and how far it has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Number of descriptors.
    pub size: u16,
    /// Whether the driver has set the queue up.
    pub ready: bool,
    /// Guest address of the descriptor table.
    pub descriptors: u64,
    /// Guest address of the available ring.
    pub available: u64,
    /// Guest address of the used ring.
    pub used: u64,
    /// Position in the available ring of the next chain to take.
    pub next_available: u16,
    /// Position in the used ring of the next chain to return.
    pub next_used: u16,
}

impl QueueState {
    pub(super) fn of(ring: &Queue) -> Self {
        Self {
            size: ring.size(),
            ready: ring.ready(),
            descriptors: ring.desc_table(),
            available: ring.avail_ring(),
            used: ring.used_ring(),
            next_available: ring.next_avail(),
            next_used: ring.next_used(),
        }
    }

    /// The ring this describes.
    pub(super) fn ring(&self, max_size: u16, event_idx: bool, memory: &Memory) -> Result<Queue, QueueError> {
        let mut ring = Queue::new(max_size)?;
        ring.try_set_size(self.size).map_err(|_| QueueError::Size { size: self.size, max: max_size })?;
        let wrong = || QueueError::Rings {
            descriptors: self.descriptors,
            available: self.available,
            used: self.used,
        };
        ring.try_set_desc_table_address(GuestAddress(self.descriptors)).map_err(|_| wrong())?;
        ring.try_set_avail_ring_address(GuestAddress(self.available)).map_err(|_| wrong())?;
        ring.try_set_used_ring_address(GuestAddress(self.used)).map_err(|_| wrong())?;
        ring.set_next_avail(self.next_available);
        ring.set_next_used(self.next_used);
        ring.set_event_idx(event_idx);
        ring.set_ready(true);
        // The crate takes an available ring at 0 for one that was never set.
        if self.available == 0 || !ring.is_valid(memory) {
            return Err(wrong());
        }
        Ok(ring)
    }
}
