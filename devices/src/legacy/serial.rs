//! A 16550 serial port.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use vmm_sys_util::eventfd::EventFd;

use crate::bus::BusDevice;
use crate::event_loop::Polled;

/// Number of ports.
pub const SERIAL_SIZE: u64 = 8;

/// A serial port. To be put on the PIO bus and, for its input, on the event loop: both through one `Arc<Mutex<_>>`.
pub struct Serial {}

impl Serial {
    /// A serial port that reads the guest's input from `input`, writes its output to `output` and signals `interrupt`, an
    /// edge (an irqfd without a resample event). The descriptors are as for [`Console::new`](crate::console::Console::new); but a guest cannot wait
    /// for a reader of a serial line: what does not fit is lost.
    ///
    /// # Errors
    /// When a descriptor cannot be made non-blocking or watched.
    pub fn new(_input: Option<OwnedFd>, _output: OwnedFd, _interrupt: EventFd) -> io::Result<Self> {
        unimplemented!()
    }

    /// The last output of the guest, at most [`TAIL_SIZE`](crate::output::TAIL_SIZE) bytes, for reports.
    pub fn tail(&self) -> Vec<u8> {
        unimplemented!()
    }
}

impl BusDevice for std::sync::Mutex<Serial> {
    fn read(&self, _offset: u64, _data: &mut [u8]) {
        unimplemented!()
    }
    fn write(&self, _offset: u64, _data: &[u8]) {
        unimplemented!()
    }
}

impl Polled for Serial {
    fn poll_fd(&self) -> RawFd {
        unimplemented!()
    }
    fn poll(&mut self) {
        unimplemented!()
    }
}
