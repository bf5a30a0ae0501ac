//! The guest's part, without a guest: a network card's end of a frame socket, with just enough of TCP and UDP to load what is at the
//! other. What was not acknowledged for a while is said again.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg},
};

use crate::network::wire::{Datagram, Flags, Frame, Headers, IPV4, Mac, Packet, Segment, TCP, UDP};

/// Bytes of a TCP header.
const HEADER: usize = 20;
/// What a segment carries at most, as the MTU allows.
pub const MOST: usize = crate::network::MTU as usize - 20 - HEADER;
/// What is said is this, over and over: a byte's value is its number modulo this.
const PERIOD: usize = 251;
/// By how much windows are shifted, and the window: what comes is taken at once.
const SCALE: u8 = 8;
const WINDOW: u16 = 16 << 10;
/// Bytes read at once.
const INPUT: usize = 1 << 20;
/// How long an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// A connection, by the guest's port and the other's.
pub type Name = (u16, SocketAddrV4);

/// The guest.
pub struct Guest {
    socket: OwnedFd,
    mac: Mac,
    gateway_mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its connections.
    pub connections: HashMap<Name, Connection>,
    /// Ports at which it takes calls.
    pub listens: Vec<u16>,
    /// Datagrams that came and nobody has looked at: at which port, from whom, and what.
    pub datagrams: Vec<(u16, SocketAddr, Vec<u8>)>,
    /// Datagrams are counted only.
    pub counts: bool,
    /// How many came, and their bytes.
    pub counted: (u64, u64),
    input: Vec<u8>,
    start: usize,
    end: usize,
    unsent: Vec<u8>,
    pattern: Vec<u8>,
    port: u16,
    looked: Instant,
}

/// A TCP connection of the guest's.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Both sides have agreed to it.
    pub open: bool,
    /// The other has reset it, or refused it.
    pub reset: bool,
    /// The other has said all.
    pub ended: bool,
    /// Bytes that came, and whether they are what was to come.
    pub heard: u64,
    /// One of them was not what it was to be.
    pub wrong: bool,
    /// Bytes still to be said, after which comes the end, if it is to be said.
    pub to_say: u64,
    /// The end is to be said then.
    pub ends: bool,
    called: bool,
    said: u64,
    next: u32,
    unacknowledged: u32,
    window: u32,
    scale: u8,
    expected: u32,
    acknowledge: bool,
    end_said: bool,
    repeats: u8,
    /// What was not acknowledged when that was looked at.
    stuck_at: Option<u32>,
}

impl Connection {
    /// Whether nothing more has been acknowledged since this was asked last.
    fn is_stuck(&mut self) -> bool {
        let waits = self.open && !self.reset && self.next != self.unacknowledged;
        let before = std::mem::replace(&mut self.stuck_at, waits.then_some(self.unacknowledged));
        waits && before == Some(self.unacknowledged)
    }

    /// Whether all that was said has arrived, and its end.
    pub fn is_heard(&self) -> bool {
        self.end_said && self.unacknowledged == self.next
    }

    /// Whether both sides have said all, and know it.
    pub fn is_over(&self) -> bool {
        self.reset || (self.ended && self.is_heard())
    }
}

impl Guest {
    /// At its end of a frame socket, which does not block.
    pub fn new(socket: OwnedFd, mac: Mac, address: Ipv4Addr, gateway_mac: Mac) -> Self {
        Self {
            socket,
            mac,
            gateway_mac,
            address,
            connections: HashMap::new(),
            listens: Vec::new(),
            datagrams: Vec::new(),
            counts: false,
            counted: (0, 0),
            input: vec![0; INPUT],
            start: 0,
            end: 0,
            unsent: Vec::new(),
            pattern: (0..MOST + PERIOD).map(|number| (number % PERIOD) as u8).collect(),
            port: 10_000,
            looked: Instant::now(),
        }
    }

    /// Calls somebody, to say so much.
    pub fn call(&mut self, to: SocketAddrV4, to_say: u64, ends: bool) -> Name {
        loop {
            self.port = self.port.checked_add(1).unwrap_or(10_000);
            let name = (self.port, to);
            if !self.connections.contains_key(&name) {
                let first = u32::from(self.port) << 16;
                let connection = Connection {
                    to_say,
                    ends,
                    next: first,
                    unacknowledged: first,
                    called: true,
                    ..Connection::default()
                };
                self.connections.insert(name, connection);
                self.send_segment(name, Flags::SYN, 0);
                return name;
            }
        }
    }

    /// Has a connection say more.
    pub fn say(&mut self, name: Name, bytes: u64, ends: bool) {
        if let Some(connection) = self.connections.get_mut(&name) {
            connection.to_say += bytes;
            connection.ends |= ends;
        }
        self.work(name);
    }

