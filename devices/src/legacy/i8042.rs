//! The keyboard controller, of which only the reset line is there.

use std::sync::Mutex;

use vm_superio::{I8042Device, Trigger};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::BusDevice;
use crate::device::lock;

/// First port.
pub const I8042_BASE: u64 = 0x60;
/// Number of ports: data at 0x60, command and status at 0x64.
pub const I8042_SIZE: u64 = 5;

struct ResetLine(EventFd);

impl Trigger for ResetLine {
    type E = std::io::Error;

    fn trigger(&self) -> std::io::Result<()> {
        self.0.write(1)
    }
}

/// Signals an event when the guest pulls the reset line: 0xfe written to port 0x64. Reads give 0.
pub struct I8042(Mutex<I8042Device<ResetLine>>);

impl I8042 {
    /// A controller that signals `reset`.
    pub fn new(reset: EventFd) -> Self {
        Self(Mutex::new(I8042Device::new(ResetLine(reset))))
    }
}

impl BusDevice for I8042 {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let [byte] = data {
            *byte = lock(&self.0).read(offset as u8);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let [byte] = data {
            // Fails only when 2^64 - 1 resets are waiting to be seen.
            let _ = lock(&self.0).write(offset as u8, *byte);
        }
    }
}
