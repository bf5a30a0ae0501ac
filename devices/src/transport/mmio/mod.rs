//! virtio over memory-mapped I/O, version 2 (VIRTIO 1.3, section 4.2).

mod interrupt;
mod registers;
mod state;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::BusDevice;
use crate::device::{ActivateError, Activation, Interrupt, Memory, SharedDevice, lock};
use crate::queue::VirtQueue;
use interrupt::MmioInterrupt;
use registers::Registers;
pub use state::MmioState;

/// Bytes of guest address space that one device takes.
pub const MMIO_SIZE: u64 = 0x1000;
/// Offset of the register whose write notifies the queue with the written number.
pub const QUEUE_NOTIFY: u64 = VIRTIO_MMIO_QUEUE_NOTIFY as u64;

/// "virt", little endian.
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// Nothing is made of it (4.2.2).
const VENDOR: u32 = 0;
/// Status bits a driver sets.
const DRIVER_STATUS: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
    | VIRTIO_CONFIG_S_DRIVER
    | VIRTIO_CONFIG_S_FEATURES_OK
    | VIRTIO_CONFIG_S_DRIVER_OK
    | VIRTIO_CONFIG_S_FAILED;
/// What every device has, because [`VirtQueue`] has it.
const COMMON_FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// A device behind a page of registers.
pub struct MmioTransport {
    device: SharedDevice,
    kind: u32,
    memory: Arc<Memory>,
    notifiers: Vec<Arc<EventFd>>,
    interrupt: Arc<MmioInterrupt>,
    registers: Mutex<Registers>,
}

impl MmioTransport {
    /// Puts a device behind registers. `memory` is where its queues and buffers will be.
    ///
    /// # Errors
    /// When there is no eventfd to be had for the interrupt.
    pub fn new(device: SharedDevice, memory: Arc<Memory>) -> io::Result<Self> {
        let (kind, notifiers, registers) = {
            let device = lock(&device);
            let registers = Registers::new(device.queue_sizes(), device.features() | COMMON_FEATURES);
            (device.kind() as u32, device.notifiers().to_vec(), registers)
        };
        let interrupt = Arc::new(MmioInterrupt::new()?);
        Ok(Self { device, kind, memory, notifiers, interrupt, registers: Mutex::new(registers) })
    }

    /// The device's interrupt: to be registered as an irqfd without a resample event. It is an edge.
    pub fn interrupt_event(&self) -> &EventFd {
        &self.interrupt.event
    }

    /// The notifications of queues 0, 1, …: to be registered as 32-bit ioeventfds at [`QUEUE_NOTIFY`], with the queue's
    /// number as datamatch. An unregistered one works too, through [`BusDevice::write`].
    pub fn notifiers(&self) -> &[Arc<EventFd>] {
        &self.notifiers
    }

    fn status(&self) -> u32 {
        self.interrupt.status.load(Ordering::SeqCst)
    }

    fn read_register(&self, offset: u64) -> u32 {
        let registers = || lock(&self.registers);
        match u32::try_from(offset).unwrap_or(u32::MAX) {
            // The one that is read at every interrupt takes no lock.
            VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt.pending(),
            VIRTIO_MMIO_STATUS => self.status(),
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.kind,
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_CONFIG_GENERATION => lock(&self.device).config_generation(),
            VIRTIO_MMIO_DEVICE_FEATURES => registers().shown_features(),
            VIRTIO_MMIO_QUEUE_NUM_MAX => registers().max_size(),
            VIRTIO_MMIO_QUEUE_READY => registers().queue().is_some_and(|queue| queue.ready).into(),
            VIRTIO_MMIO_SHM_LEN_LOW => self.shared_memory().1 as u32,
            VIRTIO_MMIO_SHM_LEN_HIGH => (self.shared_memory().1 >> 32) as u32,
            VIRTIO_MMIO_SHM_BASE_LOW => self.shared_memory().0 as u32,
            VIRTIO_MMIO_SHM_BASE_HIGH => (self.shared_memory().0 >> 32) as u32,
            _ => 0,
        }
    }

    /// Address and length of the selected shared memory region; all ones when it does not exist (4.2.2).
    fn shared_memory(&self) -> (u64, u64) {
        let id = u8::try_from(lock(&self.registers).shared_memory_select).ok();
        let region = id.and_then(|id| lock(&self.device).shared_memory(id));
        region.map_or((u64::MAX, u64::MAX), |region| (region.address.0, region.length))
    }

