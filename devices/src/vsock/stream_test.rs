//! Data: much of it, both ways, with readers that are slow or stop, and ends of all kinds.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Mutex;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::packet::{Ends, Op};
use super::test_guest::*;
use crate::test_driver::{EVENT_IDX, eventually, is_ready};

/// 100 MiB each way at once, by way of the same connection; the guest's and the host's readers are as fast as they can.
fn both_ways(features: u64, size: usize) {
    let mut driver = Driver::with_features(features);
    let (mut socket, stream) = driver.connect(5000, 1024);
    let (up, down) = (noise(size, 1), noise(size, 2));
    let reader = read_all(stream.try_clone().unwrap(), false);
    let writer = {
        let (mut stream, down) = (stream, down.clone());
        std::thread::spawn(move || {
            stream.write_all(&down).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        })
    };
    let (mut received, mut rest) = (vec![], &up[..]);
    let (mut host_ended, mut guest_ended) = (false, false);
    eventually("everything is carried", || {
        is_ready(&driver.vsock, Duration::from_micros(100));
        driver.settle();
        while let Some((header, payload)) = driver.take() {
            socket.learn(&header);
            match Op::from_number(header.op) {
                Some(Op::Data) => {
                    received.extend(&payload);
                    if let Some(update) = socket.consume(payload.len()) {
                        driver.send(update, &[]);
                    }
                }
                Some(Op::Shutdown) => host_ended |= Ends::from_flags(header.flags).send,
                Some(Op::CreditUpdate) => {}
                other => panic!("{other:?}"),
            }
        }
        driver.reclaim();
        while !rest.is_empty() && socket.may_send() > 0 && driver.tx_free.len() > 4 {
            let (now, later) = rest.split_at(rest.len().min(socket.may_send()).min(64 << 10));
            let header = socket.header(Op::Data);
            driver.send(header, now);
            socket.sent = socket.sent.wrapping_add(now.len() as u32);
            rest = later;
        }
        if rest.is_empty() && !guest_ended {
            let header = socket.shutdown(false, true);
            driver.send(header, &[]);
            guest_ended = true;
        }
        host_ended && guest_ended
    });
    driver.settle();
    writer.join().unwrap();
    assert_eq!(sha(&received), sha(&down));
    let mut sent = None;
    let reader = Mutex::new(Some(reader));
    eventually("the host has read everything", || {
        driver.settle();
        let finished = reader.lock().unwrap().as_ref().unwrap().is_finished();
        if finished {
            sent = Some(reader.lock().unwrap().take().unwrap().join().unwrap());
        }
        finished
    });
    assert_eq!(sha(&sent.unwrap()), sha(&up));
    println!("{} MiB each way: {} interrupts", size >> 20, driver.interrupts);
}

#[test]
fn a_hundred_mebibytes_each_way() {
    both_ways(u64::MAX, 100 << 20);
}

#[test]
fn the_same_without_event_idx() {
    both_ways(!EVENT_IDX, 5 << 20);
}

#[test]
fn a_slow_reader_on_the_host() {
    let mut driver = Driver::new();
    let (mut socket, stream) = driver.connect(5000, 1024);
    let data = noise(8 << 20, 3);
    let reader = read_all(stream, true);
    guest_sends(&mut driver, &mut socket, &data);
    // Closed with data pending: it is all delivered.
    driver.send(socket.shutdown(true, true), &[]);
    eventually("the guest is told", || {
        driver.settle();
        std::iter::from_fn(|| driver.take()).any(|(header, _)| header.op == Op::Reset as u16)
    });
    eventually("the data is delivered", || {
        driver.settle();
        !driver.vsock.lock().unwrap().drain()
    });
    assert_eq!(sha(&reader.join().unwrap()), sha(&data));
    driver.settle();
    assert_eq!(driver.vsock.lock().unwrap().connections(), 0);
}

#[test]
fn a_host_that_does_not_read_blocks_only_its_own_connection() {
    let mut driver = Driver::new();
    let (mut stuck, stuck_stream) = driver.connect(5000, 1024);
    let data = noise(4 << 20, 4);
    let mut sent = 0;
    for _ in 0..200 {
        let length = stuck.may_send().min(64 << 10);
        if length == 0 {
            break;
        }
        let header = stuck.header(Op::Data);
        driver.send(header, &data[sent..sent + length]);
        stuck.sent += length as u32;
        sent += length;
        driver.settle();
        while let Some((header, _)) = driver.take() {
            stuck.learn(&header);
        }
    }
    assert_eq!(stuck.may_send(), 0, "the credit is used up");
    let pending = driver.vsock.lock().unwrap().table.all().map(|(_, c)| c.pending()).sum::<usize>();
    assert!(pending <= 256 << 10, "{pending} bytes are kept");
    assert!(driver.vsock.lock().unwrap().drain());

    let (mut other, mut other_stream) = driver.connect(5001, 1025);
    driver.send(other.header(Op::Data), b"still here");
    driver.settle();
    let mut bytes = [0; 10];
    other_stream.read_exact(&mut bytes).unwrap();

    // More than the credit is a violation.
    let mut overdrawn = stuck.clone();
    let more = noise(64 << 10, 5);
    let mut accepted = 0;
    let reset = loop {
        driver.send(overdrawn.header(Op::Data), &more);
        driver.settle();
        match driver.take() {
            Some((header, _)) if header.op == Op::Reset as u16 => break header,
            _ => accepted += 1,
        }
        assert!(accepted < 8, "the guest may send without end");
    };
    assert_eq!(reset.dst_port, 5000);
    // What was accepted before is delivered all the same.
    let reader = read_all(stuck_stream, false);
    eventually("it is read", || {
        driver.settle();
        !driver.vsock.lock().unwrap().drain()
    });
    driver.settle();
    let read = reader.join().unwrap();
    assert_eq!(read[..sent], data[..sent]);
    assert_eq!(read.len(), sent + accepted * more.len());
}

