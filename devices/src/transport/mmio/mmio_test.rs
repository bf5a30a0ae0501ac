use std::sync::Mutex;

use vm_memory::GuestAddress;

use super::*;
use crate::device::{Device, DeviceKind, DeviceState, RestoreError, SharedMemory, read_config_bytes};
use crate::entropy::{Entropy, EntropyState};
use crate::test_driver::{DriverQueue, EVENT_IDX, Guest, VERSION_1, room, settle, share};

/// A device of two queues that remembers what is done to it.
struct Probe {
    notifiers: Vec<Arc<EventFd>>,
    active: Option<Activation>,
    config: [u8; 6],
    resets: u32,
}

impl Probe {
    fn shared() -> Arc<Mutex<Self>> {
        let notifiers = (0..2).map(|_| Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap())).collect();
        Arc::new(Mutex::new(Self { notifiers, active: None, config: [1, 2, 3, 4, 5, 6], resets: 0 }))
    }
}

impl Device for Probe {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Console
    }
    fn queue_sizes(&self) -> &[u16] {
        &[8, 64]
    }
    fn notifiers(&self) -> &[Arc<EventFd>] {
        &self.notifiers
    }
    fn features(&self) -> u64 {
        0b101
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&self.config, offset, data);
    }
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.config[offset as usize..][..data.len()].copy_from_slice(data);
    }
    fn config_generation(&self) -> u32 {
        7
    }
    fn shared_memory(&self, id: u8) -> Option<SharedMemory> {
        (id == 3).then_some(SharedMemory { address: GuestAddress(0x1_2345_6789), length: 0x2_0000_1000 })
    }
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let mut activation = activation;
        let queue = activation.queue(0)?;
        self.active = Some(Activation::new(activation.features, activation.interrupt, vec![Some(queue)]));
        Ok(())
    }
    fn pause(&mut self) -> Vec<VirtQueue> {
        vec![]
    }
    fn reset(&mut self) {
        self.active = None;
        self.resets += 1;
    }
    fn save(&self) -> DeviceState {
        DeviceState::Entropy(EntropyState {})
    }
    fn restore(&mut self, _state: DeviceState) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn the_driver_finds_the_device() {
    let guest = Guest::unprepared(Probe::shared());
    assert_eq!(guest.read(VIRTIO_MMIO_MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(guest.read(VIRTIO_MMIO_VERSION), 2);
    assert_eq!(guest.read(VIRTIO_MMIO_DEVICE_ID), 3);
    assert_eq!(guest.read(VIRTIO_MMIO_CONFIG_GENERATION), 7);
    assert_eq!(guest.offered(), 0b101 | VERSION_1 | EVENT_IDX | 1 << 28);
    for (queue, size) in [(0, 8), (1, 64), (2, 0), (u32::MAX, 0)] {
        guest.write(VIRTIO_MMIO_QUEUE_SEL, queue);
        assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_NUM_MAX), size);
    }
}

#[test]
fn odd_accesses_to_registers_do_nothing() {
    let guest = Guest::unprepared(Probe::shared());
    let mut data = [9; 8];
    guest.transport.read(0, &mut data);
    assert_eq!(data, [0; 8]);
    guest.transport.write(VIRTIO_MMIO_STATUS.into(), &[1]);
    assert_eq!(guest.read(VIRTIO_MMIO_STATUS), 0);
    assert_eq!(guest.read(1), 0);
    assert_eq!(guest.read(0xfc - 4), 0);
    guest.transport.read(u64::MAX, &mut data);
    guest.transport.write(u64::MAX, &data);
}

#[test]
fn the_configuration_space_is_read_and_written_in_any_width() {
    let device = Probe::shared();
    let guest = Guest::new(device.clone());
    assert_eq!(guest.config::<1>(2), [3]);
    assert_eq!(guest.config::<4>(0), [1, 2, 3, 4]);
    assert_eq!(guest.config::<8>(0), [1, 2, 3, 4, 5, 6, 0, 0]);
    assert_eq!(guest.config::<8>(0xeff), [0; 8]);
    guest.transport.write(0x104, &[50, 60]);
    assert_eq!(device.lock().unwrap().config, [1, 2, 3, 4, 50, 60]);
}

