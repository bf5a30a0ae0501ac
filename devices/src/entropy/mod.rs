//! virtio entropy source: the host's `getrandom` for the guest (VIRTIO 1.3, section 5.4).

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::device::{ActivateError, Activation, Device, DeviceKind, DeviceState, RestoreError};
use crate::event_loop::Polled;
use crate::queue::VirtQueue;

/// A source of random bytes.
pub struct Entropy {}

/// State of an entropy source: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EntropyState {}

impl Entropy {
    /// An entropy source.
    ///
    /// # Errors
    /// When there is no eventfd or epoll instance to be had.
    pub fn new() -> io::Result<Self> {
        unimplemented!()
    }
}

impl Device for Entropy {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
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

impl Polled for Entropy {
    fn poll_fd(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }
    fn poll(&mut self) {
        unimplemented!()
    }
}
