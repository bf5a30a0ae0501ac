use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::wire::{Answer, Arguments, IN_HEADER, OUT_HEADER, opcode};
use super::*;
use crate::test_driver::{Guest, eventually, out, room, settle, share};

const POLICY: Policy =
    Policy { read_only: false, freshness: Freshness::Second, owners: Owners::Mapped { uid: 0, gid: 0 } };

fn idle() -> Arc<Mutex<Fs>> {
    share(Fs::new("hull").unwrap())
}

fn over(folder: &std::path::Path) -> Arc<Mutex<Fs>> {
    let place = openat(CWD, folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let limits = Limits { places: 50, handles: 50 };
    let backend = Share::new(vec![Root { place, policy: POLICY }], limits).unwrap();
    share(Fs::with_share("hull", backend, 3, server::tests::enter).unwrap())
}

fn request(opcode: u32, unique: u64, node: u64, arguments: &[u8]) -> Vec<u8> {
    let length = (IN_HEADER + arguments.len()) as u32;
    let header = Answer::default().u32(length).u32(opcode).u64(unique).u64(node).bytes(&[0; 16]);
    header.bytes(arguments).0
}

/// Sends a request and gives the answer: its error, and what follows the header.
fn ask(guest: &mut Guest, queue: usize, request: &[u8], size: usize) -> u64 {
    let (request_at, answer) = (guest.put(request), guest.allocate(size));
    // In two pieces each, as drivers do.
    let (head, rest) = (IN_HEADER.min(request.len()), request.len() - IN_HEADER.min(request.len()));
    let mut pieces = vec![out(request_at, head)];
    if rest > 0 {
        pieces.push(out(request_at + head as u64, rest));
    }
    if size > 0 {
        pieces.extend([room(answer, OUT_HEADER), room(answer + OUT_HEADER as u64, size - OUT_HEADER)]);
    }
    guest.queues[queue].add(&pieces);
    guest.kick(queue);
    answer
}

fn answered(guest: &mut Guest, queue: usize, answer: u64) -> (i32, Vec<u8>) {
    let mut used = None;
    eventually("an answer", || {
        used = guest.queues[queue].take_used();
        used.is_some()
    });
    let length = used.unwrap().1 as usize;
    let bytes = guest.get(answer, length);
    assert_eq!(bytes[..4], (length as u32).to_le_bytes());
    (i32::from_le_bytes(bytes[4..8].try_into().unwrap()), bytes[OUT_HEADER..].to_vec())
}

#[test]
fn the_driver_finds_tag_and_queues() {
    let guest = Guest::new(idle());
    assert_eq!(guest.queues.len(), 2);
    assert_eq!(&guest.config::<8>(0), b"hull\0\0\0\0");
    assert_eq!(guest.config::<8>(36), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(Fs::new(&"x".repeat(37)).is_err());
}

#[test]
fn a_device_without_a_share_says_so() {
    let device = idle();
    let mut guest = Guest::new(device.clone());
    let answer = ask(&mut guest, 1, &request(opcode::INIT, 7, 0, &[0; 64]), 80);
    settle(&device);
    assert_eq!(answered(&mut guest, 1, answer), (-19, vec![]));
    ask(&mut guest, 0, &request(opcode::FORGET, 8, 1, &[0; 8]), 0);
    settle(&device);
    assert_eq!(guest.queues[0].take_used().unwrap().1, 0);
    // Too short to have a name.
    ask(&mut guest, 1, &[1, 2, 3], 80);
    settle(&device);
    assert_eq!(guest.queues[1].take_used().unwrap().1, 0);
}

#[test]
fn files_are_read_and_written_in_guest_memory() {
    let folder = tempfile::tempdir().unwrap();
    let text: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    fs::write(folder.path().join("file"), &text).unwrap();
    let mut guest = Guest::new(over(folder.path()));
    let answer = ask(&mut guest, 1, &request(opcode::LOOKUP, 1, 2, b"file\0"), 200);
    let (error, entry) = answered(&mut guest, 1, answer);
    assert_eq!(error, 0);
    let node = Arguments(&entry).u64().unwrap();
    let answer = ask(&mut guest, 1, &request(opcode::OPEN, 2, node, &Answer::default().u32(2).u32(0).0), 100);
    let handle = Arguments(&answered(&mut guest, 1, answer).1).u64().unwrap();
    let read = |offset: u64, size: u32| Answer::default().u64(handle).u64(offset).u32(size).bytes(&[0; 20]).0;
    let answer = ask(&mut guest, 1, &request(opcode::READ, 3, node, &read(1000, 150_000)), 160_000);
    assert_eq!(answered(&mut guest, 1, answer), (0, text[1000..151_000].to_vec()));
    // No more than there is, in the file and in the guest's memory.
    let answer = ask(&mut guest, 1, &request(opcode::READ, 4, node, &read(199_990, 4096)), 5000);
    assert_eq!(answered(&mut guest, 1, answer), (0, text[199_990..].to_vec()));
    let answer = ask(&mut guest, 1, &request(opcode::READ, 5, node, &read(0, 4096)), 116);
    assert_eq!(answered(&mut guest, 1, answer), (0, text[..100].to_vec()));

    let write = |offset: u64, data: &[u8], flags: u32| {
        let arguments = Answer::default().u64(handle).u64(offset).u32(data.len() as u32).u32(0);
        arguments.u64(0).u32(flags).u32(0).bytes(data).0
    };
    let answer = ask(&mut guest, 1, &request(opcode::WRITE, 6, node, &write(10, b"written", 0)), 100);
    assert_eq!(answered(&mut guest, 1, answer), (0, [7, 0, 0, 0, 0, 0, 0, 0].to_vec()));
    // Appended to where the end is now, whatever the guest believes.
    let append = OFlags::APPEND.bits();
    let answer = ask(&mut guest, 1, &request(opcode::WRITE, 7, node, &write(5, b"end", append)), 100);
    assert_eq!(answered(&mut guest, 1, answer).0, 0);
    let now = fs::read(folder.path().join("file")).unwrap();
    assert_eq!(&now[10..17], b"written");
    assert_eq!((now.len(), &now[200_000..]), (200_003, &b"end"[..]));
    // More announced than there is.
    let mut short = write(0, b"short", 0);
    short[16] = 100;
    let answer = ask(&mut guest, 1, &request(opcode::WRITE, 8, node, &short), 100);
    assert_eq!(answered(&mut guest, 1, answer).0, -22);
    let answer = ask(&mut guest, 1, &request(9999, 9, node, &[]), 100);
    assert_eq!(answered(&mut guest, 1, answer).0, -38);
}

#[test]
fn many_requests_are_answered_each_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let mut guest = Guest::new(over(folder.path()));
    let mut answers: Vec<u64> = Vec::new();
    for unique in 0..100 {
        answers.push(ask(&mut guest, 1, &request(opcode::LOOKUP, unique, 2, b"file\0"), 200));
    }
    let mut used = 0;
    eventually("all answers", || {
        used += std::iter::from_fn(|| guest.queues[1].take_used()).count();
        used == 100
    });
    for (unique, answer) in (0u64..).zip(answers) {
        assert_eq!(guest.get(answer + 8, 8), unique.to_le_bytes());
    }
}

#[test]
fn a_share_that_stands_still_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let device = over(folder.path());
    let mut guest = Guest::new(device.clone());
    let answer = ask(&mut guest, 1, &request(opcode::LOOKUP, 1, 2, b"file\0"), 200);
    assert_eq!(answered(&mut guest, 1, answer).0, 0);
    let paused = guest.transport.pause();
    let answer = ask(&mut guest, 1, &request(opcode::LOOKUP, 2, 2, b"file\0"), 200);
    std::thread::sleep(Duration::from_millis(30));
    assert!(guest.queues[1].take_used().is_none());
    guest.transport.resume().unwrap();
    assert_eq!(answered(&mut guest, 1, answer).0, 0);

    let state = serde_json::to_string(&paused).unwrap();
    let other = idle();
    let saved = DeviceState::Fs(FsState { tag: "hull".to_owned() });
    assert_eq!(device.lock().unwrap().save(), saved);
    assert!(state.contains("\"hull\""), "{state}");
    assert!(other.lock().unwrap().restore(saved).is_ok());
    let wrong = DeviceState::Fs(FsState { tag: "other".to_owned() });
    assert!(other.lock().unwrap().restore(wrong).is_err());
}

#[test]
fn a_reset_leaves_a_share_as_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let mut guest = Guest::new(over(folder.path()));
    for _ in 0..3 {
        let answer = ask(&mut guest, 1, &request(opcode::LOOKUP, 1, 2, b"file\0"), 200);
        assert_eq!(answered(&mut guest, 1, answer).0, 0);
        guest.start(u64::MAX);
    }
}
