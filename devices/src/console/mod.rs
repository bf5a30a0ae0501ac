//! virtio-console with one port (VIRTIO 1.3, section 5.3).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::device::{ActivateError, Activation, Device, DeviceKind, DeviceState, RestoreError};
use crate::event_loop::Polled;
use crate::queue::VirtQueue;

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WindowSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// A console: lines of text out, key strokes in.
pub struct Console {}

/// State of a console.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// The terminal's size, if the guest was promised one.
    pub size: Option<WindowSize>,
    /// Output taken from the guest and not yet written.
    pub pending: Vec<u8>,
}

impl Console {
    /// A console that reads the guest's input from `input` and writes its output to `output`: files, pipes, sockets,
    /// terminals. `size` is shown to the guest, which then follows [`resize`](Self::resize); without one it is not told of sizes.
    ///
    /// Both file descriptions become non-blocking (unless they are sockets), so they must not be shared with
    /// a program that would mind: a terminal has to be opened anew for the console. When the reader of `output` stops reading, some
    /// output is kept here and then the guest waits. When `input` ends, the console goes on without.
    ///
    /// # Errors
    /// When a descriptor cannot be made non-blocking or watched.
    pub fn new(_input: Option<OwnedFd>, _output: OwnedFd, _size: Option<WindowSize>) -> io::Result<Self> {
        unimplemented!()
    }

    /// The terminal changed its size. Ignored when the console was made without one.
    pub fn resize(&mut self, _size: WindowSize) {
        unimplemented!()
    }

    /// The last output of the guest, at most [`TAIL_SIZE`](crate::output::TAIL_SIZE) bytes, for reports.
    pub fn tail(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Whether output waits for its reader. A VMM about to end polls on until it is written or nobody wants it.
    pub fn has_pending_output(&self) -> bool {
        unimplemented!()
    }
}

impl Device for Console {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Console
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

impl Polled for Console {
    fn poll_fd(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }
    fn poll(&mut self) {
        unimplemented!()
    }
}
