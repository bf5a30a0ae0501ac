//! virtio block device (VIRTIO 1.3, section 5.2).
//!
//! A descriptor chain becomes a request ([`request`]), a request operations on a backend ([`execute()`]), their outcome
//! a status byte and a used descriptor (`worker.rs`). One queue, one worker thread a disk; data moves between file and
//! guest memory without a copy.

pub mod backend;
pub mod config;
mod execute;
pub mod request;
mod worker;

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::device::{
    ActivateError, Activation, Device, DeviceKind, DeviceState, Interrupt, RestoreError, read_config_bytes,
};
use crate::notifiers::Notifiers;
use crate::queue::VirtQueue;
pub use backend::{Backend, Extent, FileDisk, Layers};
use config::QUEUE_SIZE;
pub use execute::execute;
use worker::Worker;

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
pub struct Block {
    backend: Arc<dyn Backend>,
    serial: Serial,
    read_only: bool,
    /// In bytes, as the guest knows it; the backend may have grown since.
    capacity: u64,
    generation: u32,
    /// The capacity changed and no driver was there to be told.
    unannounced: bool,
    notifiers: Notifiers,
    worker: Worker,
    interrupt: Option<Arc<dyn Interrupt>>,
}

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
        backend: Arc<dyn Backend>,
        serial: Serial,
        on_start: impl FnOnce() + Send + 'static,
    ) -> Result<Self, BlockError> {
        let notifiers = Notifiers::new(1)?;
        let worker = Worker::start(Arc::clone(&backend), serial, Arc::clone(&notifiers.all()[0]), on_start)?;
        Ok(Self {
            read_only: backend.read_only(),
            capacity: backend.capacity(),
            backend,
            serial,
            generation: 0,
            unannounced: false,
            notifiers,
            worker,
            interrupt: None,
        })
    }

    /// Tells the guest that the backend's capacity is another (after [`Layers::append`]).
    pub fn capacity_changed(&mut self) {
        let capacity = self.backend.capacity();
        if capacity == self.capacity {
            return;
        }
        self.capacity = capacity;
        self.generation = self.generation.wrapping_add(1);
        match &self.interrupt {
            Some(interrupt) => interrupt.config(),
            None => self.unannounced = true,
        }
    }
}

impl Device for Block {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Block
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn notifiers(&self) -> &[Arc<EventFd>] {
        self.notifiers.all()
    }

    fn features(&self) -> u64 {
        config::features(self.read_only)
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&config::space(self.capacity), offset, data);
    }

    fn config_generation(&self) -> u32 {
        self.generation
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let queue = activation.queue(0)?;
        // The driver may have read the capacity before it changed.
        if std::mem::take(&mut self.unannounced) {
            activation.interrupt.config();
        }
        self.interrupt = Some(activation.interrupt);
        self.worker.serve(queue);
        Ok(())
    }

    fn pause(&mut self) -> Vec<VirtQueue> {
        match self.interrupt.take() {
            Some(_) => self.worker.stop().into_iter().collect(),
            None => vec![],
        }
    }

    fn reset(&mut self) {
        self.pause();
    }

    fn save(&self) -> DeviceState {
        let Self { capacity, read_only, serial, .. } = *self;
        DeviceState::Block(BlockState { capacity, read_only, serial })
    }

    fn restore(&mut self, state: DeviceState) -> Result<(), RestoreError> {
        let DeviceState::Block(state) = state else {
            return Err(RestoreError::Kind { expected: self.kind(), found: state.kind() });
        };
        let mismatch = |what| RestoreError::Mismatch { kind: self.kind(), what };
        if state.read_only != self.read_only {
            return Err(mismatch(format!("read_only = {}", state.read_only)));
        }
        if state.capacity > self.capacity {
            return Err(mismatch(format!("{} bytes", state.capacity)));
        }
        self.unannounced = state.capacity != self.capacity;
        Ok(())
    }
}

#[cfg(test)]
#[path = "block_test.rs"]
mod tests;
