//! A guest's socket driver for tests: packets, buffers, and credit as Linux keeps it.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};
use vm_memory::{Bytes, GuestAddress};

use super::packet::{Ends, HEADER_SIZE, HOST_CID, Header, Op, TYPE_STREAM};
use super::{HostSide, Refused, Vsock};
use crate::test_driver::{Guest, eventually, is_ready, out, room, settle, share};

pub(super) const CID: u32 = 3;
/// The guest's own buffer for each connection, as Linux has it.
pub(super) const GUEST_BUFFER: u32 = 256 << 10;
/// What Linux puts into the receive queue.
pub(super) const RX_BUFFER: usize = 4096 - 320;
pub(super) const TX_BUFFER: usize = HEADER_SIZE + (64 << 10);

/// Takes connections to port 1024 and up.
pub(super) struct Listener(pub(super) Sender<(u32, UnixStream)>);

impl HostSide for Listener {
    fn connection(&mut self, port: u32, stream: OwnedFd) -> Result<(), Refused> {
        if port < 1024 {
            return Err(Refused);
        }
        self.0.send((port, stream.into())).map_err(|_| Refused)
    }
}

/// A guest's socket driver, one packet at a time.
pub(super) struct Driver {
    pub(super) vsock: Arc<Mutex<Vsock>>,
    pub(super) guest: Guest,
    pub(super) accepted: Receiver<(u32, UnixStream)>,
    /// Addresses of the buffers in the receive queue, by head.
    pub(super) rx: Vec<u64>,
    /// Addresses of buffers for packets, free ones and those in the queue.
    pub(super) tx_free: Vec<u64>,
    pub(super) tx_used: Vec<u64>,
    pub(super) interrupts: u32,
}

impl Driver {
    pub(super) fn new() -> Self {
        Self::with_features(u64::MAX)
    }

    pub(super) fn with_features(mask: u64) -> Self {
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

    pub(super) fn prepare(&mut self) {
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

    pub(super) fn settle(&mut self) {
        settle(&self.vsock);
        self.interrupts += u32::from(self.guest.interrupt() != 0);
    }

    /// Queues a packet and has it handled.
    pub(super) fn send(&mut self, header: Header, payload: &[u8]) {
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

    pub(super) fn reclaim(&mut self) {
        while let Some((head, _)) = self.guest.queues[1].take_used() {
            self.tx_free.push(self.tx_used[usize::from(head)]);
        }
    }

    /// Takes a packet that the device sent, and gives its buffer back.
    pub(super) fn take(&mut self) -> Option<(Header, Vec<u8>)> {
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
    pub(super) fn expect(&mut self, op: Op) -> Header {
        self.settle();
        let (header, _) = self.take().unwrap_or_else(|| panic!("no packet, {op:?} was expected"));
        assert_eq!(Op::from_number(header.op), Some(op));
        header
    }

    pub(super) fn expect_nothing(&mut self) {
        self.settle();
        assert_eq!(self.take(), None);
    }

    pub(super) fn socket(&self, guest: u32, host: u32) -> Socket {
        Socket { guest, host, buf_alloc: GUEST_BUFFER, ..Socket::default() }
    }

    /// Connects the guest to the host; returns both ends.
    pub(super) fn connect(&mut self, guest: u32, host: u32) -> (Socket, UnixStream) {
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
pub(super) struct Socket {
    pub(super) guest: u32,
    pub(super) host: u32,
    pub(super) buf_alloc: u32,
    pub(super) forwarded: u32,
    pub(super) announced: u32,
    pub(super) sent: u32,
    pub(super) peer_buf_alloc: u32,
    pub(super) peer_forwarded: u32,
}

impl Socket {
    pub(super) fn header(&mut self, op: Op) -> Header {
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

    pub(super) fn shutdown(&mut self, receive: bool, send: bool) -> Header {
        Header { flags: Ends { receive, send }.flags(), ..self.header(Op::Shutdown) }
    }

    pub(super) fn learn(&mut self, header: &Header) {
        self.peer_buf_alloc = header.buf_alloc;
        self.peer_forwarded = header.fwd_cnt;
    }

    pub(super) fn may_send(&self) -> usize {
        self.peer_buf_alloc.saturating_sub(self.sent.wrapping_sub(self.peer_forwarded)) as usize
    }

    /// The guest's program has read; returns the update that Linux would send now.
    pub(super) fn consume(&mut self, bytes: usize) -> Option<Header> {
        self.forwarded = self.forwarded.wrapping_add(bytes as u32);
        let free = self.buf_alloc - self.forwarded.wrapping_sub(self.announced);
        (free < 64 << 10).then(|| self.header(Op::CreditUpdate))
    }
}

/// Bytes that are not the same anywhere.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
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

pub(super) fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Reads a stream to its end in the background, with a pause now and then if it is slow.
pub(super) fn read_all(mut stream: UnixStream, slow: bool) -> JoinHandle<Vec<u8>> {
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
pub(super) fn guest_sends(driver: &mut Driver, socket: &mut Socket, data: &[u8]) {
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
pub(super) fn guest_receives(driver: &mut Driver, socket: &mut Socket) -> Vec<u8> {
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
