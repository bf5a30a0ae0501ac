//! virtio block device (VIRTIO 1.3, section 5.2).

pub mod backend;

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::device::{ActivateError, Activation, Device, DeviceKind, DeviceState, RestoreError};
use crate::queue::VirtQueue;
pub use backend::{Backend, Extent, FileDisk, Layers};

/// What a disk is called by its guest: at most 20 bytes (VIRTIO 1.3, 5.2.6: GET_ID).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Serial([u8; 20]);

/// Why a disk cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The serial number is too long.
    #[error("disk serial {0:?} is longer than 20 bytes")]
    Serial(String),
    /// The worker cannot be started.
    #[error("cannot start a disk's worker: {0}")]
    Worker(#[from] io::Error),
}

impl TryFrom<&str> for Serial {
    type Error = BlockError;

    fn try_from(text: &str) -> Result<Self, BlockError> {
        let mut serial = [0; 20];
        let target = serial.get_mut(..text.len()).ok_or_else(|| BlockError::Serial(text.to_owned()))?;
        target.copy_from_slice(text.as_bytes());
        Ok(Self(serial))
    }
}

/// A disk, served by a worker thread of its own.
pub struct Block {}

/// State of a disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockState {
    /// Capacity in bytes.
    pub capacity: u64,
    /// Whether the guest may not write.
    pub read_only: bool,
    /// What the guest reads as its serial number.
    pub serial: Serial,
}

impl Block {
    /// A disk over `backend`. `on_start` runs first thing in the worker's thread, before it touches anything of the guest: there the
    /// VMM confines it.
    ///
    /// # Errors
    /// When the worker cannot be started.
    pub fn new(
        _backend: Arc<dyn Backend>,
        _serial: Serial,
        _on_start: impl FnOnce() + Send + 'static,
    ) -> Result<Self, BlockError> {
        unimplemented!()
    }

    /// Tells the guest that the backend's capacity is another (after [`Layers::append`]).
    pub fn capacity_changed(&mut self) {
        unimplemented!()
    }
}

impl Device for Block {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Block
    }
    fn queue_sizes(&self) -> &[u16] {
        unimplemented!()
    }
    fn notifiers(&self) -> &[Arc<EventFd>] {
        unimplemented!()
    }
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {
        unimplemented!()
    }
    fn activate(&mut self, _activation: Activation) -> Result<(), ActivateError> {
        unimplemented!()
    }
    fn pause(&mut self) -> Vec<VirtQueue> {
        unimplemented!()
    }
    fn reset(&mut self) {
        unimplemented!()
    }
    fn save(&self) -> DeviceState {
        unimplemented!()
    }
    fn restore(&mut self, _state: DeviceState) -> Result<(), RestoreError> {
        unimplemented!()
    }
}
