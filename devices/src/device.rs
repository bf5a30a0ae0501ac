//! What a virtio device is, whatever its transport.
//!
//! Follows VIRTIO 1.3, sections 2 (facilities of a device) and 3 (initialization and operation).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use crate::balloon::BalloonState;
use crate::block::BlockState;
use crate::console::ConsoleState;
use crate::entropy::EntropyState;
use crate::fs::FsState;
use crate::mem::MemState;
use crate::net::NetState;
use crate::queue::VirtQueue;
use crate::vsock::VsockState;

/// Guest memory as every device sees it. Its map does not change after the first device is made.
pub type Memory = GuestMemoryMmap<()>;

/// Device types by their number (VIRTIO 1.3, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u32)]
pub enum DeviceKind {
    /// Network card.
    Net = 1,
    /// Block device.
    Block = 2,
    /// Console.
    Console = 3,
    /// Entropy source.
    Entropy = 4,
    /// Memory balloon.
    Balloon = 5,
    /// Socket device.
    Vsock = 19,
    /// Memory device.
    Mem = 24,
    /// File system.
    Fs = 26,
}

/// A virtio device without a transport.
///
/// # Its life
///
/// ```text
///                 activate                      pause
///     ┌────────┐ ──────────► ┌─────────┐ ──────────────────► ┌────────┐
///     │  idle  │             │ running │   (queues leave)    │ paused │──► save
///     └────────┘ ◄────────── └─────────┘ ◄────────────────── └────────┘
///       │  ▲        reset         │            activate           │
///       │  │                      │        (queues return)        │
///       │  └──────────────────────┼──────────────◄────────────────┘
///       ▼                         ▼            reset
///    restore                broken ring: the driver is told by DEVICE_NEEDS_RESET,
///  (then activate)          the device leaves its queues alone until reset
/// ```
///
/// * **idle**: as made. The driver reads features and configuration; no queue exists.
/// * **running**: the driver has said `DRIVER_OK`. The device owns its queues and serves them on the event
///   loop (see [`crate::event_loop`]) or on a worker of its own.
/// * **paused**: the device has given its queues back, nothing of a request is in flight, no thread touches guest
///   memory. What the device itself remembers (a console's pending output, say) is kept.
///
/// # Threads
///
/// A device lives in an `Arc<Mutex<dyn Device>>` ([`SharedDevice`]). `read_config`, `write_config`, `activate` and `reset` are
/// called by whichever vCPU writes the transport's registers, so they are quick, and make no system call beyond `read`,
/// `write`, `close` and `futex`. Everything else happens on the event loop or on the device's worker.
pub trait Device: Send {
    /// The number the driver finds the device by.
    fn kind(&self) -> DeviceKind;

    /// The largest size of each queue, in descriptors: powers of two. Its length is the number of queues.
    fn queue_sizes(&self) -> &[u16];

    /// The device's notifications from the driver, one a queue: whoever writes one kicks that queue.
    fn notifiers(&self) -> &[Arc<EventFd>];

    /// Feature bits of this kind of device, 0 to 23 and 50 up. Those of queues and transport are added for it.
    fn features(&self) -> u64 {
        0
    }

    /// Reads the configuration space. Beyond its end there are zeroes.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes the configuration space. What cannot be written is ignored.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// Changes whenever the configuration space does (VIRTIO 1.3, 2.5.1).
    fn config_generation(&self) -> u32 {
        0
    }

    /// A shared memory region by its id, if the device has it (VIRTIO 1.3, 2.10).
    fn shared_memory(&self, _id: u8) -> Option<SharedMemory> {
        None
    }

    /// The driver is ready: takes the queues and begins to serve them.
    ///
    /// # Errors
    /// When the driver left out a queue that the device cannot work without; the device stays idle.
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError>;

    /// Stops and hands the queues back as they are, in the order of their numbers; empty when the device is not running.
    fn pause(&mut self) -> Vec<VirtQueue>;

    /// Forgets everything the driver said, and drops the queues.
    fn reset(&mut self);

    /// The device's own state: what neither its queues nor its constructor's arguments hold. To be called when
    /// idle or paused.
    fn save(&self) -> DeviceState;

    /// Takes over a state that [`save`](Device::save) returned. To be called when idle.
    ///
    /// # Errors
    /// When the state is another device's or contradicts how this one was made.
    fn restore(&mut self, state: DeviceState) -> Result<(), RestoreError>;
}

