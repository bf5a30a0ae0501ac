//! Hardware-reduced ACPI (ACPI specification 6.5, sections 5.2 and 3.11.1).

use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{Machine, TablesError};

/// Writes the tables for `machine` to [`crate::layout::ACPI_TABLES`] and returns the address of the root pointer, which
/// the boot protocol hands to the kernel.
pub fn write<M: GuestMemoryBackend>(memory: &M, machine: &Machine) -> Result<GuestAddress, TablesError> {
    let _ = (memory, machine.check()?);
    unimplemented!("being written")
}

/// Whether `value`, written by the guest to [`crate::layout::SLEEP_CONTROL_PORT`], powers the machine off.
pub fn is_power_off(value: u8) -> bool {
    const SLEEP_ENABLE: u8 = 1 << 5;
    value & SLEEP_ENABLE != 0 && value >> 2 & 7 == POWER_OFF
}

/// Sleep type of S5, soft off.
const POWER_OFF: u8 = 5;