#[test]
fn absent_shared_memory_is_all_ones() {
    let guest = Guest::unprepared(Probe::shared());
    let registers = [
        VIRTIO_MMIO_SHM_LEN_LOW,
        VIRTIO_MMIO_SHM_LEN_HIGH,
        VIRTIO_MMIO_SHM_BASE_LOW,
        VIRTIO_MMIO_SHM_BASE_HIGH,
    ];
    for id in [0, 4, 256 + 3] {
        guest.write(VIRTIO_MMIO_SHM_SEL, id);
        assert_eq!(registers.map(|register| guest.read(register)), [u32::MAX; 4]);
    }
    guest.write(VIRTIO_MMIO_SHM_SEL, 3);
    assert_eq!(registers.map(|register| guest.read(register)), [0x1000, 2, 0x2345_6789, 1]);
}

#[test]
fn features_are_negotiated() {
    let device = Probe::shared();
    let guest = Guest::unprepared(device.clone());
    let negotiate = |features: u64| {
        guest.write(VIRTIO_MMIO_STATUS, 0);
        guest.write(VIRTIO_MMIO_STATUS, 1);
        guest.write(VIRTIO_MMIO_STATUS, 3);
        for half in [1, 0, 2] {
            guest.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            guest.write(
                VIRTIO_MMIO_DRIVER_FEATURES,
                if half == 2 { 77 } else { (features >> (32 * half)) as u32 },
            );
        }
        guest.write(VIRTIO_MMIO_STATUS, 0xb);
        guest.read(VIRTIO_MMIO_STATUS)
    };
    assert_eq!(negotiate(0b101), 3, "a legacy driver");
    assert_eq!(negotiate(VERSION_1 | 0b10), 3, "a feature that was not offered");
    assert_eq!(negotiate(VERSION_1 | 0b100), 0xb);
    // What is agreed on stays agreed on.
    guest.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    guest.write(VIRTIO_MMIO_DRIVER_FEATURES, 0b101);
    guest.write(VIRTIO_MMIO_STATUS, 0xf);
    assert_eq!(guest.read(VIRTIO_MMIO_STATUS) & 0x40, 0x40, "no queue 0: the device does not start");

    guest.write(VIRTIO_MMIO_STATUS, 0);
    guest.write(VIRTIO_MMIO_STATUS, 0xf);
    assert_eq!(guest.read(VIRTIO_MMIO_STATUS), 3, "DRIVER_OK without features means nothing");
    assert!(device.lock().unwrap().active.is_none());
}

#[test]
fn queues_are_validated_when_they_are_made_ready() {
    let guest = Guest::unprepared(Probe::shared());
    let ready = |change: &dyn Fn(&mut DriverQueue)| {
        guest.write(VIRTIO_MMIO_STATUS, 0);
        let mut queue = DriverQueue::new(guest.memory.clone(), 0, 8, true);
        change(&mut queue);
        guest.describe(&queue);
        guest.write(VIRTIO_MMIO_QUEUE_READY, 1);
        guest.read(VIRTIO_MMIO_QUEUE_READY) == 1
    };
    assert!(ready(&|_| ()));
    assert!(ready(&|queue| queue.size = 1));
    assert!(!ready(&|queue| queue.size = 0));
    assert!(!ready(&|queue| queue.size = 3));
    assert!(!ready(&|queue| queue.size = 16), "more than the device has");
    assert!(!ready(&|queue| queue.table += 8));
    assert!(!ready(&|queue| queue.available += 1));
    assert!(!ready(&|queue| queue.used += 2));
    assert!(!ready(&|queue| queue.available = 0));
    for outside in [crate::test_driver::MEMORY_SIZE, crate::test_driver::MEMORY_SIZE - 16, !0xf] {
        assert!(!ready(&|queue| queue.table = outside));
        assert!(!ready(&|queue| queue.available = outside));
        assert!(!ready(&|queue| queue.used = outside));
    }
    // A ready queue does not move, and can be taken back.
    assert!(ready(&|_| ()));
    guest.write(VIRTIO_MMIO_QUEUE_DESC_LOW, 1);
    guest.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_READY), 0);
    guest.write(VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_READY), 1);
    guest.write(VIRTIO_MMIO_QUEUE_SEL, 9);
    guest.write(VIRTIO_MMIO_QUEUE_READY, 1);
    guest.write(VIRTIO_MMIO_QUEUE_NUM, 1);
    assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_READY), 0);
}

