use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};
use vm_memory::{Bytes, GuestAddress};

use super::packet::{Ends, HEADER_SIZE, HOST_CID, Op, TYPE_STREAM};
use super::*;
use crate::test_driver::{EVENT_IDX, Guest, eventually, is_ready, out, room, settle, share};

const CID: u32 = 3;
/// The guest's own buffer for each connection, as Linux has it.
const GUEST_BUFFER: u32 = 256 << 10;
/// What Linux puts into the receive queue.
const RX_BUFFER: usize = 4096 - 320;
const TX_BUFFER: usize = HEADER_SIZE + (64 << 10);

/// Takes connections to port 1024 and up.
struct Listener(Sender<(u32, UnixStream)>);

impl HostSide for Listener {
    fn connection(&mut self, port: u32, stream: OwnedFd) -> Result<(), Refused> {
        if port < 1024 {
            return Err(Refused);
        }
        self.0.send((port, stream.into())).map_err(|_| Refused)
    }
}

/// A guest's socket driver, one packet at a time.
struct Driver {
    vsock: Arc<Mutex<Vsock>>,
    guest: Guest,
    accepted: Receiver<(u32, UnixStream)>,
    /// Addresses of the buffers in the receive queue, by head.
    rx: Vec<u64>,
    /// Addresses of buffers for packets, free ones and those in the queue.
    tx_free: Vec<u64>,
    tx_used: Vec<u64>,
    interrupts: u32,
}

impl Driver {
    fn new() -> Self {
        Self::with_features(u64::MAX)
    }

    fn with_features(mask: u64) -> Self {
        let (sender, accepted) = channel();
        let vsock = share(Vsock::new(CID, Box::new(Listener(sender))).unwrap());
        let guest = Guest::with_features(vsock.clone(), mask);
        let mut driver = Self {
            vsock,
            guest,
            accepted,
            rx: vec![0; 64],
            tx_free: vec![],
            tx_used: vec![0; 64],
            interrupts: 0,
        };
        driver.prepare();
        driver
    }

    fn prepare(&mut self) {
        for _ in 0..self.guest.queues[0].size {
            let address = self.guest.allocate(RX_BUFFER);
            let head = self.guest.queues[0].add(&[room(address, RX_BUFFER)]);
            self.rx[usize::from(head)] = address;
        }
        self.guest.kick(0);
        for _ in 0..32 {
            let address = self.guest.allocate(TX_BUFFER);
            self.tx_free.push(address);
        }
        self.settle();
    }

    fn settle(&mut self) {
        settle(&self.vsock);
        self.interrupts += u32::from(self.guest.interrupt() != 0);
    }

    /// Queues a packet and has it handled.
    fn send(&mut self, header: Header, payload: &[u8]) {
        self.reclaim();
        let address = self.tx_free.pop().expect("a free buffer");
        let header = Header { len: payload.len() as u32, ..header };
        self.guest.memory.write_slice(&header.bytes(), GuestAddress(address)).unwrap();
        let data = address + HEADER_SIZE as u64;
        self.guest.memory.write_slice(payload, GuestAddress(data)).unwrap();
        // Scattered, as a guest that does not copy sends it.
        let half = payload.len() / 2;
        let pieces =
            [out(address, HEADER_SIZE), out(data, half), out(data + half as u64, payload.len() - half)];
        let count = if payload.is_empty() { 1 } else { 3 };
        let head = self.guest.queues[1].add(&pieces[..count]);
        self.tx_used[usize::from(head)] = address;
        self.guest.kick(1);
    }

    fn reclaim(&mut self) {
        while let Some((head, _)) = self.guest.queues[1].take_used() {
            self.tx_free.push(self.tx_used[usize::from(head)]);
        }
    }

    /// Takes a packet that the device sent, and gives its buffer back.
    fn take(&mut self) -> Option<(Header, Vec<u8>)> {
        let (head, written) = self.guest.queues[0].take_used()?;
        let address = self.rx[usize::from(head)];
        let bytes = self.guest.get(address, written as usize);
        let (header, payload) = bytes.split_first_chunk().expect("a header");
        let header = Header::parse(header);
        assert_eq!(header.len as usize, payload.len());
        assert_eq!((header.src_cid, header.dst_cid), (HOST_CID, CID.into()));
        let head = self.guest.queues[0].add(&[room(address, RX_BUFFER)]);
        self.rx[usize::from(head)] = address;
        self.guest.kick(0);
        Some((header, payload.to_vec()))
    }

    /// The next packet, which must be there.
    fn expect(&mut self, op: Op) -> Header {
        self.settle();
        let (header, _) = self.take().unwrap_or_else(|| panic!("no packet, {op:?} was expected"));
        assert_eq!(Op::from_number(header.op), Some(op));
        header
    }