    /// Sends a datagram.
    pub fn tell(&mut self, from: u16, to: SocketAddrV4, payload: &[u8]) {
        let ends = (SocketAddr::from((self.address, from)), SocketAddr::from(to));
        let headers = Headers::udp((self.mac, self.gateway_mac), ends.0, ends.1, payload);
        self.send_frame(headers.bytes(), payload);
    }

    /// Sends a call and forgets it, as in a flood of them.
    pub fn call_in_vain(&mut self, from: u16, to: SocketAddrV4) {
        let name = (from, to);
        self.connections.insert(name, Connection::default());
        self.send_segment(name, Flags::SYN, 0);
        self.connections.remove(&name);
    }

    /// Whether the socket takes more.
    pub fn has_room(&mut self) -> bool {
        self.flush();
        self.unsent.is_empty()
    }

    /// Waits for something, for so long at most, and sees to it. `false` when the other has gone.
    pub fn turn(&mut self, most: Duration) -> bool {
        let waits = if self.unsent.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let most = Timespec { tv_sec: most.as_secs().cast_signed(), tv_nsec: most.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::from_borrowed_fd(self.socket.as_fd(), waits)], Some(&most));
        self.flush();
        if !self.read() {
            return false;
        }
        let mut touched: Vec<Name> = Vec::new();
        while let Some(length) =
            self.input[self.start..self.end].first_chunk().map(|it| u32::from_be_bytes(*it))
        {
            let (begin, length) = (self.start + 4, length as usize);
            if begin + length > self.end {
                break;
            }
            self.start = begin + length;
            let input = std::mem::take(&mut self.input);
            if let Some(name) = self.hear(&input[begin..begin + length])
                && touched.last() != Some(&name)
            {
                touched.push(name);
            }
            self.input = input;
        }
        if self.looked.elapsed() > PATIENCE {
            self.looked = Instant::now();
            for (name, connection) in &mut self.connections {
                if connection.is_stuck() {
                    connection.again();
                    touched.push(*name);
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().for_each(|name| self.work(name));
        true
    }

    /// Takes turns until something is so, or the time is over. `false` when it is.
    pub fn until(&mut self, most: Duration, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + most;
        while !is_so(self) {
            if Instant::now() > end || !self.turn(Duration::from_millis(10)) {
                return false;
            }
        }
        true
    }

    fn read(&mut self) -> bool {
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        match recv(&self.socket, &mut self.input[self.end..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => false,
            Ok((_, length)) => {
                self.end += length;
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match send(&self.socket, &self.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(_) => return,
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Option<Name> {
        let frame = Frame::parse(bytes)?;
        if frame.kind != IPV4 {
            return None;
        }
        let packet = Packet::parse(frame.kind, frame.payload)?;
        let (IpAddr::V4(from), IpAddr::V4(to)) = (packet.from, packet.to) else { return None };
        if to != self.address {
            return None;
        }
        match packet.protocol {
            UDP => {
                let datagram = Datagram::parse(packet.payload)?;
                self.counted = (self.counted.0 + 1, self.counted.1 + datagram.payload.len() as u64);
                if !self.counts {
                    let from = SocketAddr::from((from, datagram.from));
                    self.datagrams.push((datagram.to, from, datagram.payload.to_vec()));
                }
                None
            }
            TCP => {
                let segment = Segment::parse(packet.payload)?;
                let name = (segment.to, SocketAddrV4::new(from, segment.from));
                self.hear_segment(name, &segment);
                Some(name)
            }
            _ => None,
        }
    }

    fn hear_segment(&mut self, name: Name, segment: &Segment<'_>) {
        if segment.flags.has(Flags::SYN)
            && !segment.flags.has(Flags::ACK)
            && self.listens.contains(&name.0)
            && !self.connections.contains_key(&name)
        {
            let first = u32::from(name.1.port()) << 16;
            let connection = Connection {
                next: first,
                unacknowledged: first,
                expected: segment.sequence.wrapping_add(1),
                scale: segment.scale.unwrap_or(0),
                ..Connection::default()
            };
            self.connections.insert(name, connection);
            return self.send_segment(name, Flags::SYN.and(Flags::ACK), 0);
        }
        let Some(connection) = self.connections.get_mut(&name) else { return };
        connection.hear(segment);
    }

    /// Says what a connection has to say.
    fn work(&mut self, name: Name) {
        while let Some(connection) = self.connections.get_mut(&name) {
            if connection.reset || !connection.open || !self.unsent.is_empty() {
                break;
            }
            let sent = connection.next.wrapping_sub(connection.unacknowledged);
            let room = u64::from(connection.window.saturating_sub(sent));
            let length = connection.to_say.min(room).min(MOST as u64) as usize;
            let last = connection.ends && !connection.end_said && length as u64 == connection.to_say;
            if length == 0 && !last {
                break;
            }
            let flags = if last { Flags::ACK.and(Flags::FIN) } else { Flags::ACK };
            self.send_segment(name, flags, length);
        }
        if self.connections.get(&name).is_some_and(|connection| connection.acknowledge) {
            self.send_segment(name, Flags::ACK, 0);
        }
    }

    fn send_segment(&mut self, name: Name, flags: Flags, length: usize) {
        let Some(connection) = self.connections.get_mut(&name) else { return };
        let call = flags.has(Flags::SYN);
        let header = if call { HEADER + 8 } else { HEADER };
        let ethernet = (self.mac, self.gateway_mac);
        let ends = (self.address.into(), (*name.1.ip()).into());
        let mut headers = Headers::ip(ethernet, ends.0, ends.1, TCP, header + length);
        headers.push(&name.0.to_be_bytes());
        headers.push(&name.1.port().to_be_bytes());
        headers.push(&connection.next.to_be_bytes());
        headers.push(&connection.expected.to_be_bytes());
        headers.push(&[(header as u8 / 4) << 4, flags.0]);
        headers.push(&if call { u16::MAX } else { WINDOW }.to_be_bytes());
        headers.push(&[0; 4]);
        if call {
            headers.push(&[2, 4]);
            headers.push(&(MOST as u16).to_be_bytes());
            headers.push(&[1, 3, 3, SCALE]);
        }
        // Checksums are not made: nobody looks at them on this socket.
        let start = (connection.said % PERIOD as u64) as usize;
        let marks = u32::from(call) + u32::from(flags.has(Flags::FIN));
        connection.said += length as u64;
        connection.to_say -= length as u64;
        connection.next = connection.next.wrapping_add(length as u32 + marks);
        connection.end_said |= flags.has(Flags::FIN);
        connection.acknowledge = false;
        let pattern = std::mem::take(&mut self.pattern);
        self.send_frame(headers.bytes(), &pattern[start..start + length]);
        self.pattern = pattern;
    }

    fn send_frame(&mut self, head: &[u8], payload: &[u8]) {
        let length = ((head.len() + payload.len()) as u32).to_be_bytes();
        let mut sent = 0;
        if self.unsent.is_empty() {
            let parts = [&length, head, payload].map(IoSlice::new);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            sent = sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), flags).unwrap_or(0);
        }
        for part in [&length, head, payload] {
            let passed = sent.min(part.len());
            self.unsent.extend_from_slice(&part[passed..]);
            sent -= passed;
        }
    }
}

impl Connection {
    fn hear(&mut self, segment: &Segment<'_>) {
        if segment.flags.has(Flags::RST) {
            self.reset = true;
            return;
        }
        if segment.flags.has(Flags::SYN) {
            if segment.flags.has(Flags::ACK) && self.called && !self.open {
                self.open = true;
                self.expected = segment.sequence.wrapping_add(1);
                self.scale = segment.scale.unwrap_or(0);
                self.unacknowledged = segment.acknowledged;
                self.window = segment.window.into();
            }
            self.acknowledge = self.open;
            return;
        }
        self.open = true;
        let ahead = segment.acknowledged.wrapping_sub(self.unacknowledged);
        let window = u32::from(segment.window) << self.scale;
        if ahead <= self.next.wrapping_sub(self.unacknowledged) {
            if ahead == 0
                && window == self.window
                && segment.length() == 0
                && self.next != self.unacknowledged
            {
                self.repeats += 1;
                if self.repeats == 3 {
                    self.again();
                }
            } else {
                self.repeats = 0;
            }
            self.unacknowledged = segment.acknowledged;
            self.window = window;
        }
        if segment.length() == 0 {
            return;
        }
        self.acknowledge = true;
        if segment.sequence != self.expected {
            return;
        }
        let payload = segment.payload;
        let byte = |number: u64| (number % PERIOD as u64) as u8;
        if let (Some(first), Some(last)) = (payload.first(), payload.last()) {
            self.wrong |= *first != byte(self.heard) || *last != byte(self.heard + payload.len() as u64 - 1);
        }
        self.heard += payload.len() as u64;
        self.expected = self.expected.wrapping_add(segment.length());
        self.ended |= segment.flags.has(Flags::FIN);
    }

    /// Says again what was not acknowledged.
    fn again(&mut self) {
        let back = self.next.wrapping_sub(self.unacknowledged);
        let data = u64::from(back) - u64::from(self.end_said);
        self.end_said = false;
        self.next = self.unacknowledged;
        self.said -= data;
        self.to_say += data;
    }
}

/// Fills a buffer with what is said from this number on.
pub fn fill(buffer: &mut [u8], from: u64) {
    for (number, byte) in (from..).zip(buffer) {
        *byte = (number % PERIOD as u64) as u8;
    }
}

/// A connected pair of frame sockets.
///
/// # Errors
/// When the process is out of descriptors.
pub fn wire() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}
