//! Split virtqueues (VIRTIO 1.3, section 2.7), made safe to serve.
//!
//! The rings themselves are the `virtio-queue` crate's. [`VirtQueue`] adds what every device needs around
//! them: chains checked as a whole before a device sees them, one interrupt a batch, and an end to service on
//! a ring that cannot be trusted any more.

mod buffers;
mod chain;
mod state;

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

pub use buffers::{Buffers, Segment, TooShort};
pub use chain::{Chain, MAX_DESCRIPTORS};
pub use state::QueueState;

use crate::device::{Interrupt, Memory};

/// Why a queue cannot be served: the driver broke it, and has to reset the device.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Its size is wrong.
    #[error("size {size} is not a power of two of at most {max}")]
    Size {
        /// What the driver asks for.
        size: u16,
        /// What the device allows.
        max: u16,
    },
    /// A ring does not lie in guest memory, or not aligned.
    #[error("rings at {descriptors:#x}, {available:#x}, {used:#x} are misaligned or outside of guest memory")]
    Rings {
        /// Address of the descriptor table.
        descriptors: u64,
        /// Address of the available ring.
        available: u64,
        /// Address of the used ring.
        used: u64,
    },
    /// The ring's indices contradict each other.
    #[error(transparent)]
    Ring(#[from] virtio_queue::Error),
    /// A chain has no end, or a descriptor that cannot be followed.
    #[error("the descriptor chain at {0} does not end")]
    ChainBroken(u16),
    /// A chain is longer than any driver needs.
    #[error("the descriptor chain at {0} has more than {MAX_DESCRIPTORS} descriptors")]
    ChainTooLong(u16),
    /// A chain mixes what is read and what is written.
    #[error("the descriptor chain at {0} has a readable descriptor after a writable one")]
    ChainOrder(u16),
    /// A descriptor is not in guest memory.
    #[error("the descriptor chain at {head} names {length} bytes at {address:#x}, outside of guest memory")]
    ChainAddress {
        /// Head of the chain.
        head: u16,
        /// The descriptor's address.
        address: u64,
        /// The descriptor's length.
        length: u32,
    },
}

/// What a device did with a chain, see [`VirtQueue::serve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It is done with, this many bytes were written to it.
    Used(u32),
    /// It cannot be handled now: it stays in the ring, and service ends.
    Later,
}

/// How far service came, see [`VirtQueue::serve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left; the driver's next chain brings a notification.
    Drained,
    /// A chain was left with [`Served::Later`]. Notifications are off.
    Blocked,
    /// More may be there: serve again, after others had their turn. Notifications are off.
    More,
}

/// A queue that a driver has set up, with its memory and its interrupt.
///
/// When the driver breaks a ring, the device is marked `DEVICE_NEEDS_RESET`, and the queue is from then on an empty
/// one that never notifies.
pub struct VirtQueue {
    index: u16,
    ring: Queue,
    memory: Arc<Memory>,
    interrupt: Arc<dyn Interrupt>,
    /// Chains were returned that the driver has not been told of.
    unannounced: bool,
    broken: Option<QueueError>,
}

impl VirtQueue {
    /// The queue that a driver described.
    ///
    /// # Errors
    /// When its size is not a power of two of at most `max_size`, or a ring is misaligned or outside of memory.
    pub fn new(
        index: u16,
        max_size: u16,
        state: &QueueState,
        event_idx: bool,
        memory: Arc<Memory>,
        interrupt: Arc<dyn Interrupt>,
    ) -> Result<Self, QueueError> {
        let ring = state.ring(max_size, event_idx, &memory)?;
        Ok(Self { index, ring, memory, interrupt, unannounced: false, broken: None })
    }

    /// The queue's number.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Guest memory.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Why the queue is no longer served, if so.
    pub fn broken(&self) -> Option<&QueueError> {
        self.broken.as_ref()
    }

    /// Where the queue is and how far it has got.
    pub fn state(&self) -> QueueState {
        QueueState::of(&self.ring)
    }