/// A device as its transport, its event loop and the VMM share it.
pub type SharedDevice = Arc<Mutex<dyn Device>>;

/// Locks a device. One whose user panicked is used on: no device leaves itself half changed.
pub fn lock<T: ?Sized>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A range of guest addresses behind which a device shows memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedMemory {
    /// Where the guest finds it.
    pub address: GuestAddress,
    /// Its length in bytes.
    pub length: u64,
}

/// How a device reaches its driver. Made by the transport, used from any thread.
pub trait Interrupt: Send + Sync {
    /// Buffers of this queue were used.
    fn queue(&self, index: u16);
    /// The configuration space changed.
    fn config(&self);
    /// The device met an error it cannot recover from: sets `DEVICE_NEEDS_RESET` (VIRTIO 1.3, 2.1.2).
    fn needs_reset(&self);
}

/// What a device is given when its driver is ready.
pub struct Activation {
    /// Feature bits the driver accepted.
    pub features: u64,
    /// How to reach the driver.
    pub interrupt: Arc<dyn Interrupt>,
    queues: Vec<Option<VirtQueue>>,
}

impl Activation {
    /// Puts an activation together; `queues` holds `None` where the driver did not set a queue up.
    pub fn new(features: u64, interrupt: Arc<dyn Interrupt>, queues: Vec<Option<VirtQueue>>) -> Self {
        Self { features, interrupt, queues }
    }

    /// Takes a queue that the device needs.
    ///
    /// # Errors
    /// When the driver did not set it up.
    pub fn queue(&mut self, index: u16) -> Result<VirtQueue, ActivateError> {
        let queue = self.queues.get_mut(usize::from(index)).and_then(Option::take);
        queue.ok_or(ActivateError::QueueMissing(index))
    }

    /// Whether the driver accepted a feature, by its bit number.
    pub fn has(&self, feature: u32) -> bool {
        self.features & (1 << feature) != 0
    }
}

/// Why a device does not start.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ActivateError {
    /// The driver left out a queue.
    #[error("the driver did not set up queue {0}")]
    QueueMissing(u16),
}

/// State of a device, by kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DeviceState {
    /// A network card's.
    Net(NetState),
    /// A disk's.
    Block(BlockState),
    /// A console's.
    Console(ConsoleState),
    /// An entropy source's.
    Entropy(EntropyState),
    /// A balloon's.
    Balloon(BalloonState),
    /// A socket device's.
    Vsock(VsockState),
    /// A memory device's.
    Mem(MemState),
    /// A file share's.
    Fs(FsState),
}

impl DeviceState {
    /// The kind of device it is a state of.
    pub fn kind(&self) -> DeviceKind {
        match self {
            Self::Net(_) => DeviceKind::Net,
            Self::Block(_) => DeviceKind::Block,
            Self::Console(_) => DeviceKind::Console,
            Self::Entropy(_) => DeviceKind::Entropy,
            Self::Balloon(_) => DeviceKind::Balloon,
            Self::Vsock(_) => DeviceKind::Vsock,
            Self::Mem(_) => DeviceKind::Mem,
            Self::Fs(_) => DeviceKind::Fs,
        }
    }
}

/// Why a state is not taken over.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The state is another device's.
    #[error("the state is of a {found:?} device, this is a {expected:?} device")]
    Kind {
        /// What this device is.
        expected: DeviceKind,
        /// What the state is of.
        found: DeviceKind,
    },
    /// The state contradicts how the device was made.
    #[error("the saved {kind:?} device has {what}, this one does not")]
    Mismatch {
        /// What this device is.
        kind: DeviceKind,
        /// What differs.
        what: String,
    },
    /// A queue of the state cannot be.
    #[error("saved queue {index}: {source}")]
    Queue {
        /// Number of the queue.
        index: u16,
        /// What is wrong with it.
        source: crate::queue::QueueError,
    },
    /// The device does not start with the saved queues.
    #[error(transparent)]
    Activate(#[from] ActivateError),
}

/// Copies from a configuration space given as bytes; what lies beyond its end reads as zero.
pub(crate) fn read_config_bytes(config: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(config.len());
    let available = &config[start..];
    let length = available.len().min(data.len());
    data[..length].copy_from_slice(&available[..length]);
}
