use std::sync::Mutex;

use super::*;
use crate::test_driver::{DriverQueue, memory, out, room};

/// Counts what reaches the driver.
#[derive(Default)]
struct Seen {
    queue: Mutex<u32>,
    broken: Mutex<u32>,
}

impl Interrupt for Seen {
    fn queue(&self, index: u16) {
        assert_eq!(index, 3);
        *self.queue.lock().unwrap() += 1;
    }
    fn config(&self) {}
    fn needs_reset(&self) {
        *self.broken.lock().unwrap() += 1;
    }
}

fn queue(event_idx: bool) -> (VirtQueue, DriverQueue, Arc<Seen>) {
    let memory = memory();
    let driver = DriverQueue::new(memory.clone(), 0, 8, event_idx);
    let state = QueueState {
        size: 8,
        ready: true,
        descriptors: driver.table,
        available: driver.available,
        used: driver.used,
        ..QueueState::default()
    };
    let seen = Arc::new(Seen::default());
    let queue = VirtQueue::new(3, 8, &state, event_idx, memory, seen.clone()).unwrap();
    (queue, driver, seen)
}

const A: u64 = 0x20_0000;

#[test]
fn a_chain_is_what_the_driver_made() {
    let (mut queue, mut driver, _) = queue(true);
    assert!(queue.pop().is_none());
    driver.add(&[out(A, 10), out(A + 100, 20), room(A + 200, 30), room(A + 300, 0), room(A + 400, 40)]);
    let chain = queue.pop().unwrap();
    assert_eq!((chain.readable.len(), chain.writable.len()), (30, 70));
    assert_eq!(chain.writable.segments().len(), 2);
    assert!(queue.pop().is_none());
    queue.push(chain, 5);
    assert_eq!(driver.take_used().unwrap().1, 5);

    let indirect: Vec<_> = (0..100).map(|i| room(A + i * 10, 10)).collect();
    driver.add_indirect(A + 0x1_0000, &indirect);
    assert_eq!(queue.pop().unwrap().writable.len(), 1000);
    assert_eq!(queue.state().next_available, 2);
    assert_eq!(queue.state().next_used, 1);
}

#[test]
fn a_chain_can_be_put_back() {
    let (mut queue, mut driver, _) = queue(true);
    driver.add(&[out(A, 10)]);
    driver.add(&[out(A, 20)]);
    let first = queue.pop().unwrap();
    queue.unpop(first);
    assert_eq!(queue.pop().unwrap().readable.len(), 10);
    assert_eq!(queue.pop().unwrap().readable.len(), 20);
}

/// Has the device look at what a driver made; it must give up on the queue.
fn breaks(what: &str, make: impl FnOnce(&mut DriverQueue)) {
    let (mut queue, mut driver, seen) = queue(true);
    make(&mut driver);
    let progress = queue.serve(100, |_, _| Served::Used(0));
    assert_eq!(progress, Progress::Drained, "{what}");
    assert!(queue.broken().is_some(), "{what} was taken for a chain");
    assert_eq!(*seen.broken.lock().unwrap(), 1, "{what}");
    // It is over: nothing more is taken, returned or announced.
    driver.add(&[out(A, 10)]);
    assert!(queue.pop().is_none());
    assert!(!queue.arm());
    queue.disarm();
    queue.notify();
    assert_eq!(*seen.broken.lock().unwrap(), 1);
    assert_eq!(*seen.queue.lock().unwrap(), 0);
}

