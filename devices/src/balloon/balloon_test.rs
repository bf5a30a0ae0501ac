use std::sync::Mutex;

use super::*;
use crate::device::lock;
use crate::test_driver::{Guest, MEMORY_SIZE, out, room, settle, share};

/// What was given back: address and length.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<Vec<(u64, u64)>>>);

impl Backing for Given {
    fn give_back(&mut self, address: GuestAddress, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().push((address.0, length));
        Ok(())
    }
}

fn balloon() -> (Given, Arc<Mutex<Balloon>>, Guest) {
    let given = Given::default();
    let balloon = share(Balloon::new(Box::new(given.clone())).unwrap());
    let guest = Guest::new(balloon.clone());
    (given, balloon, guest)
}

#[test]
fn what_is_reported_as_free_is_given_back() {
    let (given, balloon, mut guest) = balloon();
    let free = guest.allocate(4 << 20).next_multiple_of(PAGE);
    guest.queues[REPORT as usize].add(&[room(free, 1 << 20), room(free + (2 << 20), 1 << 20)]);
    guest.kick(REPORT as usize);
    settle(&balloon);
    assert_eq!(guest.queues[REPORT as usize].take_used().unwrap().1, 0, "nothing is written");
    assert_eq!(*given.0.lock().unwrap(), [(free, 1 << 20), (free + (2 << 20), 1 << 20)]);
    assert_eq!(guest.interrupt(), 1);
}

#[test]
fn only_whole_pages_are_given_back() {
    let (given, balloon, mut guest) = balloon();
    let free = guest.allocate(1 << 20).next_multiple_of(PAGE);
    guest.queues[REPORT as usize].add(&[room(free + 1, 3 * PAGE as usize), room(free + 1, 100)]);
    // What the device may only read is not said to be free.
    guest.queues[REPORT as usize].add(&[out(free, PAGE as usize)]);
    guest.kick(REPORT as usize);
    settle(&balloon);
    assert_eq!(*given.0.lock().unwrap(), [(free + PAGE, 2 * PAGE)]);
    assert_eq!(std::iter::from_fn(|| guest.queues[REPORT as usize].take_used()).count(), 2);
}

#[test]
fn pages_in_the_balloon_are_given_back() {
    let (given, balloon, mut guest) = balloon();
    let pages = [5u32, (MEMORY_SIZE / PAGE) as u32 - 1, (MEMORY_SIZE / PAGE) as u32, u32::MAX];
    let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
    let numbers = guest.put(&bytes);
    for queue in [INFLATE, 1] {
        guest.queues[usize::from(queue)].add(&[out(numbers, bytes.len())]);
        guest.kick(queue.into());
        settle(&balloon);
        assert_eq!(guest.queues[usize::from(queue)].take_used().unwrap().1, 0);
    }
    // Once, and none that there is not.
    assert_eq!(*given.0.lock().unwrap(), [(5 * PAGE, PAGE), (MEMORY_SIZE - PAGE, PAGE)]);
}

#[test]
fn no_page_is_asked_for_and_poisoned_ones_are_not_understood() {
    let (_, balloon, guest) = balloon();
    assert_eq!(u32::from_le_bytes(guest.config(0)), 0);
    assert_eq!(lock(&balloon).features(), 1 << F_REPORTING);
}

#[test]
fn what_the_driver_says_of_its_size_is_saved() {
    let (_, balloon, _) = balloon();
    let mut balloon = lock(&balloon);
    balloon.write_config(ACTUAL, &7u32.to_le_bytes());
    balloon.write_config(ACTUAL, &[1, 2]);
    balloon.write_config(0, &9u32.to_le_bytes());
    let saved = balloon.save();
    assert_eq!(saved, DeviceState::Balloon(BalloonState { actual: 7 }));
    let mut other = Balloon::new(Box::new(Given::default())).unwrap();
    other.restore(saved).unwrap();
    let mut bytes = [0; 12];
    other.read_config(0, &mut bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
}
