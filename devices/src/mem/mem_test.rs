use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::test_driver::{Guest, out, room, settle, share};

const ADDRESS: u64 = 1 << 32;
const SIZE: u64 = 100 * BLOCK_SIZE;
const CONFIG_CHANGED: u32 = 2;

/// What was given back.
#[derive(Clone, Default)]
struct Given {
    ranges: Arc<Mutex<Vec<(u64, u64)>>>,
    refuses: bool,
}

impl Backing for Given {
    fn give_back(&mut self, address: GuestAddress, length: u64) -> io::Result<()> {
        if self.refuses {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.ranges.lock().unwrap().push(((address.0 - ADDRESS) / BLOCK_SIZE, length / BLOCK_SIZE));
        Ok(())
    }
}

fn device(backing: &Given) -> Arc<Mutex<Mem>> {
    share(Mem::new(GuestAddress(ADDRESS), SIZE, Box::new(backing.clone())).unwrap())
}

/// A guest's driver.
struct Driver {
    device: Arc<Mutex<Mem>>,
    guest: Guest,
    buffer: u64,
}

impl Driver {
    fn new(device: Arc<Mutex<Mem>>) -> Self {
        let mut guest = Guest::new(device.clone());
        let buffer = guest.allocate(64);
        Self { device, guest, buffer }
    }

    /// Asks for something; gives kind and state of the answer.
    fn ask(&mut self, kind: u16, address: u64, count: u16) -> (u8, u8) {
        let mut bytes = [0; 24];
        bytes[..2].copy_from_slice(&kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&address.to_le_bytes());
        bytes[16..18].copy_from_slice(&count.to_le_bytes());
        let request = self.guest.put(&bytes);
        self.guest.queues[0].add(&[out(request, 24), room(self.buffer, 10)]);
        self.guest.kick(0);
        settle(&self.device);
        assert_eq!(self.guest.queues[0].take_used().unwrap().1, 10);
        let answer = self.guest.get(self.buffer, 10);
        (answer[0], answer[8])
    }

    fn blocks(&mut self, kind: u16, first: u64, count: u16) -> (u8, u8) {
        self.ask(kind, ADDRESS + first * BLOCK_SIZE, count)
    }