#[test]
fn a_guest_that_does_not_read_stops_the_host() {
    let mut driver = Driver::new();
    let (mut socket, stream) = driver.connect(5000, 1024);
    let (mut other, other_stream) = driver.connect(5001, 1024);
    stream.set_nonblocking(true).unwrap();
    let data = noise(4 << 20, 5);
    let (mut written, mut received) = (0, vec![]);
    for _ in 0..1000 {
        written += (&stream).write(&data[written..]).unwrap_or(0);
        driver.settle();
        while let Some((header, payload)) = driver.take() {
            socket.learn(&header);
            received.extend(payload);
        }
    }
    assert_eq!(received.len() as u32, GUEST_BUFFER, "as much as the guest gave credit for");
    assert!(written < data.len(), "the host is blocked");
    (&other_stream).write_all(b"through").unwrap();
    driver.settle();
    assert_eq!(driver.take().unwrap().1, b"through");
    assert!(other.consume(7).is_none());

    // It reads again, and gets the rest.
    stream.set_nonblocking(false).unwrap();
    let rest = data[written..].to_vec();
    let writer = std::thread::spawn(move || {
        (&stream).write_all(&rest).unwrap();
    });
    let update = socket.consume(received.len()).unwrap();
    driver.send(update, &[]);
    received.extend(guest_receives(&mut driver, &mut socket));
    writer.join().unwrap();
    assert_eq!(sha(&received), sha(&data));
}

#[test]
fn half_closed_by_the_guest() {
    let mut driver = Driver::new();
    let (mut socket, mut stream) = driver.connect(5000, 1024);
    driver.send(socket.header(Op::Data), b"question");
    driver.send(socket.shutdown(false, true), &[]);
    driver.settle();
    let mut question = String::new();
    stream.read_to_string(&mut question).unwrap();
    assert_eq!(question, "question");
    stream.write_all(b"answer").unwrap();
    drop(stream);
    driver.settle();
    assert_eq!(driver.take().unwrap().1, b"answer");
    assert!(Ends::from_flags(driver.expect(Op::Shutdown).flags).both());
    // The guest has no more to say either.
    driver.send(socket.header(Op::Reset), &[]);
    driver.expect_nothing();
    assert_eq!(driver.vsock.lock().unwrap().connections(), 0);
    // Data after the end would have been a violation.
    driver.send(socket.header(Op::Data), b"x");
    driver.expect(Op::Reset);
}

#[test]
fn half_closed_by_the_host() {
    let mut driver = Driver::new();
    let (mut socket, mut stream) = driver.connect(5000, 1024);
    stream.write_all(b"question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(guest_receives(&mut driver, &mut socket), b"question");
    let answer = noise(3 << 20, 6);
    let reader = {
        let stream = stream.try_clone().unwrap();
        read_all(stream, true)
    };
    guest_sends(&mut driver, &mut socket, &answer);
    driver.send(socket.shutdown(true, true), &[]);
    eventually("the answer is read", || {
        driver.settle();
        driver.vsock.lock().unwrap().connections() == 0
    });
    assert_eq!(sha(&reader.join().unwrap()), sha(&answer));
}

/// What may happen next to one of a few connections.
#[derive(Debug, Clone)]
enum Action {
    HostWrites(usize),
    HostReads(usize),
    HostEnds,
    GuestSends(usize),
    GuestReads,
    GuestEnds,
    Settle,
    /// The VM stands still for a snapshot, while both ends go on.
    Pause,
    Resume,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1usize..300_000).prop_map(Action::HostWrites),
        4 => (1usize..300_000).prop_map(Action::HostReads),
        1 => Just(Action::HostEnds),
        6 => (1usize..70_000).prop_map(Action::GuestSends),
        4 => Just(Action::GuestReads),
        1 => Just(Action::GuestEnds),
        6 => Just(Action::Settle),
        1 => Just(Action::Pause),
        2 => Just(Action::Resume),
    ]
}

