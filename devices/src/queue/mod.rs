//! Split virtqueues (VIRTIO 1.3, section 2.7), made safe to serve.
//!
//! The rings themselves are the `virtio-queue` crate's. [`VirtQueue`] adds what every device needs around
//! them: chains checked as a whole before a device sees them, one interrupt a batch, and an end to service on
//! a ring that cannot be trusted any more.

use serde::{Deserialize, Serialize};

/// A queue that a driver has set up, with its memory and its interrupt.
pub struct VirtQueue {}

/// Where a queue is and how far it has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// Why a queue cannot be served: the driver broke it, and has to reset the device.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Its size is wrong.
    #[error("size {0} is not a power of two within the device's limit")]
    Size(u16),
}
