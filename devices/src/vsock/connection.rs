//! One connection: a stream socket on the host, a socket in the guest, and what is between them.
//!
//! ```text
//!  guest asks                          host asks
//!      │                                   │
//!      ▼             guest accepts         ▼
//!    open ◄──────────────────────────── asking
//!      │                                   │ guest refuses, or the host
//!      │ guest resets, or has              │ closes its end
//!      │ shut down both directions         ▼
//!      └──────────► leaving ────────────► gone
//!           when it has data     all data delivered,
//!           not delivered yet    or nobody wants it
//! ```
//!
//! In **leaving** the guest has forgotten the connection; what it said before is still delivered.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown};
use vmm_sys_util::epoll::EventSet;

use super::credit::Credit;
use super::packet::{Ends, Op};
use crate::device::Memory;
use crate::guest_io;
use crate::queue::Buffers;

/// What a stream is watched for. Edges: a connection remembers what it was told until the socket says otherwise, so that the
/// poll set need not be changed as data comes and goes.
pub(super) fn interest() -> EventSet {
    EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED
}

/// Largest payload sent in one packet, whatever room the guest gives.
const MAX_PAYLOAD: usize = 64 << 10;
/// Bytes copied at once into the pending data.
const CHUNK: usize = 4096;

/// The two ports of a connection, by which a packet finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ports {
    pub(super) host: u32,
    pub(super) guest: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asking,
    Open,
    Leaving,
}

/// A packet to the guest, but for what every packet of the connection has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) op: Op,
    pub(super) flags: u32,
    pub(super) len: u32,
}

/// The guest broke the protocol: the connection is reset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation;

pub(super) struct Connection {
    pub(super) ports: Ports,
    pub(super) credit: Credit,
    /// Whether it waits for its turn to send to the guest.
    pub(super) queued: bool,
    stream: OwnedFd,
    phase: Phase,
    /// Guest data that the stream did not take yet.
    pending: VecDeque<u8>,
    /// The stream may have data for the guest, or its end.
    readable: bool,
    /// The stream may take data.
    writable: bool,
    /// What the guest will not do any more.
    guest: Ends,
    /// What the host will not do any more.
    host: Ends,
    /// What of that the guest has been told.
    told: Ends,
    /// A request or response is to be sent.
    greeting: Option<Op>,
    /// The guest has asked for its credit.
    asked_for_credit: bool,
    /// The stream has been told that the guest sends nothing more.
    ended: bool,
}

impl Connection {
    /// One that the guest has asked for.
    pub(super) fn accepted(ports: Ports, stream: OwnedFd, credit: Credit) -> Self {
        Self::new(ports, stream, credit, Phase::Open, Op::Response)
    }

    /// One that the host asks for.
    pub(super) fn asking(ports: Ports, stream: OwnedFd, credit: Credit) -> Self {
        Self::new(ports, stream, credit, Phase::Asking, Op::Request)
    }

    fn new(ports: Ports, stream: OwnedFd, credit: Credit, phase: Phase, greeting: Op) -> Self {
        Self {
            ports,
            credit,
            queued: false,
            stream,
            phase,
            pending: VecDeque::new(),
            readable: true,
            writable: true,
            guest: Ends::default(),
            host: Ends::default(),
            told: Ends::default(),
            greeting: Some(greeting),
            asked_for_credit: false,
            ended: false,
        }
    }

    /// Whether the guest has not heard of it yet.
    pub(super) fn is_unasked(&self) -> bool {
        self.greeting == Some(Op::Request)
    }

    pub(super) fn is_asking(&self) -> bool {
        self.phase == Phase::Asking
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.phase == Phase::Leaving
    }

    /// Bytes of the guest's that nobody has read yet.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether there is something to send to the guest.
    pub(super) fn wants_turn(&self) -> bool {
        match self.phase {
            Phase::Asking => self.is_unasked(),
            Phase::Leaving => false,
            Phase::Open => {
                self.greeting.is_some()
                    || self.may_read()
                    || self.told != self.news()
                    || self.asked_for_credit
                    || self.credit.should_announce()
            }
        }
    }

    /// What the guest should know of the host's ends. That the host receives nothing more is no news to a guest that sends
    /// nothing more, unless it completes the picture.
    fn news(&self) -> Ends {
        Ends { receive: self.host.receive && (self.host.send || !self.guest.send), ..self.host }
    }

    fn may_read(&self) -> bool {
        self.readable && !self.host.send && !self.guest.receive && self.credit.may_send() > 0
    }

    /// The stream's state changed.
    pub(super) fn notice(&mut self, events: EventSet) {
        self.readable |= events.intersects(EventSet::IN | EventSet::READ_HANG_UP | EventSet::HANG_UP);
        self.writable |= events.intersects(EventSet::OUT | EventSet::HANG_UP | EventSet::ERROR);
        if events.intersects(EventSet::HANG_UP | EventSet::ERROR) {
            // The other end is closed: what it wrote before can still be read.
            self.host.receive = true;
        }
        self.flush();
    }

