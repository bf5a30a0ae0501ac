//! Sleep control and status registers of reduced-hardware ACPI (ACPI 6.5, section 4.8.3.7): how a guest powers itself off.

use vmm_sys_util::eventfd::EventFd;

use crate::bus::BusDevice;

/// Number of registers, a byte each: control, then status.
pub const SLEEP_SIZE: u64 = 2;
/// The sleep type that means power-off: what the table's `\_S5` object must name.
pub const SLEEP_TYPE_S5: u8 = 5;

const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;
const SLEEP_TYPE_MASK: u8 = 0b111;

/// Signals an event when the guest enters S5. Other sleep states are ignored. On either bus.
pub struct SleepRegisters {
    power_off: EventFd,
}

impl SleepRegisters {
    /// Registers that signal `power_off`.
    pub fn new(power_off: EventFd) -> Self {
        Self { power_off }
    }
}

impl BusDevice for SleepRegisters {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let Some(control) = data.first().filter(|_| offset == 0) else { return };
        let sleep_type = (control >> SLEEP_TYPE_SHIFT) & SLEEP_TYPE_MASK;
        if control & SLEEP_ENABLE != 0 && sleep_type == SLEEP_TYPE_S5 {
            // Fails only when 2^64 - 1 power-offs are waiting to be seen.
            let _ = self.power_off.write(1);
        }
    }
}
