//! virtio over memory-mapped I/O, version 2 (VIRTIO 1.3, section 4.2).

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::BusDevice;
use crate::device::{DeviceState, Memory, RestoreError, SharedDevice};
use crate::queue::QueueState;

/// Bytes of guest address space that one device takes.
pub const MMIO_SIZE: u64 = 0x1000;
/// Offset of the register whose write notifies the queue with the written number.
pub const QUEUE_NOTIFY: u64 = 0x50;

/// A device behind a page of registers.
pub struct MmioTransport {}

/// State of the registers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MmioState {
    /// Which half of the device's features is shown.
    pub device_features_select: u32,
    /// Which half of the driver's features is written.
    pub driver_features_select: u32,
    /// Features the driver accepted.
    pub driver_features: u64,
    /// Which queue the queue registers are about.
    pub queue_select: u32,
    /// Which shared memory region is shown.
    pub shared_memory_select: u32,
    /// Device status field.
    pub status: u32,
    /// Interrupts not yet acknowledged.
    pub interrupt_status: u32,
    /// The queues.
    pub queues: Vec<QueueState>,
    /// The device behind the registers.
    pub device: DeviceState,
}

impl MmioTransport {
    /// Puts a device behind registers. `memory` is where its queues and buffers will be.
    ///
    /// # Errors
    /// When there is no eventfd to be had for the interrupt.
    pub fn new(_device: SharedDevice, _memory: Arc<Memory>) -> io::Result<Self> {
        unimplemented!()
    }

    /// The device's interrupt: to be registered as an irqfd without a resample event. It is an edge.
    pub fn interrupt_event(&self) -> &EventFd {
        unimplemented!()
    }

    /// The notifications of queues 0, 1, …: to be registered as 32-bit ioeventfds at [`QUEUE_NOTIFY`], with the queue's
    /// number as datamatch. An unregistered one works too, through [`BusDevice::write`].
    pub fn notifiers(&self) -> &[Arc<EventFd>] {
        unimplemented!()
    }

    /// Stops the device and returns everything the guest knows of it. Call [`resume`](Self::resume) to go on.
    pub fn pause(&self) -> MmioState {
        unimplemented!()
    }

    /// Lets a paused device go on.
    ///
    /// # Errors
    /// When the device does not take its queues back.
    pub fn resume(&self) -> Result<(), RestoreError> {
        unimplemented!()
    }

    /// Makes a new device what a paused one was, and paused; [`resume`](Self::resume) starts it.
    ///
    /// # Errors
    /// When the state does not fit the device or the guest's memory.
    pub fn restore(&self, _state: MmioState) -> Result<(), RestoreError> {
        unimplemented!()
    }
}

impl BusDevice for MmioTransport {
    fn read(&self, _offset: u64, _data: &mut [u8]) {
        unimplemented!()
    }

    fn write(&self, _offset: u64, _data: &[u8]) {
        unimplemented!()
    }
}
