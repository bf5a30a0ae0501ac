//! The driver's side of everything, for tests: it finds a device through its MMIO registers, sets its queues up,
//! and uses the rings as a guest would, EVENT_IDX included.

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};

use crate::bus::BusDevice;
use crate::device::{Device, Memory, SharedDevice};
use crate::event_loop::Polled;
use crate::transport::mmio::MmioTransport;

pub(crate) const MEMORY_SIZE: u64 = 32 << 20;
/// Rings are below, buffers above.
const BUFFERS: u64 = 1 << 20;

const F_NEXT: u16 = 1;
const F_WRITE: u16 = 2;
const F_INDIRECT: u16 = 4;
pub(crate) const VERSION_1: u64 = 1 << 32;
pub(crate) const EVENT_IDX: u64 = 1 << 29;

/// A buffer of a chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) write: bool,
}

pub(crate) fn out(address: u64, length: usize) -> Piece {
    Piece { address, length: length as u32, write: false }
}

pub(crate) fn room(address: u64, length: usize) -> Piece {
    Piece { address, length: length as u32, write: true }
}

pub(crate) fn memory() -> Arc<Memory> {
    // Two regions that touch: buffers that straddle them must work too.
    let half = MEMORY_SIZE / 2;
    let ranges = [(GuestAddress(0), half as usize), (GuestAddress(half), half as usize)];
    Arc::new(Memory::from_ranges(&ranges).unwrap())
}

/// The driver's side of a queue.
pub(crate) struct DriverQueue {
    memory: Arc<Memory>,
    pub(crate) size: u16,
    pub(crate) table: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    event_idx: bool,
    free: Vec<u16>,
    chains: Vec<Vec<u16>>,
    next_available: u16,
    announced: u16,
    pub(crate) last_used: u16,
}

impl DriverQueue {
    pub(crate) fn new(memory: Arc<Memory>, index: u64, size: u16, event_idx: bool) -> Self {
        let base = 0x1000 + index * 0x1_0000;
        Self {
            memory,
            size,
            table: base,
            available: base + 0x8000,
            used: base + 0xc000,
            event_idx,
            free: (0..size).rev().collect(),
            chains: vec![vec![]; size.into()],
            next_available: 0,
            announced: 0,
            last_used: 0,
        }
    }

    fn load(&self, address: u64) -> u16 {
        self.memory.load(GuestAddress(address), std::sync::atomic::Ordering::SeqCst).unwrap()
    }

    fn store(&self, address: u64, value: u16) {
        self.memory.store(value, GuestAddress(address), std::sync::atomic::Ordering::SeqCst).unwrap();
    }

    pub(crate) fn write_descriptor(&self, table: u64, index: u16, piece: Piece, flags: u16, next: u16) {
        let flags = flags | if piece.write { F_WRITE } else { 0 };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&piece.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&piece.length.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.memory.write_slice(&bytes, GuestAddress(table + u64::from(index) * 16)).unwrap();
    }

    pub(crate) fn has_room(&self, pieces: usize) -> bool {
        self.free.len() >= pieces
    }