#[test]
fn a_reset_takes_everything_back() {
    let device = Probe::shared();
    let mut guest = Guest::new(device.clone());
    let interrupt = {
        let device = device.lock().unwrap();
        let active = device.active.as_ref().unwrap();
        assert!(active.has(0) && active.has(2) && !active.has(1));
        active.interrupt.clone()
    };
    interrupt.queue(0);
    guest.write(VIRTIO_MMIO_STATUS, 0);
    assert!(device.lock().unwrap().active.is_none());
    assert!(device.lock().unwrap().resets > 0);
    assert_eq!(guest.read(VIRTIO_MMIO_STATUS), 0);
    assert_eq!(guest.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    guest.start(u64::MAX);
    assert!(device.lock().unwrap().active.is_some());
}

#[test]
fn an_interrupt_is_an_edge_until_it_is_acknowledged() {
    let device = Probe::shared();
    let guest = Guest::new(device.clone());
    let interrupt = device.lock().unwrap().active.as_ref().unwrap().interrupt.clone();
    let edges = || guest.transport.interrupt_event().read().unwrap_or(0);
    interrupt.queue(0);
    interrupt.queue(1);
    assert_eq!(edges(), 1, "one the guest has not seen covers the next");
    interrupt.config();
    assert_eq!(edges(), 1);
    assert_eq!(guest.read(VIRTIO_MMIO_INTERRUPT_STATUS), 3);
    guest.write(VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_eq!(guest.read(VIRTIO_MMIO_INTERRUPT_STATUS), 2);
    interrupt.queue(0);
    assert_eq!(edges(), 1);
    interrupt.needs_reset();
    assert_eq!(guest.read(VIRTIO_MMIO_STATUS), 0x4f);
}

#[test]
fn notifications_reach_the_device_without_an_ioeventfd() {
    let device = Probe::shared();
    let guest = Guest::new(device.clone());
    guest.write(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    guest.write(VIRTIO_MMIO_QUEUE_NOTIFY, 2);
    let notifiers = guest.transport.notifiers();
    assert!(notifiers[0].read().is_err());
    assert_eq!(notifiers[1].read().unwrap(), 1);
}

#[test]
fn a_paused_device_goes_on_elsewhere() {
    let entropy = share(Entropy::new().unwrap());
    let mut guest = Guest::new(entropy.clone());
    let buffer = guest.allocate(64);
    for _ in 0..3 {
        guest.queues[0].add(&[room(buffer, 8)]);
    }
    guest.kick(0);
    settle(&entropy);
    let state = guest.transport.pause();
    // What the guest does meanwhile waits.
    guest.queues[0].add(&[room(buffer, 8)]);
    guest.write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    settle(&entropy);
    assert_eq!(std::iter::from_fn(|| guest.queues[0].take_used()).count(), 3);

    let state: MmioState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    let other = share(Entropy::new().unwrap());
    guest.transport = MmioTransport::new(other.clone(), guest.memory.clone()).unwrap();
    guest.transport.restore(state.clone()).unwrap();
    assert_eq!(guest.transport.pause(), state, "restored is as saved");
    guest.transport.resume().unwrap();
    settle(&other);
    assert_eq!(guest.interrupt(), 1);
    assert!(guest.queues[0].take_used().is_some());
    assert_eq!(guest.read(VIRTIO_MMIO_STATUS), 0xf);

    let mut foreign = state.clone();
    foreign.queues[0].used = 3;
    assert!(matches!(guest.transport.restore(foreign), Err(RestoreError::Queue { index: 0, .. })));
    let disagreeing = MmioState { driver_features: 1 << 5 | state.driver_features, ..state };
    assert!(matches!(guest.transport.restore(disagreeing), Err(RestoreError::Mismatch { .. })));
}
