//! Stops a whole VM, writes it to a file, and lets it go on.

use std::cell::Cell;
use std::fs::File;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use hull_arch::cpu::{VcpuState, VmState};
use hull_devices::device::{Memory, lock};
use hull_devices::legacy::Serial;
use hull_devices::transport::mmio::MmioTransport;
use kvm_ioctls::VmFd;

use super::backing::Backing;
use super::config::KernelKind;
use super::growth::Growth;
use super::parking::Parking;
use super::snapshot::{self, State};

/// All that there is of a VM, for a snapshot.
pub struct Freezer {
    /// The VM.
    pub vm: Arc<VmFd>,
    /// Its memory.
    pub memory: Arc<Memory>,
    /// What KVM knows of that.
    pub growth: Growth,
    /// What that is mapped from.
    pub backing: Backing,
    /// Whose kernel it runs.
    pub kernel_kind: KernelKind,
    /// Its vCPUs' parking places.
    pub parking: Arc<Parking>,
    /// Its virtio devices, in order.
    pub transports: Vec<Arc<MmioTransport>>,
    /// Its serial port.
    pub serial: Option<Arc<Mutex<Serial>>>,
    /// The devices stand still.
    pub devices_paused: Cell<bool>,
    /// A guest that will rest in a moment is let: one that does can go on without time having passed, see `Machine`.
    pub wait_for_rest: bool,
}

/// How often to look whether a guest rests, and what it is given in between.
const LOOKS: usize = 20;
const MOMENT: Duration = Duration::from_millis(5);

impl Freezer {
    /// Writes the VM to `file`, and leaves it standing still until [`thaw`](Self::thaw). Of memory only what has changed since
    /// the last snapshot, if only the `difference` is asked for.
    ///
    /// # Errors
    /// When it stands still already, there was no last snapshot, KVM does not give its state away, or the file cannot be
    /// written.
    pub fn freeze(&self, file: &File, difference: bool) -> anyhow::Result<()> {
        anyhow::ensure!(!self.parking.wanted(), "the VM stands still already");
        // vCPUs first: a device that stands still is asked by none.
        let vcpus = self.stop().map_err(anyhow::Error::msg).context("cannot save the vCPUs")?;
        self.devices_paused.set(true);
        let devices = self.transports.iter().map(|transport| transport.pause()).collect();
        let state = State {
            memory: self.growth.saved_size(),
            grown: self.growth.known(),
            growth: self.growth.most(),
            kernel_kind: self.kernel_kind,
            cpu: snapshot::cpu(),
            vcpus,
            vm: VmState::save(&self.vm, self.kernel_kind == KernelKind::Foreign)?,
            devices,
            serial: self.serial.as_ref().map(|serial| lock(serial).save()),
            // Last: what was saved before it may be in memory.
            difference: difference
                .then(|| self.backing.difference(&self.memory, self.growth.saved_size()))
                .transpose()?,
        };
        let digest = snapshot::write(file, &self.memory, &state).context("cannot write the snapshot")?;
        self.backing.rest_on(file, &self.memory, &state, digest);
        Ok(())
    }

    /// Has the VM stand still until [`thaw`](Self::thaw). Its devices go on with what they were asked.
    ///
    /// # Errors
    /// When a vCPU has ended.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.parking.stop().map(drop).map_err(anyhow::Error::msg).context("cannot stop the vCPUs")
    }

    fn stop(&self) -> Result<Vec<VcpuState>, String> {
        for _ in 1..LOOKS {
            let vcpus = self.parking.stop()?;
            if !self.wait_for_rest || vcpus.iter().all(VcpuState::rests) {
                return Ok(vcpus);
            }
            self.parking.resume();
            sleep(MOMENT);
        }
        self.parking.stop()
    }

    /// Lets the VM go on, if it stands still.
    ///
    /// # Errors
    /// When a device does not take its queues back.
    pub fn thaw(&self) -> anyhow::Result<()> {
        if !self.parking.wanted() {
            return Ok(());
        }
        // In the other order: a vCPU finds its devices working.
        if self.devices_paused.take() {
            for transport in &self.transports {
                transport.resume().context("a device does not go on")?;
            }
        }
        self.parking.resume();
        Ok(())
    }
}