    /// Makes a chain available; returns its head.
    pub(crate) fn add(&mut self, pieces: &[Piece]) -> u16 {
        let slots: Vec<u16> = pieces.iter().map(|_| self.free.pop().expect("room in the ring")).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let next = slots.get(i + 1);
            let flags = if next.is_some() { F_NEXT } else { 0 };
            self.write_descriptor(self.table, slots[i], *piece, flags, next.copied().unwrap_or(0));
        }
        let head = slots[0];
        self.chains[usize::from(head)] = slots;
        self.publish(head);
        head
    }

    /// Makes a chain available through an indirect table at `table`.
    pub(crate) fn add_indirect(&mut self, table: u64, pieces: &[Piece]) -> u16 {
        for (i, piece) in (0u16..).zip(pieces) {
            let last = usize::from(i) + 1 == pieces.len();
            self.write_descriptor(table, i, *piece, if last { 0 } else { F_NEXT }, i + 1);
        }
        let head = self.free.pop().expect("room in the ring");
        self.write_descriptor(self.table, head, out(table, pieces.len() * 16), F_INDIRECT, 0);
        self.chains[usize::from(head)] = vec![head];
        self.publish(head);
        head
    }

    /// Puts a head into the available ring, whatever it is.
    pub(crate) fn publish(&mut self, head: u16) {
        let slot = u64::from(self.next_available % self.size);
        self.store(self.available + 4 + slot * 2, head);
        self.next_available = self.next_available.wrapping_add(1);
        self.store(self.available + 2, self.next_available);
    }

    /// Whether the device wants to be notified of what was added since the last call.
    pub(crate) fn should_kick(&mut self) -> bool {
        let (old, new) = (self.announced, self.next_available);
        self.announced = new;
        if self.event_idx {
            let event = self.load(self.used + 4 + u64::from(self.size) * 8);
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            old != new && self.load(self.used) & 1 == 0
        }
    }

    /// Takes a used chain: its head and how much was written.
    pub(crate) fn take_used(&mut self) -> Option<(u16, u32)> {
        if self.load(self.used + 2) == self.last_used {
            return None;
        }
        let slot = u64::from(self.last_used % self.size);
        let id: u32 = self.memory.read_obj(GuestAddress(self.used + 4 + slot * 8)).unwrap();
        let length: u32 = self.memory.read_obj(GuestAddress(self.used + 8 + slot * 8)).unwrap();
        self.last_used = self.last_used.wrapping_add(1);
        // As Linux does: interrupt for the next one.
        self.store(self.available + 4 + u64::from(self.size) * 2, self.last_used);
        let slots = std::mem::take(&mut self.chains[id as usize]);
        self.free.extend(slots);
        Some((id as u16, length))
    }
}

/// A guest with one device.
pub(crate) struct Guest {
    pub(crate) memory: Arc<Memory>,
    pub(crate) transport: MmioTransport,
    pub(crate) queues: Vec<DriverQueue>,
    next_buffer: u64,
}

impl Guest {
    /// A guest that has found the device and done nothing yet.
    pub(crate) fn unprepared(device: SharedDevice) -> Self {
        let memory = memory();
        let transport = MmioTransport::new(device, memory.clone()).unwrap();
        Self { memory, transport, queues: vec![], next_buffer: BUFFERS }
    }

    /// A guest whose driver is ready, with every feature the device has.
    pub(crate) fn new(device: SharedDevice) -> Self {
        Self::with_features(device, u64::MAX)
    }

    /// The same, but for the features not in `mask`.
    pub(crate) fn with_features(device: SharedDevice, mask: u64) -> Self {
        let mut guest = Self::unprepared(device);
        guest.start(mask);
        guest
    }