    fn write_register(&self, offset: u64, value: u32) {
        match u32::try_from(offset).unwrap_or(u32::MAX) {
            VIRTIO_MMIO_INTERRUPT_ACK => return self.interrupt.acknowledge(value),
            VIRTIO_MMIO_QUEUE_NOTIFY => return self.notify(value),
            _ => {}
        }
        let mut registers = lock(&self.registers);
        let status = self.status();
        match offset as u32 {
            VIRTIO_MMIO_STATUS => self.write_status(&mut registers, value),
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => registers.device_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => registers.driver_features_select = value,
            VIRTIO_MMIO_QUEUE_SEL => registers.queue_select = value,
            VIRTIO_MMIO_SHM_SEL => registers.shared_memory_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES if status & VIRTIO_CONFIG_S_FEATURES_OK == 0 => {
                registers.accept_features(value);
            }
            // A live queue keeps its shape until the device is reset.
            _ if status & VIRTIO_CONFIG_S_DRIVER_OK != 0 => {}
            VIRTIO_MMIO_QUEUE_READY => {
                let usable = value == 1 && self.make_queue(&registers, registers.queue_select).is_some();
                if let Some(queue) = registers.queue_mut() {
                    queue.ready = usable;
                }
            }
            register => registers.describe_queue(register, value),
        }
    }

    /// Notifies a queue, when no ioeventfd did.
    fn notify(&self, queue: u32) {
        if let Some(notifier) = self.notifiers.get(queue as usize) {
            // Fails only when 2^64 - 1 notifications wait.
            let _ = notifier.write(1);
        }
    }

    /// The driver's next step of initialization (3.1.1), or a reset. Bits are set in order and never taken back.
    fn write_status(&self, registers: &mut Registers, value: u32) {
        if value == 0 {
            lock(&self.device).reset();
            registers.reset();
            self.interrupt.reset();
            return;
        }
        let before = self.status();
        let mut after = before | value & DRIVER_STATUS;
        let ready_for_features = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
        if after & ready_for_features != ready_for_features || !registers.features_acceptable() {
            after &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        if after & VIRTIO_CONFIG_S_FEATURES_OK == 0 {
            after &= !VIRTIO_CONFIG_S_DRIVER_OK;
        }
        self.interrupt.status.fetch_or(after, Ordering::SeqCst);
        let may_start =
            after & !before & VIRTIO_CONFIG_S_DRIVER_OK != 0 && after & VIRTIO_CONFIG_S_FAILED == 0;
        if may_start && self.activate(registers).is_err() {
            self.interrupt.needs_reset();
        }
    }

    fn activate(&self, registers: &Registers) -> Result<(), ActivateError> {
        let queues = (0..registers.queues.len() as u32).map(|index| {
            let set_up = registers.queues[index as usize].ready;
            set_up.then(|| self.make_queue(registers, index)).flatten()
        });
        let interrupt: Arc<dyn Interrupt> = self.interrupt.clone();
        lock(&self.device).activate(Activation::new(registers.driver_features, interrupt, queues.collect()))
    }

    /// A queue from its registers, if they make sense.
    fn make_queue(&self, registers: &Registers, index: u32) -> Option<VirtQueue> {
        let state = registers.queues.get(index as usize)?;
        let max_size = registers.max_sizes[index as usize];
        let event_idx = registers.driver_features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0;
        let interrupt: Arc<dyn Interrupt> = self.interrupt.clone();
        VirtQueue::new(index as u16, max_size, state, event_idx, self.memory.clone(), interrupt).ok()
    }

    fn running(&self) -> bool {
        let status = self.status();
        status & VIRTIO_CONFIG_S_DRIVER_OK != 0 && status & VIRTIO_CONFIG_S_NEEDS_RESET == 0
    }
}

/// Registers are read and written by aligned 32-bit accesses (4.2.2.2), the configuration space by any.
impl BusDevice for MmioTransport {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if let Some(offset) = offset.checked_sub(VIRTIO_MMIO_CONFIG.into()) {
            lock(&self.device).read_config(offset, data);
        } else if let Ok(data) = <&mut [u8; 4]>::try_from(&mut *data) {
            *data = self.read_register(offset).to_le_bytes();
        } else {
            data.fill(0);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(offset) = offset.checked_sub(VIRTIO_MMIO_CONFIG.into()) {
            if self.status() & VIRTIO_CONFIG_S_DRIVER != 0 {
                lock(&self.device).write_config(offset, data);
            }
        } else if let Ok(data) = <[u8; 4]>::try_from(data) {
            self.write_register(offset, u32::from_le_bytes(data));
        }
    }
}

#[cfg(test)]
#[path = "mmio_test.rs"]
mod tests;