    fn plugged(&self) -> u64 {
        u64::from_le_bytes(self.guest.config(40)) / BLOCK_SIZE
    }
}

const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;

const DONE: (u8, u8) = (0, 0);
const REFUSED: (u8, u8) = (1, 0);
const BUSY: (u8, u8) = (2, 0);
const ERROR: (u8, u8) = (3, 0);

#[test]
fn memory_is_plugged_as_far_as_it_was_requested_and_given_back() {
    let given = Given::default();
    let mut driver = Driver::new(device(&given));
    let field = |driver: &Driver, at| u64::from_le_bytes(driver.guest.config(at));
    assert_eq!([0, 16, 24, 32, 48].map(|at| field(&driver, at)), [BLOCK_SIZE, ADDRESS, SIZE, 0, 0]);
    assert_eq!(driver.blocks(PLUG, 0, 1), ERROR, "nothing is usable yet");
    driver.guest.interrupt();

    driver.device.lock().unwrap().request(10 * BLOCK_SIZE + 5, 20 * BLOCK_SIZE);
    assert_eq!(driver.guest.interrupt(), CONFIG_CHANGED);
    assert_eq!([32, 48].map(|at| field(&driver, at) / BLOCK_SIZE), [20, 10]);
    assert_eq!(driver.blocks(PLUG, 12, 8), DONE);
    assert_eq!(driver.blocks(PLUG, 0, 3), REFUSED);
    assert_eq!(driver.blocks(PLUG, 0, 2), DONE);
    assert_eq!((driver.plugged(), driver.device.lock().unwrap().plugged()), (10, 10 * BLOCK_SIZE));
    assert_eq!(driver.blocks(STATE, 0, 2), (0, 0));
    assert_eq!(driver.blocks(STATE, 2, 10), (0, 1));
    assert_eq!(driver.blocks(STATE, 0, 20), (0, 2));
    assert!(given.ranges.lock().unwrap().is_empty());

    assert_eq!(driver.blocks(UNPLUG, 13, 2), DONE);
    assert_eq!(driver.blocks(UNPLUG, 12, 2), ERROR, "one is not plugged");
    assert_eq!(driver.blocks(PLUG, 1, 2), ERROR, "one is plugged");
    assert_eq!(driver.plugged(), 8);
    assert_eq!(driver.ask(UNPLUG_ALL, 0, 0), DONE);
    assert_eq!(driver.plugged(), 0);
    assert_eq!(*given.ranges.lock().unwrap(), [(13, 2), (0, 20)]);
    assert_eq!(driver.ask(UNPLUG_ALL, 0, 0), DONE);
    assert_eq!(given.ranges.lock().unwrap().len(), 2, "there was nothing");
}

#[test]
fn blocks_that_are_none_are_refused() {
    let mut driver = Driver::new(device(&Given::default()));
    driver.device.lock().unwrap().request(SIZE, SIZE);
    for kind in [PLUG, UNPLUG, STATE] {
        for (address, count) in [
            (ADDRESS, 0),
            (ADDRESS + 1, 1),
            (ADDRESS - BLOCK_SIZE, 1),
            (0, 1),
            (ADDRESS + SIZE, 1),
            (ADDRESS + SIZE - BLOCK_SIZE, 2),
            (ADDRESS, u16::MAX),
            (u64::MAX - BLOCK_SIZE + 1, 1),
        ] {
            assert_eq!(driver.ask(kind, address, count), ERROR, "{kind} {address:#x} {count}");
        }
    }
    assert_eq!(driver.blocks(4, 0, 1), ERROR);
    assert_eq!(driver.plugged(), 0);
    // Half a request is none; where there is no room for an answer there is none.
    let buffer = driver.buffer;
    for (pieces, written) in [
        (vec![out(buffer, 23), room(buffer, 10)], 10),
        (vec![out(buffer, 24), room(buffer, 9)], 0),
        (vec![out(buffer, 24)], 0),
    ] {
        driver.guest.queues[0].add(&pieces);
        driver.guest.kick(0);
        settle(&driver.device);
        assert_eq!(driver.guest.queues[0].take_used().unwrap().1, written);
    }
}

#[test]
fn a_host_that_takes_nothing_back_is_asked_again() {
    let given = Given { refuses: true, ..Given::default() };
    let mut driver = Driver::new(device(&given));
    driver.device.lock().unwrap().request(SIZE, SIZE);
    assert_eq!(driver.blocks(PLUG, 0, 4), DONE);
    assert_eq!(driver.blocks(UNPLUG, 0, 2), BUSY);
    assert_eq!(driver.ask(UNPLUG_ALL, 0, 0), BUSY);
    assert_eq!(driver.plugged(), 4);
}

#[test]
fn what_is_plugged_survives_a_reset_and_a_snapshot() {
    let given = Given::default();
    let mut driver = Driver::new(device(&given));
    driver.device.lock().unwrap().request(8 * BLOCK_SIZE, 16 * BLOCK_SIZE);
    assert_eq!(driver.blocks(PLUG, 5, 3), DONE);
    driver.guest.start(u64::MAX);
    assert_eq!(driver.plugged(), 3);
    let state = driver.device.lock().unwrap().save();
    let text = serde_json::to_string(&state).unwrap();
    let mut again = Mem::new(GuestAddress(ADDRESS), SIZE, Box::new(given.clone())).unwrap();
    again.restore(serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!((again.save(), again.plugged(), again.usable()), (state, 3 * BLOCK_SIZE, 16 * BLOCK_SIZE));

    // One that is asked for more before its driver runs tells it as soon as it does.
    again.request(12 * BLOCK_SIZE, 16 * BLOCK_SIZE);
    let driver = Driver::new(share(again));
    assert_eq!(driver.guest.interrupt(), CONFIG_CHANGED);
    assert_eq!(driver.plugged(), 3);
}

#[test]
fn states_that_cannot_be_are_refused() {
    let region = Region { address: ADDRESS, size: SIZE, usable: 8 * BLOCK_SIZE, requested: 4 * BLOCK_SIZE };
    let refused = |region: Region, plugged: Vec<u64>| {
        let mut device = Mem::new(GuestAddress(ADDRESS), SIZE, Box::new(Given::default())).unwrap();
        device.restore(DeviceState::Mem(MemState { region, plugged })).is_err()
    };
    assert!(!refused(region, vec![0xff, 0]));
    assert!(refused(region, vec![0x1ff, 0]));
    assert!(refused(region, vec![0, 1 << 63]));
    assert!(refused(region, vec![0]));
    assert!(refused(Region { address: 0, ..region }, vec![0, 0]));
    assert!(refused(Region { size: SIZE - BLOCK_SIZE, ..region }, vec![0, 0]));
    assert!(refused(Region { usable: SIZE + BLOCK_SIZE, ..region }, vec![0, 0]));
    assert!(refused(Region { requested: 9 * BLOCK_SIZE, ..region }, vec![0, 0]));
    assert!(refused(Region { requested: 1, ..region }, vec![0, 0]));
    assert!(Mem::new(GuestAddress(4096), SIZE, Box::new(Given::default())).is_err());
    assert!(
        Mem::new(GuestAddress(u64::MAX - BLOCK_SIZE + 1), BLOCK_SIZE, Box::new(Given::default())).is_err()
    );
}

proptest! {
    #[test]
    fn no_guest_gets_more_than_it_is_to_have(
        wanted in 0..100u64,
        requests in proptest::collection::vec((0..4u16, 0..110u64, 0..50u16), 1..60),
    ) {
        let given = Given::default();
        let mut driver = Driver::new(device(&given));
        driver.device.lock().unwrap().request(wanted * BLOCK_SIZE, SIZE);
        let mut model = [false; 100];
        for (kind, first, count) in requests {
            let answer = driver.blocks(kind, first, count);
            let range = first as usize..first as usize + usize::from(count);
            if answer == DONE && kind == PLUG {
                prop_assert!(model[range.clone()].iter().all(|block| !block));
                model[range].fill(true);
            } else if answer == DONE && kind == UNPLUG {
                prop_assert!(model[range.clone()].iter().all(|block| *block));
                model[range].fill(false);
            } else if kind == UNPLUG_ALL {
                model.fill(false);
            }
            let plugged = model.iter().filter(|block| **block).count() as u64;
            prop_assert_eq!(driver.plugged(), plugged);
            prop_assert!(plugged <= wanted);
        }
    }
}