    /// Initializes the device (VIRTIO 1.3, 3.1.1), in its state after a reset.
    pub(crate) fn start(&mut self, mask: u64) {
        assert_eq!(self.read(VIRTIO_MMIO_MAGIC_VALUE), 0x7472_6976);
        assert_eq!(self.read(VIRTIO_MMIO_VERSION), 2);
        self.write(VIRTIO_MMIO_STATUS, 0);
        self.write(VIRTIO_MMIO_STATUS, 1);
        self.write(VIRTIO_MMIO_STATUS, 3);
        let features = self.offered() & mask;
        for (half, bits) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            self.write(VIRTIO_MMIO_DRIVER_FEATURES, bits);
        }
        self.write(VIRTIO_MMIO_STATUS, 0xb);
        assert_eq!(self.read(VIRTIO_MMIO_STATUS), 0xb);
        self.queues.clear();
        for index in 0.. {
            self.write(VIRTIO_MMIO_QUEUE_SEL, index);
            let size = self.read(VIRTIO_MMIO_QUEUE_NUM_MAX) as u16;
            if size == 0 {
                break;
            }
            let queue = DriverQueue::new(self.memory.clone(), index.into(), size, features & EVENT_IDX != 0);
            self.memory.write_slice(&[0; 0x1_0000], GuestAddress(queue.table)).unwrap();
            self.describe(&queue);
            self.write(VIRTIO_MMIO_QUEUE_READY, 1);
            assert_eq!(self.read(VIRTIO_MMIO_QUEUE_READY), 1);
            self.queues.push(queue);
        }
        self.write(VIRTIO_MMIO_STATUS, 0xf);
        assert_eq!(self.read(VIRTIO_MMIO_STATUS), 0xf);
    }

    /// Writes the registers of the selected queue.
    pub(crate) fn describe(&self, queue: &DriverQueue) {
        self.write(VIRTIO_MMIO_QUEUE_NUM, queue.size.into());
        for (low, address) in [
            (VIRTIO_MMIO_QUEUE_DESC_LOW, queue.table),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, queue.available),
            (VIRTIO_MMIO_QUEUE_USED_LOW, queue.used),
        ] {
            self.write(low, address as u32);
            self.write(low + 4, (address >> 32) as u32);
        }
    }

    pub(crate) fn read(&self, register: u32) -> u32 {
        let mut data = [0; 4];
        self.transport.read(register.into(), &mut data);
        u32::from_le_bytes(data)
    }

    pub(crate) fn write(&self, register: u32, value: u32) {
        self.transport.write(register.into(), &value.to_le_bytes());
    }

    pub(crate) fn offered(&self) -> u64 {
        (0..2).fold(0, |features, half| {
            self.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
            features | u64::from(self.read(VIRTIO_MMIO_DEVICE_FEATURES)) << (32 * half)
        })
    }

    pub(crate) fn config<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut data = [0; N];
        self.transport.read(0x100 + offset, &mut data);
        data
    }

    /// Room for a buffer, for good.
    pub(crate) fn allocate(&mut self, length: usize) -> u64 {
        let address = self.next_buffer;
        self.next_buffer += (length as u64).next_multiple_of(64);
        assert!(self.next_buffer <= MEMORY_SIZE);
        address
    }

    /// A buffer with something in it.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        let address = self.allocate(bytes.len());
        self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
        address
    }

    pub(crate) fn get(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    /// Notifies a queue if the device wants that; returns whether it did.
    pub(crate) fn kick(&mut self, queue: usize) -> bool {
        let kick = self.queues[queue].should_kick();
        if kick {
            self.write(VIRTIO_MMIO_QUEUE_NOTIFY, queue as u32);
        }
        kick
    }

    /// Handles an interrupt as Linux does; returns the bits it was for.
    pub(crate) fn interrupt(&self) -> u32 {
        if self.transport.interrupt_event().read().is_err() {
            return 0;
        }
        let bits = self.read(VIRTIO_MMIO_INTERRUPT_STATUS);
        self.write(VIRTIO_MMIO_INTERRUPT_ACK, bits);
        bits
    }
}

/// A device on the event loop, and nothing else on it.
pub(crate) fn share<D: Device + 'static>(device: D) -> Arc<Mutex<D>> {
    Arc::new(Mutex::new(device))
}

/// Whether a device's poll set is ready within a time.
pub(crate) fn is_ready<P: Polled>(device: &Mutex<P>, timeout: Duration) -> bool {
    let fd = device.lock().unwrap().poll_fd();
    let set = crate::poll_set::PollSet::new().unwrap();
    let fd = Borrowed(fd);
    set.add(&fd, 0, vmm_sys_util::epoll::EventSet::IN).unwrap();
    let end = Instant::now() + timeout;
    loop {
        if set.ready::<1>().next().is_some() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

struct Borrowed(std::os::fd::RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0
    }
}

/// Runs the event loop until it has nothing to do; panics when that never happens.
pub(crate) fn settle<P: Polled>(device: &Mutex<P>) {
    for _ in 0..100_000 {
        if !is_ready(device, Duration::ZERO) {
            return;
        }
        device.lock().unwrap().poll();
    }
    panic!("the device is never done");
}

/// Waits for something that another thread does.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}
