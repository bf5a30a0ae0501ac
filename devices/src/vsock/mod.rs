//! virtio socket device (VIRTIO 1.3, section 5.10), its host side made of descriptors only.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::device::{ActivateError, Activation, Device, DeviceKind, DeviceState, RestoreError};
use crate::event_loop::Polled;
use crate::queue::VirtQueue;

/// Who answers when the guest connects to the host.
pub trait HostSide: Send {
    /// The guest connects to `port` of the host; `stream` is the host's end of the connection: an `AF_UNIX` stream socket,
    /// blocking, close-on-exec. Closing it, or shutting it down for writing, does the same in the guest.
    ///
    /// Called on the event loop with the device locked: must not block nor call the device.
    ///
    /// # Errors
    /// When nobody listens there: the guest's connect fails with `ECONNRESET`.
    fn connection(&mut self, port: u32, stream: OwnedFd) -> Result<(), Refused>;
}

/// A connection is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connection refused")]
pub struct Refused;

/// Why the host cannot connect to the guest.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There are too many connections.
    #[error("the guest has {0} vsock connections, the most it may have")]
    TooMany(usize),
    /// The descriptor is not a socket.
    #[error("the descriptor given for a vsock connection is not a socket")]
    NotASocket,
    /// The socket cannot be watched.
    #[error("cannot watch the socket given for a vsock connection: {0}")]
    Watch(#[from] io::Error),
}

/// A socket device: every connection between guest and host is a stream socket on the host.
pub struct Vsock {}

/// State of a socket device. Connections do not survive: the guest is told so when it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VsockState {
    /// The guest's address.
    pub cid: u32,
}

impl Vsock {
    /// A socket device for the guest with this address (3 or above).
    ///
    /// # Errors
    /// When there is no eventfd or epoll instance to be had.
    pub fn new(_cid: u32, _host: Box<dyn HostSide>) -> io::Result<Self> {
        unimplemented!()
    }

    /// Connects to a port of the guest; `stream` becomes the device's end. When the guest refuses, the stream is closed.
    /// A guest whose driver is not up yet is asked when it is. To be called on the event loop's thread.
    ///
    /// # Errors
    /// When there are too many connections or `stream` is no stream socket.
    pub fn connect(&mut self, _port: u32, _stream: OwnedFd) -> Result<(), ConnectError> {
        unimplemented!()
    }

    /// Takes everything from the guest that it has put into its queue, and returns whether data waits for a host that
    /// reads slowly. A VMM about to end, its vCPUs stopped, polls on until there is none, or nobody wants it.
    pub fn drain(&mut self) -> bool {
        unimplemented!()
    }

    /// How many connections there are, those included that only have data left to deliver.
    pub fn connections(&self) -> usize {
        unimplemented!()
    }
}

impl Device for Vsock {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Vsock
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

impl Polled for Vsock {
    fn poll_fd(&self) -> RawFd {
        unimplemented!()
    }
    fn poll(&mut self) {
        unimplemented!()
    }
}
