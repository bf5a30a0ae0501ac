//! Connections: how they begin, end, and what breaks them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use super::packet::{Ends, HEADER_SIZE, Op};
use super::test_guest::*;
use super::*;
use crate::test_driver::{out, room, share};

#[test]
fn the_guest_knows_its_address() {
    let driver = Driver::new();
    assert_eq!(u64::from_le_bytes(driver.guest.config(0)), 3);
    assert_eq!(driver.guest.config::<4>(8), [0; 4]);
}

#[test]
fn a_connection_carries_bytes_both_ways() {
    let mut driver = Driver::new();
    let (mut socket, mut stream) = driver.connect(5000, 1024);
    driver.send(socket.header(Op::Data), b"from the guest");
    driver.settle();
    let mut bytes = [0; 14];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"from the guest");

    stream.write_all(b"from the host").unwrap();
    driver.settle();
    let (header, payload) = driver.take().unwrap();
    assert_eq!(payload, b"from the host");
    assert_eq!(header.fwd_cnt, 14);
    assert_eq!(header.buf_alloc, 256 << 10);
    driver.expect_nothing();
}

#[test]
fn what_nobody_listens_to_is_refused() {
    let mut driver = Driver::new();
    let mut socket = driver.socket(5000, 80);
    driver.send(socket.header(Op::Request), &[]);
    let reset = driver.expect(Op::Reset);
    assert_eq!((reset.src_port, reset.dst_port), (80, 5000));
    assert_eq!(driver.vsock.lock().unwrap().connections(), 0);

    // What belongs to no connection is reset, but a reset.
    for op in [Op::Response, Op::Shutdown, Op::Data, Op::CreditUpdate, Op::CreditRequest] {
        driver.send(driver.socket(1, 2).header(op), &[]);
        driver.expect(Op::Reset);
    }
    driver.send(driver.socket(1, 2).header(Op::Reset), &[]);
    driver.expect_nothing();

    // Other types, hosts, guests and operations.
    let request = driver.socket(1, 1024).header(Op::Request);
    driver.send(Header { kind: 2, ..request }, &[]);
    assert_eq!(driver.expect(Op::Reset).kind, 2);
    driver.send(Header { op: 99, ..request }, &[]);
    driver.expect(Op::Reset);
    driver.send(Header { src_cid: 4, ..request }, &[]);
    driver.expect_nothing();
    assert!(driver.accepted.try_recv().is_err());
}

#[test]
fn the_host_connects() {
    let mut driver = Driver::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    driver.vsock.lock().unwrap().connect(77, theirs.into()).unwrap();
    let request = driver.expect(Op::Request);
    assert_eq!(request.dst_port, 77);
    (&ours).write_all(b"early").unwrap();
    driver.expect_nothing();
    let mut socket = driver.socket(77, request.src_port);
    driver.send(socket.header(Op::Response), &[]);
    driver.settle();
    assert_eq!(driver.take().unwrap().1, b"early");
    driver.send(socket.header(Op::Data), b"hello");
    driver.settle();
    let mut bytes = [0; 5];
    (&ours).read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn the_host_is_refused_or_gives_up() {
    let mut driver = Driver::new();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    driver.vsock.lock().unwrap().connect(77, theirs.into()).unwrap();
    let request = driver.expect(Op::Request);
    driver.send(driver.socket(77, request.src_port).header(Op::Reset), &[]);
    driver.settle();
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);

    let (ours, theirs) = UnixStream::pair().unwrap();
    driver.vsock.lock().unwrap().connect(77, theirs.into()).unwrap();
    let second = driver.expect(Op::Request);
    assert_ne!(second.src_port, request.src_port);
    drop(ours);
    assert_eq!(driver.expect(Op::Reset).src_port, second.src_port);
    assert_eq!(driver.vsock.lock().unwrap().connections(), 0);

    let file = tempfile::tempfile().unwrap();
    let error = driver.vsock.lock().unwrap().connect(77, file.into()).unwrap_err();
    assert!(matches!(error, ConnectError::NotASocket));
}

#[test]
fn a_guest_that_is_not_up_yet_is_asked_when_it_is() {
    let mut driver = Driver::new();
    driver.guest.write(0x70, 0);
    let (_ours, theirs) = UnixStream::pair().unwrap();
    driver.vsock.lock().unwrap().connect(77, theirs.into()).unwrap();
    driver.settle();
    driver.guest.start(u64::MAX);
    driver.prepare();
    assert_eq!(driver.take().unwrap().0.dst_port, 77);
}