    /// Takes the next chain.
    pub fn pop(&mut self) -> Option<Chain> {
        if self.broken.is_some() {
            return None;
        }
        let memory = Arc::clone(&self.memory);
        let chain = match self.ring.iter(&*memory) {
            Ok(mut available) => available.next().map(|descriptors| Chain::walk(&memory, descriptors)),
            Err(error) => Some(Err(error.into())),
        };
        match chain? {
            Ok(chain) => Some(chain),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Puts back the chain that was taken last, when nothing has been written to it.
    pub fn unpop(&mut self, _chain: Chain) {
        if self.broken.is_none() {
            self.ring.go_to_previous_position();
        }
    }

    /// Returns a chain of which `written` bytes were written. The driver learns of it with the next [`notify`](Self::notify).
    pub fn push(&mut self, chain: Chain, written: u32) {
        if self.broken.is_some() {
            return;
        }
        match self.ring.add_used(&*self.memory, chain.head, written) {
            Ok(()) => self.unannounced = true,
            Err(error) => self.fail(error.into()),
        }
    }

    /// Interrupts the driver if chains were returned since the last call and it wants to know.
    pub fn notify(&mut self) {
        if !std::mem::take(&mut self.unannounced) || self.broken.is_some() {
            return;
        }
        match self.wants_interrupt() {
            Ok(true) => self.interrupt.queue(self.index),
            Ok(false) => {}
            Err(error) => self.fail(error.into()),
        }
    }

    fn wants_interrupt(&mut self) -> Result<bool, virtio_queue::Error> {
        if self.ring.event_idx_enabled() {
            return self.ring.needs_notification(&*self.memory);
        }
        // The used index must be out before the flag is read (2.7.13.4.1).
        fence(Ordering::SeqCst);
        let flags: u16 = self
            .memory
            .load(GuestAddress(self.ring.avail_ring()), Ordering::Relaxed)
            .map_err(virtio_queue::Error::GuestMemory)?;
        Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// Asks the driver to notify of the next chain; returns whether there is one already, of which it will not.
    pub fn arm(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        self.ring.enable_notification(&*self.memory).unwrap_or_else(|error| {
            self.fail(error.into());
            false
        })
    }

    /// Asks the driver to notify of the next chain that it adds, however many are there already.
    pub fn arm_for_more(&mut self) {
        let next = self.ring.next_avail();
        match self.ring.avail_idx(&*self.memory, Ordering::Acquire) {
            Ok(added) => {
                self.ring.set_next_avail(added.0);
                self.arm();
                self.ring.set_next_avail(next);
            }
            Err(error) => self.fail(error.into()),
        }
    }

    /// Tells the driver that it need not notify.
    pub fn disarm(&mut self) {
        if self.broken.is_none()
            && let Err(error) = self.ring.disable_notification(&*self.memory)
        {
            self.fail(error.into());
        }
    }

    /// Hands chain after chain to `handle`, with notifications off, until none is left or `budget` chains are done;
    /// then interrupts the driver once if it wants that.
    pub fn serve(&mut self, budget: u16, mut handle: impl FnMut(&mut Chain, &Memory) -> Served) -> Progress {
        let memory = Arc::clone(&self.memory);
        let mut left = budget;
        self.disarm();
        let progress = loop {
            let Some(mut chain) = self.pop() else {
                // An empty round is charged too: a driver that keeps adding must not keep the device here.
                left = left.saturating_sub(1);
                match self.arm() {
                    false => break Progress::Drained,
                    true if left == 0 => break Progress::More,
                    true => continue,
                }
            };
            match handle(&mut chain, &memory) {
                Served::Used(written) => self.push(chain, written),
                Served::Later => {
                    self.unpop(chain);
                    break Progress::Blocked;
                }
            }
            left = left.saturating_sub(1);
            if left == 0 {
                break Progress::More;
            }
        };
        self.notify();
        progress
    }

    fn fail(&mut self, error: QueueError) {
        self.broken = Some(error);
        self.interrupt.needs_reset();
    }
}

#[cfg(test)]
#[path = "queue_test.rs"]
mod tests;
