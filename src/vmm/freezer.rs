//! Stops a whole VM and writes it to a file.

use std::fs::File;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use hull_arch::cpu::VmState;
use hull_devices::device::{Memory, lock};
use hull_devices::legacy::Serial;
use hull_devices::transport::mmio::MmioTransport;
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::config::KernelKind;
use super::parking::Parking;
use super::snapshot::{self, State};

/// All that there is of a VM, for a snapshot.
pub struct Freezer {
    /// The VM.
    pub vm: Arc<VmFd>,
    /// Its memory.
    pub memory: Arc<Memory>,
    /// Whose kernel it runs.
    pub kernel_kind: KernelKind,
    /// Its vCPUs' parking places.
    pub parking: Arc<Parking>,
    /// Its virtio devices, in order.
    pub transports: Vec<Arc<MmioTransport>>,
    /// Its serial port.
    pub serial: Option<Arc<Mutex<Serial>>>,
}

impl Freezer {
    /// Writes the VM to `file`, and leaves it standing still.
    ///
    /// # Errors
    /// When KVM does not give its state away, or the file cannot be written.
    pub fn freeze(&self, file: &File) -> anyhow::Result<()> {
        // vCPUs first: a device that stands still is asked by none.
        let vcpus = self.parking.stop().map_err(anyhow::Error::msg).context("cannot save the vCPUs")?;
        let devices = self.transports.iter().map(|transport| transport.pause()).collect();
        let state = State {
            memory: snapshot_size(&self.memory),
            kernel_kind: self.kernel_kind,
            cpu: snapshot::cpu(),
            vcpus,
            vm: VmState::save(&self.vm, self.kernel_kind == KernelKind::Foreign)?,
            devices,
            serial: self.serial.as_ref().map(|serial| lock(serial).save()),
        };
        snapshot::write(file, &self.memory, &state).context("cannot write the snapshot")
    }
}

fn snapshot_size(memory: &Memory) -> u64 {
    memory.iter().map(GuestMemoryRegion::len).sum()
}
