//! Makes the devices of a configuration and puts them on buses and on the event loop.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use hull_arch::layout::{self, AddressRange};
use hull_arch::tables::MmioDevice;
use hull_devices::balloon::Balloon;
use hull_devices::block::{Block, FileDisk, Layers, Serial as DiskSerial};
use hull_devices::bus::Bus;
use hull_devices::console::Console;
use hull_devices::device::{Memory, SharedDevice};
use hull_devices::entropy::Entropy;
use hull_devices::event_loop::OnLoop;
use hull_devices::fs::{Fs, Share};
use hull_devices::legacy::{
    I8042, I8042_BASE, I8042_SIZE, PVPANIC_SIZE, Pvpanic, SERIAL_SIZE, SLEEP_SIZE, Serial, SerialState,
    SleepRegisters,
};
use hull_devices::mem::Mem;
use hull_devices::net::Net;
use hull_devices::transport::mmio::{MmioTransport, QUEUE_NOTIFY};
use hull_devices::vsock::Vsock;
use hull_protocol::SHARE_TAG;
use kvm_ioctls::{IoEventAddress, VmFd};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::channel::Channel;
use super::config::{DeviceConfig, Fd};
use super::descriptors::Descriptors;
use super::events::{GuestEnds, Loop, Reachable, ToKeeper, subscribe};
use super::growth::GiveBack;
use super::seccomp::{self, Thread};

/// The devices of a VM, on their buses.
pub struct Devices {
    /// Memory-mapped I/O.
    pub mmio: Bus,
    /// Port I/O.
    pub pio: Bus,
    /// virtio devices as the guest is told of them, in order.
    pub windows: Vec<MmioDevice>,
    /// The virtio devices themselves, in the same order.
    pub transports: Vec<Arc<MmioTransport>>,
    /// The 16550, if there is one.
    pub serial: Option<Arc<Mutex<Serial>>>,
    /// Devices that the keeper's messages are about.
    pub reachable: Reachable,
    /// Signalled when the guest ends itself.
    pub ends: GuestEnds,
}

/// What a device is made with.
pub struct Wiring<'a> {
    /// The VM.
    pub vm: &'a VmFd,
    /// Its memory.
    pub memory: Arc<Memory>,
    /// Addresses kept for memory that it gets.
    pub growth: AddressRange,
    /// Files by number.
    pub descriptors: &'a Descriptors,
    /// The control socket.
    pub keeper: &'a Arc<Channel>,
    /// The event loop.
    pub events: &'a mut Loop,
    /// What is shared with the guest, if anything is.
    pub share: Option<Share>,
}

/// Threads of a share: so many requests wait for the host's disk beside each other.
const SHARE_THREADS: usize = 4;

impl Devices {
    /// Makes every device of `configs`; a serial port begins as `serial` says.
    ///
    /// # Errors
    /// When a file is missing or unusable, or there are more devices than interrupt lines.
    pub fn build(
        configs: &[DeviceConfig],
        serial: Option<SerialState>,
        mut wiring: Wiring<'_>,
    ) -> anyhow::Result<Self> {
        let mut devices = Self {
            mmio: Bus::new(),
            pio: Bus::new(),
            windows: Vec::new(),
            transports: Vec::new(),
            serial: None,
            reachable: Reachable::default(),
            ends: GuestEnds::new()?,
        };
        let i8042 = I8042::new(devices.ends.reset.try_clone()?);
        devices.pio.insert(I8042_BASE, I8042_SIZE, Arc::new(i8042))?;
        let sleep = SleepRegisters::new(devices.ends.power_off.try_clone()?);
        devices.pio.insert(layout::SLEEP_CONTROL_PORT.into(), SLEEP_SIZE, Arc::new(sleep))?;
        let pvpanic = Pvpanic::new(devices.ends.panicked.try_clone()?);
        devices.pio.insert(layout::PVPANIC_PORT.into(), PVPANIC_SIZE, Arc::new(pvpanic))?;
        for config in configs {
            devices.add(config, serial.as_ref(), &mut wiring)?;
        }
        Ok(devices)
    }

