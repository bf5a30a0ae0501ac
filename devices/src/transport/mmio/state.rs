//! Pausing, saving and restoring a device with its registers.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::MmioTransport;
use crate::device::{DeviceState, RestoreError, lock};
use crate::queue::{QueueError, QueueState};

/// State of a device and its registers: everything the guest knows of it.
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
    /// Stops the device and returns everything the guest knows of it. The vCPUs must be stopped before.
    /// Call [`resume`](Self::resume) to go on.
    pub fn pause(&self) -> MmioState {
        let mut registers = lock(&self.registers);
        let mut device = lock(&self.device);
        for queue in device.pause() {
            registers.queues[usize::from(queue.index())] = queue.state();
        }
        MmioState {
            device_features_select: registers.device_features_select,
            driver_features_select: registers.driver_features_select,
            driver_features: registers.driver_features,
            queue_select: registers.queue_select,
            shared_memory_select: registers.shared_memory_select,
            status: self.status(),
            interrupt_status: self.interrupt.pending(),
            queues: registers.queues.clone(),
            device: device.save(),
        }
    }

    /// Lets a paused or restored device go on.
    ///
    /// # Errors
    /// When the device does not take its queues back.
    pub fn resume(&self) -> Result<(), RestoreError> {
        let registers = lock(&self.registers);
        if self.running() {
            self.activate(&registers)?;
        }
        self.interrupt.resume();
        // What the driver notified of while nobody listened.
        for queue in 0..self.notifiers.len() as u32 {
            self.notify(queue);
        }
        Ok(())
    }

    /// Makes a new device what a paused one was, and paused; [`resume`](Self::resume) starts it.
    ///
    /// # Errors
    /// When the state does not fit the device or the guest's memory.
    pub fn restore(&self, state: MmioState) -> Result<(), RestoreError> {
        let mut registers = lock(&self.registers);
        let mut device = lock(&self.device);
        let (expected, found) = (device.kind(), state.device.kind());
        if expected != found {
            return Err(RestoreError::Kind { expected, found });
        }
        let mismatch = |what: String| RestoreError::Mismatch { kind: expected, what };
        if state.queues.len() != registers.queues.len() {
            return Err(mismatch(format!("{} queues", state.queues.len())));
        }
        device.restore(state.device)?;
        if state.driver_features & !registers.offered != 0 {
            return Err(mismatch(format!("features {:#x}", state.driver_features)));
        }
        registers.device_features_select = state.device_features_select;
        registers.driver_features_select = state.driver_features_select;
        registers.driver_features = state.driver_features;
        registers.queue_select = state.queue_select;
        registers.shared_memory_select = state.shared_memory_select;
        registers.queues = state.queues;
        for (index, queue) in (0u16..).zip(&registers.queues).filter(|(_, queue)| queue.ready) {
            if self.make_queue(&registers, index.into()).is_none() {
                let source = QueueError::Rings {
                    descriptors: queue.descriptors,
                    available: queue.available,
                    used: queue.used,
                };
                return Err(RestoreError::Queue { index, source });
            }
        }
        self.interrupt.status.store(state.status, Ordering::SeqCst);
        self.interrupt.set_pending(state.interrupt_status);
        Ok(())
    }
}
