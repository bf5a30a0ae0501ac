//! pvpanic: how a guest's kernel says that it panicked (QEMU, `docs/specs/pvpanic.rst`).

use vmm_sys_util::eventfd::EventFd;

use crate::bus::BusDevice;

/// Number of registers: one, a byte.
pub const PVPANIC_SIZE: u64 = 1;

/// The event "panicked", in what the guest reads (events that are understood) and what it writes (events that happened).
const PANICKED: u8 = 1 << 0;

/// Signals an event when the guest writes that it panicked. Other events, such as a crash that its own crash kernel is to
/// look at, are not asked for and are ignored.
pub struct Pvpanic(EventFd);

impl Pvpanic {
    /// A register that signals `panicked`.
    pub fn new(panicked: EventFd) -> Self {
        Self(panicked)
    }
}

impl BusDevice for Pvpanic {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let [byte] = data {
            *byte = PANICKED;
        }
    }

    fn write(&self, _offset: u64, data: &[u8]) {
        if data.first().is_some_and(|events| events & PANICKED != 0) {
            // Fails only when 2^64 - 1 panics are waiting to be seen.
            let _ = self.0.write(1);
        }
    }
}