/// One connection with what went in and came out at each end.
struct Pair {
    socket: Socket,
    stream: std::os::unix::net::UnixStream,
    up: (Vec<u8>, Vec<u8>),
    down: (Vec<u8>, Vec<u8>),
    /// Received by the guest's kernel, not read by its program.
    unread: usize,
    host_ended: bool,
    guest_ended: bool,
    guest_saw_end: bool,
    host_saw_end: bool,
}

impl Pair {
    fn step(&mut self, driver: &mut Driver, action: &Action) {
        match *action {
            Action::HostWrites(length) if !self.host_ended => {
                let data = noise(length, self.down.0.len() as u64);
                let written = (&self.stream).write(&data).unwrap_or(0);
                self.down.0.extend(&data[..written]);
            }
            Action::HostReads(length) => {
                let mut data = vec![0; length];
                if let Ok(read) = (&self.stream).read(&mut data) {
                    self.up.1.extend(&data[..read]);
                    self.host_saw_end |= read == 0;
                }
            }
            Action::HostEnds if !self.host_ended => {
                self.stream.shutdown(Shutdown::Write).unwrap();
                self.host_ended = true;
            }
            Action::GuestSends(length) if !self.guest_ended => {
                driver.reclaim();
                let length = length.min(self.socket.may_send()).min(64 << 10);
                if length > 0 && driver.tx_free.len() > 4 {
                    let data = noise(length, self.up.0.len() as u64);
                    let header = self.socket.header(Op::Data);
                    driver.send(header, &data);
                    self.socket.sent = self.socket.sent.wrapping_add(length as u32);
                    self.up.0.extend(data);
                }
            }
            Action::GuestReads => {
                if let Some(update) = self.socket.consume(std::mem::take(&mut self.unread)) {
                    driver.send(update, &[]);
                }
            }
            Action::GuestEnds if !self.guest_ended => {
                let header = self.socket.shutdown(false, true);
                driver.send(header, &[]);
                self.guest_ended = true;
            }
            _ => {}
        }
    }
}

/// Gives every packet to the connection it is for.
fn dispatch(driver: &mut Driver, pairs: &mut [Pair]) {
    driver.settle();
    while let Some((header, payload)) = driver.take() {
        let pair = pairs.iter_mut().find(|pair| pair.socket.guest == header.dst_port).unwrap();
        pair.socket.learn(&header);
        match Op::from_number(header.op) {
            Some(Op::Data) => {
                assert!(!pair.guest_saw_end);
                pair.unread += payload.len();
                assert!(pair.unread <= GUEST_BUFFER as usize, "more than the guest gave credit for");
                pair.down.1.extend(payload);
            }
            Some(Op::Shutdown) => pair.guest_saw_end |= Ends::from_flags(header.flags).send,
            Some(Op::CreditUpdate) => {}
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// In whatever order both ends write, read and end, and the VM stands still and goes on: what comes out is what went in, then the end.
    #[test]
    fn nothing_is_lost_or_mixed_up(actions in vec((0usize..3, action()), 1..150)) {
        let mut driver = Driver::new();
        let mut pairs: Vec<Pair> = (0..3).map(|number| {
            let (socket, stream) = driver.connect(5000 + number, 1024);
            stream.set_nonblocking(true).unwrap();
            Pair {
                socket, stream, up: Default::default(), down: Default::default(), unread: 0,
                host_ended: false, guest_ended: false, guest_saw_end: false, host_saw_end: false,
            }
        }).collect();
        let mut paused = false;
        for (number, action) in &actions {
            if driver.tx_free.len() < 8 {
                dispatch(&mut driver, &mut pairs);
                driver.reclaim();
            }
            match action {
                Action::Settle => dispatch(&mut driver, &mut pairs),
                Action::Pause if !paused => {
                    driver.guest.transport.pause();
                    paused = true;
                }
                Action::Resume if std::mem::take(&mut paused) => driver.guest.transport.resume().unwrap(),
                action => pairs[*number].step(&mut driver, action),
            }
        }
        if paused {
            driver.guest.transport.resume().unwrap();
        }
        let mut rounds = 0;
        while !pairs.iter().all(|pair| pair.guest_saw_end && pair.host_saw_end) {
            rounds += 1;
            prop_assert!(rounds < 1000, "it never ends");
            dispatch(&mut driver, &mut pairs);
            driver.reclaim();
            for pair in &mut pairs {
                for action in [Action::HostReads(1 << 16), Action::GuestReads, Action::HostEnds, Action::GuestEnds] {
                    pair.step(&mut driver, &action);
                }
            }
        }
        for pair in &pairs {
            prop_assert!(pair.up.0 == pair.up.1, "{} of {} bytes", pair.up.1.len(), pair.up.0.len());
            prop_assert!(pair.down.0 == pair.down.1, "{} of {} bytes", pair.down.1.len(), pair.down.0.len());
        }
    }
}