#[test]
fn the_guest_stops_receiving() {
    let mut driver = Driver::new();
    let (mut socket, mut stream) = driver.connect(5000, 1024);
    driver.send(socket.shutdown(true, false), &[]);
    driver.settle();
    assert_eq!(stream.write_all(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    driver.send(socket.header(Op::Data), b"more");
    driver.send(socket.shutdown(true, true), &[]);
    driver.expect(Op::Reset);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "more");
}

#[test]
fn the_host_closes_while_the_guest_sends() {
    let mut driver = Driver::new();
    let (mut socket, stream) = driver.connect(5000, 1024);
    drop(stream);
    assert!(Ends::from_flags(driver.expect(Op::Shutdown).flags).both());
    // Both closed at the same time: what the guest had under way is nobody's, and no violation.
    driver.send(socket.header(Op::Data), b"too late");
    driver.expect_nothing();
    driver.send(socket.shutdown(true, true), &[]);
    driver.expect(Op::Reset);
    assert_eq!(driver.vsock.lock().unwrap().connections(), 0);
    driver.send(socket.header(Op::Reset), &[]);
    driver.expect_nothing();
}

#[test]
fn the_host_closes_with_the_guests_data_unread() {
    let mut driver = Driver::new();
    let (mut socket, mut stream) = driver.connect(5000, 1024);
    stream.write_all(b"last words").unwrap();
    driver.send(socket.header(Op::Data), b"unread");
    driver.settle();
    drop(stream);
    driver.settle();
    assert_eq!(driver.take().unwrap().1, b"last words");
    assert!(Ends::from_flags(driver.expect(Op::Shutdown).flags).both());
}

#[test]
fn credit_is_told_when_asked_for() {
    let mut driver = Driver::new();
    let (mut socket, _stream) = driver.connect(5000, 1024);
    driver.send(socket.header(Op::Data), b"12345");
    driver.expect_nothing();
    driver.send(socket.header(Op::CreditRequest), &[]);
    let update = driver.expect(Op::CreditUpdate);
    assert_eq!((update.buf_alloc, update.fwd_cnt), (256 << 10, 5));
    driver.expect_nothing();
}

#[test]
fn broken_packets_end_their_connection() {
    let mut driver = Driver::new();
    for (number, breaking) in [Op::Request, Op::Response, Op::Data].into_iter().enumerate() {
        let (mut socket, mut stream) = driver.connect(5000 + number as u32, 1024);
        let header = socket.header(breaking);
        if breaking == Op::Data {
            // More is announced than is there.
            let address = driver.guest.put(&Header { len: 9, ..header }.bytes());
            driver.guest.queues[1].add(&[out(address, HEADER_SIZE)]);
            driver.guest.kick(1);
            driver.settle();
            driver.reclaim();
            driver.tx_free.pop();
        } else {
            driver.send(header, &[]);
        }
        driver.expect(Op::Reset);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    // Too short for a header.
    let address = driver.guest.allocate(64);
    driver.guest.queues[1].add(&[out(address, HEADER_SIZE - 1)]);
    driver.guest.kick(1);
    driver.expect_nothing();
}

#[test]
fn a_thousand_connections_one_after_the_other() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut driver = Driver::new();
    let before = descriptors();
    for number in 0..1000 {
        let (mut socket, mut stream) = driver.connect(5000 + number % 7, 1024);
        driver.send(socket.header(Op::Data), b"ping");
        driver.settle();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(b"pong").unwrap();
        driver.settle();
        assert_eq!(driver.take().unwrap().1, b"pong");
        if number % 2 == 0 {
            driver.send(socket.shutdown(true, true), &[]);
            driver.expect(Op::Reset);
            assert_eq!(stream.read(&mut bytes).unwrap(), 0);
        } else {
            drop(stream);
            driver.expect(Op::Shutdown);
            driver.send(socket.header(Op::Reset), &[]);
            driver.settle();
        }
        driver.reclaim();
    }
    assert_eq!(driver.vsock.lock().unwrap().connections(), 0);
    // Other tests open and close descriptors at the same time.
    assert!(descriptors() < before + 200, "descriptors leak");
    let vsock = driver.vsock.lock().unwrap();
    assert!(vsock.refusals.is_empty() && !vsock.table.has_turns());
}

#[test]
fn there_are_only_so_many_connections() {
    let mut driver = Driver::new();
    let mut streams = vec![];
    for number in 0..MAX_CONNECTIONS as u32 {
        streams.push(driver.connect(5000 + number, 1024));
    }
    driver.send(driver.socket(4000, 1024).header(Op::Request), &[]);
    driver.expect(Op::Reset);
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let error = driver.vsock.lock().unwrap().connect(1, theirs.into()).unwrap_err();
    assert!(matches!(error, ConnectError::TooMany));
    // All of them at once: each gets its turn.
    for (_, stream) in &mut streams {
        stream.write_all(&[7; 10_000]).unwrap();
    }
    let mut received = vec![0; MAX_CONNECTIONS];
    let mut spread = 0;
    driver.settle();
    while let Some((header, payload)) = driver.take() {
        let index = (header.dst_port - 5000) as usize;
        received[index] += payload.len();
        spread = spread.max(received.iter().max().unwrap() - received.iter().min().unwrap());
        driver.settle();
    }
    assert_eq!(received, vec![10_000; MAX_CONNECTIONS]);
    assert!(spread <= 2 * RX_BUFFER, "one got {spread} bytes ahead of another");
    drop(streams.pop());
    driver.expect(Op::Shutdown);
}

#[test]
fn refusals_wait_for_room_and_are_bounded() {
    let mut driver = Driver::new();
    // The guest takes nothing from its receive queue, and sends what has to be refused.
    let mut refused = 0;
    for _ in 0..400 {
        driver.reclaim();
        if driver.tx_free.is_empty() || !driver.guest.queues[1].has_room(1) {
            break;
        }
        driver.send(driver.socket(9, 9).header(Op::Data), &[]);
        refused += 1;
        driver.settle();
    }
    assert!(driver.vsock.lock().unwrap().refusals.len() <= 64);
    assert!(refused >= 64 + 64, "as many as there is room for are taken");
    // Then it does.
    let mut resets = 0;
    loop {
        driver.settle();
        match driver.take() {
            Some((header, _)) => assert_eq!(header.op, Op::Reset as u16),
            None => break,
        }
        resets += 1;
    }
    assert_eq!(resets, refused);
}

#[test]
fn a_reset_closes_connections_but_delivers_what_was_said() {
    let mut driver = Driver::new();
    let (mut socket, mut stream) = driver.connect(5000, 1024);
    driver.send(socket.header(Op::Data), b"last words");
    driver.settle();
    driver.guest.write(0x70, 0);
    driver.settle();
    let mut words = String::new();
    stream.read_to_string(&mut words).unwrap();
    assert_eq!(words, "last words");
    assert_eq!(driver.vsock.lock().unwrap().connections(), 0);
    driver.guest.start(u64::MAX);
    driver.prepare();
    driver.connect(5000, 1024);
}

#[test]
fn what_is_in_the_queue_at_the_end_is_drained() {
    let mut driver = Driver::new();
    let (mut socket, mut stream) = driver.connect(5000, 1024);
    driver.send(socket.header(Op::Data), b"unseen");
    assert!(!driver.vsock.lock().unwrap().drain());
    let mut bytes = [0; 6];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"unseen");
}

