//! The few devices of a PC that are not virtio, for foreign kernels, early messages, and the end of a VM.

mod i8042;
mod pvpanic;
mod serial;
mod sleep;

pub use i8042::{I8042, I8042_BASE, I8042_SIZE};
pub use pvpanic::{PVPANIC_SIZE, Pvpanic};
pub use serial::{SERIAL_SIZE, Serial, SerialState};
pub use sleep::{SLEEP_SIZE, SLEEP_TYPE_S5, SleepRegisters};

#[cfg(test)]
#[path = "legacy_test.rs"]
mod tests;
