//! The one interrupt line of an MMIO device, with the register that says what it means.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use virtio_bindings::virtio_config::VIRTIO_CONFIG_S_NEEDS_RESET;
use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use vmm_sys_util::eventfd::EventFd;

use crate::device::Interrupt;

/// `InterruptStatus`, the device status field (which the device may change too), and the line.
pub(super) struct MmioInterrupt {
    pub(super) event: EventFd,
    pending: AtomicU32,
    pub(super) status: AtomicU32,
}

impl MmioInterrupt {
    pub(super) fn new() -> io::Result<Self> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        Ok(Self { event, pending: AtomicU32::new(0), status: AtomicU32::new(0) })
    }

    pub(super) fn pending(&self) -> u32 {
        self.pending.load(Ordering::SeqCst)
    }

    pub(super) fn acknowledge(&self, bits: u32) {
        self.pending.fetch_and(!bits, Ordering::SeqCst);
    }

    pub(super) fn reset(&self) {
        self.pending.store(0, Ordering::SeqCst);
        self.status.store(0, Ordering::SeqCst);
    }

    pub(super) fn set_pending(&self, bits: u32) {
        self.pending.store(bits, Ordering::SeqCst);
    }

    /// Raises again what is pending: the edge may have been lost with the process that raised it.
    pub(super) fn resume(&self) {
        if self.pending() != 0 {
            self.edge();
        }
    }

    /// An edge goes out only for a bit that was not set: the driver acknowledges a bit before it looks at
    /// what it stands for, so one that it has not acknowledged yet covers this event too, as with a level. Each edge costs a
    /// guest two trapped accesses.
    fn raise(&self, bit: u32) {
        if self.pending.fetch_or(bit, Ordering::SeqCst) & bit == 0 {
            self.edge();
        }
    }

    fn edge(&self) {
        // Fails only when 2^64 - 1 edges wait for delivery.
        let _ = self.event.write(1);
    }
}

impl Interrupt for MmioInterrupt {
    fn queue(&self, _index: u16) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    fn config(&self) {
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    fn needs_reset(&self) {
        self.status.fetch_or(VIRTIO_CONFIG_S_NEEDS_RESET, Ordering::SeqCst);
        self.config();
    }
}