    fn expect_nothing(&mut self) {
        self.settle();
        assert_eq!(self.take(), None);
    }

    fn socket(&self, guest: u32, host: u32) -> Socket {
        Socket { guest, host, buf_alloc: GUEST_BUFFER, ..Socket::default() }
    }

    /// Connects the guest to the host; returns both ends.
    fn connect(&mut self, guest: u32, host: u32) -> (Socket, UnixStream) {
        let mut socket = self.socket(guest, host);
        self.send(socket.header(Op::Request), &[]);
        let response = self.expect(Op::Response);
        assert_eq!((response.src_port, response.dst_port), (host, guest));
        socket.learn(&response);
        let (port, stream) = self.accepted.try_recv().unwrap();
        assert_eq!(port, host);
        (socket, stream)
    }
}

/// The guest's end of a connection, keeping account of credit as Linux does.
#[derive(Debug, Default, Clone)]
struct Socket {
    guest: u32,
    host: u32,
    buf_alloc: u32,
    forwarded: u32,
    announced: u32,
    sent: u32,
    peer_buf_alloc: u32,
    peer_forwarded: u32,
}

impl Socket {
    fn header(&mut self, op: Op) -> Header {
        self.announced = self.forwarded;
        Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: self.guest,
            dst_port: self.host,
            kind: TYPE_STREAM,
            op: op as u16,
            buf_alloc: self.buf_alloc,
            fwd_cnt: self.forwarded,
            ..Header::default()
        }
    }

    fn shutdown(&mut self, receive: bool, send: bool) -> Header {
        Header { flags: Ends { receive, send }.flags(), ..self.header(Op::Shutdown) }
    }

    fn learn(&mut self, header: &Header) {
        self.peer_buf_alloc = header.buf_alloc;
        self.peer_forwarded = header.fwd_cnt;
    }

    fn may_send(&self) -> usize {
        self.peer_buf_alloc.saturating_sub(self.sent.wrapping_sub(self.peer_forwarded)) as usize
    }

    /// The guest's program has read; returns the update that Linux would send now.
    fn consume(&mut self, bytes: usize) -> Option<Header> {
        self.forwarded = self.forwarded.wrapping_add(bytes as u32);
        let free = self.buf_alloc - self.forwarded.wrapping_sub(self.announced);
        (free < 64 << 10).then(|| self.header(Op::CreditUpdate))
    }
}

/// Bytes that are not the same anywhere.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Reads a stream to its end in the background, with a pause now and then if it is slow.
fn read_all(mut stream: UnixStream, slow: bool) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let (mut all, mut chunk) = (vec![], [0; 20_000]);
        loop {
            match stream.read(&mut chunk).unwrap() {
                0 => return all,
                length => all.extend(&chunk[..length]),
            }
            if slow && all.len() % 7 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    })
}

/// Has the guest send everything, waiting for credit as it must.
fn guest_sends(driver: &mut Driver, socket: &mut Socket, data: &[u8]) {
    let mut rest = data;
    eventually("the device takes all data", || {
        driver.settle();
        while let Some((header, payload)) = driver.take() {
            assert!(payload.is_empty());
            assert_eq!(Op::from_number(header.op), Some(Op::CreditUpdate));
            socket.learn(&header);
        }
        driver.reclaim();
        while !rest.is_empty() && socket.may_send() > 0 && !driver.tx_free.is_empty() {
            let length = rest.len().min(socket.may_send()).min(64 << 10);
            let (now, later) = rest.split_at(length);
            let header = socket.header(Op::Data);
            driver.send(header, now);
            socket.sent = socket.sent.wrapping_add(length as u32);
            rest = later;
        }
        rest.is_empty()
    });
    driver.settle();
}

/// Has the guest receive until the host's end of data; returns the data.
fn guest_receives(driver: &mut Driver, socket: &mut Socket) -> Vec<u8> {
    let mut data = vec![];
    let mut ended = false;
    eventually("the device delivers all data", || {
        is_ready(&driver.vsock, Duration::from_micros(200));
        driver.settle();
        while let Some((header, payload)) = driver.take() {
            socket.learn(&header);
            match Op::from_number(header.op) {
                Some(Op::Data) => {
                    assert!(!ended);
                    data.extend(&payload);
                    if let Some(update) = socket.consume(payload.len()) {
                        driver.send(update, &[]);
                    }
                }
                Some(Op::Shutdown) => ended |= Ends::from_flags(header.flags).send,
                other => panic!("{other:?}"),
            }
        }
        ended
    });
    data
}

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