    /// The guest accepts.
    pub(super) fn open(&mut self) -> Result<(), Violation> {
        if self.phase != Phase::Asking || self.is_unasked() {
            return Err(Violation);
        }
        self.phase = Phase::Open;
        Ok(())
    }

    /// Whether the host has given up while it asked.
    pub(super) fn host_is_gone(&self) -> bool {
        self.host.receive
    }

    /// The guest asks for its credit.
    pub(super) fn ask_for_credit(&mut self) {
        self.asked_for_credit = true;
    }

    /// Data from the guest: straight to the stream if nothing is before it, and as far as it takes it; the rest is kept.
    pub(super) fn deliver(&mut self, memory: &Memory, payload: &mut Buffers) -> Result<(), Violation> {
        if self.phase != Phase::Open || self.guest.send || !self.credit.receive(payload.len() as u32) {
            return Err(Violation);
        }
        while self.pending.is_empty() && self.writable && !self.host.receive && !payload.is_empty() {
            match guest_io::send(self.stream.as_fd(), memory, payload) {
                Ok(bytes) => self.credit.forward(bytes as u32),
                Err(error) => self.not_taken(Errno::from_io_error(&error)),
            }
        }
        if self.host.receive {
            // Nobody will read it; the guest is told by a shutdown.
            self.credit.forward(payload.len() as u32);
            return Ok(());
        }
        let mut chunk = [0; CHUNK];
        while !payload.is_empty() {
            let bytes = payload.read(memory, &mut chunk);
            if bytes == 0 {
                return Err(Violation);
            }
            self.pending.extend(&chunk[..bytes]);
        }
        Ok(())
    }

    /// Hands pending data to the stream, as far as it takes it, and then the end of the data.
    fn flush(&mut self) {
        while !self.pending.is_empty() && self.writable && !self.host.receive {
            let first = self.pending.as_slices().0;
            match rustix::net::send(&self.stream, first, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(bytes) => {
                    self.pending.drain(..bytes);
                    self.credit.forward(bytes as u32);
                }
                Err(error) => self.not_taken(Some(error)),
            }
        }
        if self.host.receive {
            self.credit.forward(self.pending.len() as u32);
            self.pending.clear();
        }
        if self.pending.is_empty() {
            // Idle connections hold no memory.
            self.pending = VecDeque::new();
            if self.guest.send && !self.ended {
                self.ended = true;
                self.shut_down(Shutdown::Write);
            }
        }
    }

    /// The stream did not take data.
    fn not_taken(&mut self, error: Option<Errno>) {
        match error {
            Some(Errno::AGAIN) => self.writable = false,
            Some(Errno::INTR) => {}
            _ => self.host.receive = true,
        }
    }

    /// The guest has shut down directions; returns whether nothing is left of the connection in the guest.
    pub(super) fn guest_shut_down(&mut self, ends: Ends) -> bool {
        self.guest.send |= ends.send;
        if ends.receive && !self.guest.receive {
            self.guest.receive = true;
            self.shut_down(Shutdown::Read);
        }
        self.flush();
        self.guest.both()
    }

    /// The guest has forgotten the connection; returns whether there still is data to deliver.
    pub(super) fn leave(&mut self) -> bool {
        let was_open = self.phase == Phase::Open;
        self.phase = Phase::Leaving;
        self.guest = Ends { receive: true, send: true };
        if was_open && !self.pending.is_empty() {
            self.shut_down(Shutdown::Read);
            self.flush();
        }
        !self.pending.is_empty()
    }

    fn shut_down(&self, how: Shutdown) {
        // Fails only when it has been done, or the other end is closed.
        let _ = rustix::net::shutdown(&self.stream, how);
    }

    /// The next packet for the guest, its payload read straight into `body`.
    pub(super) fn next_packet(&mut self, memory: &Memory, body: &mut Buffers) -> Option<Packet> {
        let packet = |op, flags, len| Some(Packet { op, flags, len });
        if let Some(greeting) = self.greeting.take() {
            return packet(greeting, 0, 0);
        }
        if self.phase != Phase::Open {
            return None;
        }
        if let Some(len) = self.read(memory, body) {
            // It carries the credit, too.
            self.asked_for_credit = false;
            return packet(Op::Data, 0, len);
        }
        if self.told != self.news() {
            self.told = self.news();
            return packet(Op::Shutdown, self.told.flags(), 0);
        }
        if std::mem::take(&mut self.asked_for_credit) || self.credit.should_announce() {
            return packet(Op::CreditUpdate, 0, 0);
        }
        None
    }

    /// Reads what the guest has room and credit for.
    fn read(&mut self, memory: &Memory, body: &mut Buffers) -> Option<u32> {
        while self.may_read() && !body.is_empty() {
            let limit = MAX_PAYLOAD.min(self.credit.may_send() as usize);
            match guest_io::receive(self.stream.as_fd(), limit, memory, body) {
                Ok(0) => self.host.send = true,
                Ok(bytes) => {
                    self.credit.send(bytes as u32);
                    return Some(bytes as u32);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other end was closed with data unread.
                Err(_) => self.host = Ends { receive: true, send: true },
            }
        }
        None
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
