//! What a driver writes into an MMIO device's registers (VIRTIO 1.3, table 4.1), kept until it says `DRIVER_OK`.

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_mmio::*;

use crate::queue::QueueState;

pub(super) struct Registers {
    /// Features the device offers.
    pub(super) offered: u64,
    /// The largest size of each queue.
    pub(super) max_sizes: Vec<u16>,
    pub(super) device_features_select: u32,
    pub(super) driver_features_select: u32,
    pub(super) driver_features: u64,
    pub(super) queue_select: u32,
    pub(super) shared_memory_select: u32,
    pub(super) queues: Vec<QueueState>,
}

impl Registers {
    pub(super) fn new(max_sizes: &[u16], offered: u64) -> Self {
        let mut registers = Self {
            offered,
            max_sizes: max_sizes.to_vec(),
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            shared_memory_select: 0,
            queues: vec![],
        };
        registers.reset();
        registers
    }

    pub(super) fn reset(&mut self) {
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        self.shared_memory_select = 0;
        self.queues.clear();
        self.queues
            .extend(self.max_sizes.iter().map(|size| QueueState { size: *size, ..Default::default() }));
    }

    /// The selected half of the offered features.
    pub(super) fn shown_features(&self) -> u32 {
        match self.device_features_select {
            0 => self.offered as u32,
            1 => (self.offered >> 32) as u32,
            _ => 0,
        }
    }

    /// The driver writes the selected half of the features it accepts.
    pub(super) fn accept_features(&mut self, value: u32) {
        let (low, high) = (self.driver_features as u32, (self.driver_features >> 32) as u32);
        let (low, high) = match self.driver_features_select {
            0 => (value, high),
            1 => (low, value),
            _ => (low, high),
        };
        self.driver_features = u64::from(high) << 32 | u64::from(low);
    }

    /// Whether the driver took only what was offered, and is no legacy driver (6.1).
    pub(super) fn features_acceptable(&self) -> bool {
        self.driver_features & !self.offered == 0 && self.driver_features & (1 << VIRTIO_F_VERSION_1) != 0
    }

    /// The largest size of the selected queue, 0 when there is no such queue.
    pub(super) fn max_size(&self) -> u32 {
        self.max_sizes.get(self.queue_select as usize).copied().unwrap_or(0).into()
    }

    /// The selected queue.
    pub(super) fn queue(&self) -> Option<&QueueState> {
        self.queues.get(self.queue_select as usize)
    }

    pub(super) fn queue_mut(&mut self) -> Option<&mut QueueState> {
        self.queues.get_mut(self.queue_select as usize)
    }

    /// A write to a register that describes the selected queue. Ignored for a queue that is ready (4.2.2.2).
    pub(super) fn describe_queue(&mut self, register: u32, value: u32) {
        let Some(queue) = self.queue_mut().filter(|queue| !queue.ready) else { return };
        let low = |address: u64| address & !0xffff_ffff | u64::from(value);
        let high = |address: u64| address & 0xffff_ffff | u64::from(value) << 32;
        match register {
            // A size that is no power of two is no size: QueueReady will say so.
            VIRTIO_MMIO_QUEUE_NUM => queue.size = u16::try_from(value).unwrap_or(0),
            VIRTIO_MMIO_QUEUE_DESC_LOW => queue.descriptors = low(queue.descriptors),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.descriptors = high(queue.descriptors),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.available = low(queue.available),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.available = high(queue.available),
            VIRTIO_MMIO_QUEUE_USED_LOW => queue.used = low(queue.used),
            VIRTIO_MMIO_QUEUE_USED_HIGH => queue.used = high(queue.used),
            _ => {}
        }
    }
}
