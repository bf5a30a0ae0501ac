use std::collections::HashSet;

use super::*;
use crate::test_driver::{EVENT_IDX, Guest, out, room, settle, share};

#[test]
fn gives_random_bytes_and_one_interrupt() {
    let entropy = share(Entropy::new().unwrap());
    let mut guest = Guest::new(entropy.clone());
    let buffer = guest.allocate(64);
    guest.queues[0].add(&[room(buffer, 32), room(buffer + 32, 32)]);
    assert!(guest.kick(0));
    settle(&entropy);
    assert_eq!(guest.interrupt(), 1);
    assert_eq!(guest.queues[0].take_used().unwrap().1, 64);
    let distinct: HashSet<u8> = guest.get(buffer, 64).into_iter().collect();
    assert!(distinct.len() > 20, "64 random bytes with {} values", distinct.len());
    assert_eq!(guest.interrupt(), 0);
}

#[test]
fn a_request_is_capped() {
    let entropy = share(Entropy::new().unwrap());
    let mut guest = Guest::new(entropy.clone());
    let buffer = guest.allocate(1 << 20);
    guest.queues[0].add(&[room(buffer, 1 << 20)]);
    guest.kick(0);
    settle(&entropy);
    assert_eq!(guest.queues[0].take_used().unwrap().1 as usize, MAX_BYTES);
}

#[test]
fn a_batch_is_one_interrupt() {
    for mask in [u64::MAX, !EVENT_IDX] {
        let entropy = share(Entropy::new().unwrap());
        let mut guest = Guest::with_features(entropy.clone(), mask);
        let buffer = guest.allocate(64);
        for i in 0..8 {
            guest.queues[0].add(&[room(buffer + i * 8, 8)]);
        }
        assert!(guest.kick(0));
        settle(&entropy);
        assert_eq!(guest.transport.interrupt_event().read().unwrap(), 1, "one edge");
        assert_eq!(std::iter::from_fn(|| guest.queues[0].take_used()).count(), 8);
    }
}

#[test]
fn nothing_to_write_to_is_answered() {
    let entropy = share(Entropy::new().unwrap());
    let mut guest = Guest::new(entropy.clone());
    let buffer = guest.allocate(64);
    guest.queues[0].add(&[out(buffer, 64)]);
    guest.kick(0);
    settle(&entropy);
    assert_eq!(guest.queues[0].take_used().unwrap().1, 0);
}