    fn add(
        &mut self,
        config: &DeviceConfig,
        serial: Option<&SerialState>,
        wiring: &mut Wiring<'_>,
    ) -> anyhow::Result<()> {
        let descriptors = wiring.descriptors;
        let input = |fd: &Option<Fd>| fd.map(|fd| descriptors.take(fd)).transpose();
        match config {
            DeviceConfig::Console { input: from, output } => {
                let console = Console::new(input(from)?, descriptors.take(*output)?, None);
                let console = Arc::new(Mutex::new(console.context("cannot use the console's descriptors")?));
                subscribe(wiring.events, OnLoop::new(console.clone()));
                self.reachable.console = Some(console.clone());
                self.add_virtio(console, wiring)
            }
            DeviceConfig::Vsock { cid } => {
                let host = Box::new(ToKeeper(wiring.keeper.clone()));
                let vsock = Arc::new(Mutex::new(Vsock::new(*cid, host)?));
                subscribe(wiring.events, OnLoop::new(vsock.clone()));
                self.reachable.vsock = Some(vsock.clone());
                self.add_virtio(vsock, wiring)
            }
            DeviceConfig::Entropy => {
                let entropy = Arc::new(Mutex::new(Entropy::new()?));
                subscribe(wiring.events, OnLoop::new(entropy.clone()));
                self.add_virtio(entropy, wiring)
            }
            DeviceConfig::Balloon => {
                let backing = Box::new(GiveBack::new(wiring.memory.clone()));
                let balloon = Arc::new(Mutex::new(Balloon::new(backing).context("cannot make the balloon")?));
                subscribe(wiring.events, OnLoop::new(balloon.clone()));
                self.add_virtio(balloon, wiring)
            }
            DeviceConfig::Network { mac, mtu } => {
                let net = Arc::new(Mutex::new(Net::new(*mac, *mtu)?));
                subscribe(wiring.events, OnLoop::new(net.clone()));
                self.reachable.net = Some(net.clone());
                self.add_virtio(net, wiring)
            }
            DeviceConfig::Memory => {
                anyhow::ensure!(self.reachable.mem.is_none(), "a VM has one memory device");
                let backing = Box::new(GiveBack::new(wiring.memory.clone()));
                let mem = Mem::new(GuestAddress(wiring.growth.start), wiring.growth.size, backing)
                    .context("cannot make the memory device")?;
                let mem = Arc::new(Mutex::new(mem));
                subscribe(wiring.events, OnLoop::new(mem.clone()));
                self.reachable.mem = Some(mem.clone());
                self.add_virtio(mem, wiring)
            }
            DeviceConfig::Share { .. } => {
                let share = match wiring.share.take() {
                    Some(share) => Fs::with_share(SHARE_TAG, share, SHARE_THREADS, || {
                        confine(Thread::Share, "a share");
                    }),
                    None => Fs::new(SHARE_TAG),
                };
                let share = share.context("cannot make the file share")?;
                let refuses = !share.has_share();
                let share = Arc::new(Mutex::new(share));
                if refuses {
                    subscribe(wiring.events, OnLoop::new(share.clone()));
                }
                self.add_virtio(share, wiring)
            }
            DeviceConfig::Disk { file, read_only, serial } => {
                let disk = FileDisk::new(descriptors.file(*file)?, *read_only)
                    .with_context(|| format!("cannot use the file of disk {serial:?}"))?;
                let disk = Block::new(Arc::new(disk), DiskSerial::try_from(serial.as_str())?, confine_disk)?;
                self.add_virtio(Arc::new(Mutex::new(disk)), wiring)
            }
            DeviceConfig::Layers { files } => {
                let files: Result<Vec<_>, _> = files.iter().map(|file| descriptors.file(*file)).collect();
                let layers = Arc::new(Layers::new(files?).context("cannot use a layer's file")?);
                let disk = Block::new(layers.clone(), DiskSerial::try_from("layers")?, confine_disk)?;
                let disk = Arc::new(Mutex::new(disk));
                self.reachable.layers = Some((disk.clone(), layers));
                self.add_virtio(disk, wiring)
            }
            DeviceConfig::Serial { input: from, output } => {
                let interrupt = EventFd::new(EFD_NONBLOCK)?;
                wiring.vm.register_irqfd(&interrupt, layout::COM1_GSI).context("KVM_IRQFD")?;
                let (input, output) = (input(from)?, descriptors.take(*output)?);
                let port = match serial {
                    Some(state) => Serial::restore(state.clone(), input, output, interrupt),
                    None => Serial::new(input, output, interrupt),
                };
                let port = Arc::new(Mutex::new(port.context("cannot use the serial port's descriptors")?));
                subscribe(wiring.events, OnLoop::new(port.clone()));
                self.pio.insert(layout::COM1_PORT.into(), SERIAL_SIZE, port.clone())?;
                self.serial = Some(port);
                Ok(())
            }
        }
    }

    /// Gives a virtio device a page of registers, an interrupt line, and eventfds for its notifications.
    fn add_virtio(&mut self, device: SharedDevice, wiring: &Wiring<'_>) -> anyhow::Result<()> {
        let window = layout::virtio_mmio_device(self.windows.len()).with_context(|| {
            format!("there is no interrupt line for a device beside {}", self.windows.len())
        })?;
        let transport = Arc::new(MmioTransport::new(device, wiring.memory.clone())?);
        wiring.vm.register_irqfd(transport.interrupt_event(), window.gsi).context("KVM_IRQFD")?;
        let notify = IoEventAddress::Mmio(window.base.0 + QUEUE_NOTIFY);
        for (queue, notifier) in (0u32..).zip(transport.notifiers()) {
            wiring.vm.register_ioevent(notifier, &notify, queue).context("KVM_IOEVENTFD")?;
        }
        self.mmio.insert(window.base.0, window.size, transport.clone())?;
        self.transports.push(transport);
        self.windows.push(window);
        Ok(())
    }
}

/// Runs first in the thread of a disk's worker.
fn confine_disk() {
    confine(Thread::Disk, "a disk");
}

/// Runs first in the thread of a worker of `what`.
fn confine(thread: Thread, what: &str) {
    // A worker that cannot be confined must not serve a guest.
    let confined = seccomp::filter(thread).is_ok_and(|filter| seccomp::confine(&filter).is_ok());
    if !confined {
        eprintln!("hull: cannot confine {what}'s worker: this kernel has no seccomp filters");
        std::process::exit(1);
    }
}