#[test]
fn a_pause_loses_nothing_and_a_restored_guest_is_told() {
    let mut driver = Driver::new();
    let (mut socket, mut stream) = driver.connect(5000, 1024);
    for _ in 0..8 {
        let address = driver.guest.allocate(8);
        driver.guest.queues[2].add(&[room(address, 8)]);
    }
    let state = driver.guest.transport.pause();
    stream.write_all(b"meanwhile").unwrap();
    driver.send(socket.header(Op::Data), b"meanwhile");
    driver.settle();
    driver.guest.transport.resume().unwrap();
    driver.settle();
    assert_eq!(driver.take().unwrap().1, b"meanwhile");
    let mut bytes = [0; 9];
    stream.read_exact(&mut bytes).unwrap();

    let (sender, accepted) = channel();
    let vsock = share(Vsock::new(CID, Box::new(Listener(sender))).unwrap());
    let transport =
        crate::transport::mmio::MmioTransport::new(vsock.clone(), driver.guest.memory.clone()).unwrap();
    transport.restore(state).unwrap();
    transport.resume().unwrap();
    (driver.vsock, driver.guest.transport, driver.accepted) = (vsock, transport, accepted);
    driver.settle();
    let (head, written) = driver.guest.queues[2].take_used().unwrap();
    assert_eq!((head, written), (0, 4));
}
