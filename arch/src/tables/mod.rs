//! How the guest learns of its CPUs, interrupt controller and devices.
//!
//! [`mp`] is the shorter way: a kernel with `CONFIG_X86_MPPARSE` reads CPUs and interrupt lines from it, and finds
//! devices on its command line ([`crate::cmdline::CommandLine::push_devices`]). [`acpi`] is understood by every
//! kernel, but its interpreter has to run.

pub mod acpi;
pub mod mp;

use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;

/// How the guest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TablesKind {
    /// By an MP table and the command line: [`mp`].
    Mp,
    /// By ACPI: [`acpi`].
    Acpi,
}

/// A virtio-mmio device as the guest is told of it. Its interrupt is edge-triggered and active high, which is what
/// an irqfd without resampling delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MmioDevice {
    /// Where its registers are.
    #[serde(with = "address")]
    pub base: GuestAddress,
    /// Bytes of them.
    pub size: u64,
    /// Its interrupt line.
    pub gsi: u32,
}

/// [`GuestAddress`] as the number it is.
mod address {
    use serde::{Deserialize, Deserializer, Serializer};
    use vm_memory::GuestAddress;

    pub fn serialize<S: Serializer>(address: &GuestAddress, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(address.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GuestAddress, D::Error> {
        u64::deserialize(deserializer).map(GuestAddress)
    }
}

/// What the guest is told of: the same for both kinds of tables.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// Virtual CPUs, 1 to [`crate::layout::MAX_VCPUS`]; their APIC ids are 0, 1, 2, ….
    pub vcpus: u8,
    /// virtio-mmio devices.
    pub devices: &'a [MmioDevice],
    /// Whether there is a 16550 at [`crate::layout::COM1_PORT`].
    pub serial: bool,
    /// Whether KVM's PIT was created, see [`crate::cpu`].
    pub pit: bool,
    /// Whether there is a pvpanic at [`crate::layout::PVPANIC_PORT`] (only ACPI tells of it).
    pub pvpanic: bool,
    /// Line on which a change of the id at [`crate::layout::VM_GENERATION_ID`] is announced, if there is one
    /// (only ACPI tells of it).
    pub generation_id: Option<u32>,
}

impl<'a> Machine<'a> {
    /// A machine of CPUs and virtio-mmio devices only.
    pub fn new(vcpus: u8, devices: &'a [MmioDevice]) -> Self {
        Machine { vcpus, devices, serial: false, pit: false, pvpanic: false, generation_id: None }
    }

    /// Whether a VM can be like this.
    fn check(&self) -> Result<(), TablesError> {
        if !(1..=crate::layout::MAX_VCPUS).contains(&self.vcpus) {
            return Err(TablesError::Vcpus(self.vcpus));
        }
        let mut used = 0u32;
        for line in self.lines() {
            if u32::from(line) >= crate::layout::IOAPIC_PINS || used & 1 << line != 0 {
                return Err(TablesError::Line(line));
            }
            used |= 1 << line;
        }
        Ok(())
    }

    /// The interrupt lines in use, as pins of the IOAPIC.
    fn lines(&self) -> impl Iterator<Item = u8> {
        let timer = self.pit.then_some(0);
        let serial = self.serial.then_some(crate::layout::COM1_GSI);
        let devices = self.devices.iter().map(|device| device.gsi);
        let lines = timer.into_iter().chain(serial).chain(devices).chain(self.generation_id);
        lines.map(|line| u8::try_from(line).unwrap_or(u8::MAX))
    }
}

/// Why the tables cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// Too few or too many CPUs.
    #[error("a VM has 1 to 32 virtual CPUs, not {0}")]
    Vcpus(u8),
    /// A line that does not exist, or is given to two devices.
    #[error("interrupt line {0} cannot be given to a device: it is taken, or the IOAPIC has no such pin")]
    Line(u8),
    /// Their place is too small.
    #[error("the {name} take {size} bytes, there is room for {room}; give the VM fewer devices")]
    TooLarge {
        /// What.
        name: &'static str,
        /// Bytes needed.
        size: usize,
        /// Bytes there are.
        room: usize,
    },
    /// Their place is not RAM.
    #[error("cannot write the {name} to guest memory; the VM needs at least 2 MiB")]
    Memory {
        /// What.
        name: &'static str,
        /// Why.
        source: vm_memory::GuestMemoryError,
    },
}