#[test]
fn what_is_no_chain_breaks_the_queue() {
    const NEXT: u16 = 1;
    const INDIRECT: u16 = 4;
    breaks("a circle", |driver| {
        driver.write_descriptor(driver.table, 0, out(A, 1), NEXT, 1);
        driver.write_descriptor(driver.table, 1, out(A, 1), NEXT, 0);
        driver.publish(0);
    });
    breaks("a circle of one", |driver| {
        driver.write_descriptor(driver.table, 0, out(A, 1), NEXT, 0);
        driver.publish(0);
    });
    breaks("a head outside of the table", |driver| driver.publish(8));
    breaks("a next outside of the table", |driver| {
        driver.write_descriptor(driver.table, 0, out(A, 1), NEXT, 8);
        driver.publish(0);
    });
    breaks("readable after writable", |driver| {
        driver.add(&[room(A, 1), out(A, 1)]);
    });
    breaks("memory that is not there", |driver| {
        driver.add(&[out(crate::test_driver::MEMORY_SIZE - 1, 2)]);
    });
    breaks("an address that runs over", |driver| {
        driver.add(&[out(u64::MAX, 2)]);
    });
    breaks("more than 4 GiB", |driver| {
        driver.add(&[out(A, u32::MAX as usize), out(A, 1)]);
    });
    breaks("an indirect table outside of memory", |driver| {
        driver.write_descriptor(driver.table, 0, out(u64::MAX - 15, 16), INDIRECT, 0);
        driver.publish(0);
    });
    breaks("an indirect table of half a descriptor", |driver| {
        driver.write_descriptor(driver.table, 0, out(A, 24), INDIRECT, 0);
        driver.publish(0);
    });
    breaks("an empty indirect table", |driver| {
        driver.write_descriptor(driver.table, 0, out(A, 0), INDIRECT, 0);
        driver.publish(0);
    });
    breaks("an indirect table in an indirect table", |driver| {
        driver.write_descriptor(A, 0, out(A + 64, 16), INDIRECT, 0);
        driver.write_descriptor(A + 64, 0, out(A, 1), 0, 0);
        driver.write_descriptor(driver.table, 0, out(A, 16), INDIRECT, 0);
        driver.publish(0);
    });
    breaks("a circle in an indirect table", |driver| {
        driver.write_descriptor(A, 0, out(A, 1), NEXT, 0);
        driver.write_descriptor(driver.table, 0, out(A, 16), INDIRECT, 0);
        driver.publish(0);
    });
    breaks("a chain without end in an indirect table", |driver| {
        for i in 0..2000 {
            driver.write_descriptor(A, i, out(A, 1), NEXT, i + 1);
        }
        driver.write_descriptor(driver.table, 0, out(A, 2000 * 16), INDIRECT, 0);
        driver.publish(0);
    });
    breaks("more chains than there are descriptors", |driver| {
        driver.write_descriptor(driver.table, 0, out(A, 1), 0, 0);
        (0..9).for_each(|_| driver.publish(0));
    });
}

#[test]
fn a_batch_is_announced_once_and_only_if_wanted() {
    for event_idx in [true, false] {
        let (mut queue, mut driver, seen) = queue(event_idx);
        let announced = || std::mem::take(&mut *seen.queue.lock().unwrap());
        for _ in 0..4 {
            driver.add(&[out(A, 1)]);
        }
        assert_eq!(queue.serve(100, |_, _| Served::Used(0)), Progress::Drained);
        assert_eq!(announced(), 1);
        queue.notify();
        assert_eq!(announced(), 0, "nothing new");
        // The driver did not look: with EVENT_IDX it is not told again.
        driver.add(&[out(A, 1)]);
        queue.serve(100, |_, _| Served::Used(0));
        assert_eq!(announced(), u32::from(!event_idx));
        while driver.take_used().is_some() {}
        driver.add(&[out(A, 1)]);
        queue.serve(100, |_, _| Served::Used(0));
        assert_eq!(announced(), 1);
        // VRING_AVAIL_F_NO_INTERRUPT.
        if !event_idx {
            queue.memory().write_obj(1u16, GuestAddress(driver.available)).unwrap();
            driver.add(&[out(A, 1)]);
            queue.serve(100, |_, _| Served::Used(0));
            assert_eq!(announced(), 0);
        }
    }
}

#[test]
fn the_driver_notifies_when_it_must() {
    for event_idx in [true, false] {
        let (mut queue, mut driver, _) = queue(event_idx);
        driver.add(&[out(A, 1)]);
        assert!(driver.should_kick(), "the first");
        assert_eq!(queue.serve(1, |_, _| Served::Used(0)), Progress::More);
        driver.add(&[out(A, 1)]);
        assert!(!driver.should_kick(), "the device said it would look again");
        assert_eq!(queue.serve(100, |_, _| Served::Used(0)), Progress::Drained);
        driver.add(&[out(A, 1)]);
        assert!(driver.should_kick());
        assert_eq!(queue.serve(100, |_, _| Served::Later), Progress::Blocked);
        assert!(queue.arm(), "what was left is still there");
        assert_eq!(queue.serve(100, |_, _| Served::Used(0)), Progress::Drained);
        assert!(!queue.arm());
    }
}

#[test]
fn a_driver_that_never_stops_gets_no_more_than_its_budget() {
    let (mut queue, driver, _) = queue(true);
    let driver = Mutex::new(driver);
    driver.lock().unwrap().add(&[out(A, 1)]);
    let mut served = 0;
    let progress = queue.serve(50, |_, _| {
        served += 1;
        let mut driver = driver.lock().unwrap();
        while driver.take_used().is_some() {}
        driver.add(&[out(A, 1)]);
        Served::Used(0)
    });
    assert_eq!((progress, served), (Progress::More, 50));
}

#[test]
fn counts_run_over() {
    let (mut queue, mut driver, seen) = queue(true);
    for _ in 0..70_000 {
        driver.add(&[out(A, 1)]);
        assert!(driver.should_kick());
        assert_eq!(queue.serve(100, |_, _| Served::Used(0)), Progress::Drained);
        assert_eq!(std::mem::take(&mut *seen.queue.lock().unwrap()), 1);
        assert!(driver.take_used().is_some());
    }
}
