//! Serving a socket device's queues (VIRTIO 1.3, 5.10.6): a chain becomes a packet, a packet something that happens to a
//! connection; connections that have something to say take turns, a packet each.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::connection::{Connection, Ports, interest};
use super::credit::Credit;
use super::packet::{Ends, HEADER_SIZE, HOST_CID, Header, Op, TYPE_STREAM};
use super::table::Token;
use super::{Queues, Vsock};
use crate::device::Memory;
use crate::queue::{Buffers, Progress, Served};

/// Tokens of the poll set; connections have tokens above these.
const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 1;
const EVENT: u64 = 2;

/// Packets handled before other devices have their turn.
const BUDGET: u16 = 256;
/// Refusals that wait for room in the guest's receive queue. While there are so many, nothing is taken from the guest (5.10.6.2).
const MAX_REFUSALS: usize = 64;

impl Vsock {
    pub(super) fn service(&mut self) {
        self.forget_connections();
        let mut transmit = false;
        for (token, events) in self.poll.ready::<64>() {
            match token {
                RECEIVE => self.notifiers.clear(0),
                TRANSMIT => {
                    self.notifiers.clear(1);
                    transmit = true;
                }
                EVENT => {
                    self.notifiers.clear(2);
                    // The driver has given the event's buffer back: it has done what the event asks for.
                    self.settling = false;
                }
                token => self.notice(Token::from_number(token), events),
            }
        }
        let Some(mut queues) = self.queues.take() else { return };
        if transmit || self.transmit_blocked {
            self.transmit(&mut queues);
        }
        if !self.lost_connections && !self.settling {
            self.receive(&mut queues);
        }
        if self.transmit_blocked && self.refusals.len() < MAX_REFUSALS {
            self.notifiers.kick(1);
        }
        self.send_events(&mut queues);
        self.queues = Some(queues);
    }

    /// Drops what the guest had before it was reset.
    pub(super) fn forget_connections(&mut self) {
        if std::mem::take(&mut self.forgotten) {
            self.table.forget_all();
        }
    }

    /// Something happened to the socket of a connection.
    fn notice(&mut self, token: Token, events: vmm_sys_util::epoll::EventSet) {
        let Some(connection) = self.table.get(token) else { return };
        connection.notice(events);
        if connection.is_asking() && connection.host_is_gone() {
            if !connection.is_unasked() {
                self.refuse_connection(token);
            }
            return self.table.leave(token);
        }
        self.table.drop_if_done(token);
        self.table.enqueue(token);
    }

    /// From the guest: takes packets until there are none, or the budget is spent.
    pub(super) fn transmit(&mut self, queues: &mut Queues) {
        let progress = queues.transmit.serve(BUDGET, |chain, memory| {
            if self.refusals.len() >= MAX_REFUSALS {
                return Served::Later;
            }
            if let Ok(header) = chain.readable.read_array(memory) {
                self.handle(memory, Header::parse(&header), &mut chain.readable);
            }
            Served::Used(0)
        });
        self.transmit_blocked = progress == Progress::Blocked;
        if progress == Progress::More {
            self.notifiers.kick(1);
        }
    }

    fn handle(&mut self, memory: &Memory, header: Header, payload: &mut Buffers) {
        let op = Op::from_number(header.op);
        if header.src_cid != u64::from(self.cid) {
            // It is not this guest's to answer for.
            return;
        }
        let known = header.dst_cid == HOST_CID && header.kind == TYPE_STREAM;
        let ports = Ports { host: header.dst_port, guest: header.src_port };
        let token = self.table.find(ports).filter(|_| known);
        let handled = match (token, op) {
            (Some(token), Some(op)) => self.handle_known(memory, token, op, header, payload),
            (None, Some(Op::Request)) => known && self.accept(ports, &header),
            // Answering a reset with a reset would never end.
            (None, Some(Op::Reset)) => true,
            _ => false,
        };
        if !handled {
            if let Some(token) = token {
                self.table.leave(token);
            }
            self.refusals.push_back(header.refusal());
        }
    }

    /// A packet of a connection; returns whether it made sense.
    fn handle_known(
        &mut self,
        memory: &Memory,
        token: Token,
        op: Op,
        header: Header,
        payload: &mut Buffers,
    ) -> bool {
        let Some(connection) = self.table.get(token) else { return false };
        connection.credit.learn(header.buf_alloc, header.fwd_cnt);
        let ok = match op {
            Op::Request => false,
            Op::Response => connection.open().is_ok(),
            Op::Reset => {
                self.table.leave(token);
                return true;
            }
            _ if connection.is_asking() => false,
            // Nothing is left: it is acknowledged as the specification wants it, by a reset.
            Op::Shutdown => !connection.guest_shut_down(Ends::from_flags(header.flags)),
            Op::Data if payload.len() < header.len as usize => false,
            Op::Data => {
                payload.split_off(header.len as usize);
                connection.deliver(memory, payload).is_ok()
            }
            Op::CreditUpdate => true,
            Op::CreditRequest => {
                connection.ask_for_credit();
                true
            }
        };
        self.table.enqueue(token);
        ok
    }

    /// The guest asks for a connection; returns whether it gets one.
    fn accept(&mut self, ports: Ports, header: &Header) -> bool {
        if self.table.is_full() {
            return false;
        }
        let flags = SocketFlags::CLOEXEC;
        // Fails when the VMM has no descriptors left.
        let Ok((ours, theirs)) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None) else {
            return false;
        };
        let mut credit = self.new_credit();
        credit.learn(header.buf_alloc, header.fwd_cnt);
        let Some(token) = self.add(Connection::accepted(ports, ours, credit)) else { return false };
        if self.host.connection(ports.host, theirs).is_err() {
            self.table.leave(token);
            return false;
        }
        self.table.enqueue(token);
        true
    }

    /// Begins a connection from the host.
    pub(super) fn ask(&mut self, ports: Ports, stream: OwnedFd) -> Option<()> {
        let connection = Connection::asking(ports, stream, self.new_credit());
        let token = self.add(connection)?;
        self.table.enqueue(token);
        self.notifiers.kick(0);
        Some(())
    }

    /// Puts a connection into the table and has its socket watched.
    fn add(&mut self, connection: Connection) -> Option<Token> {
        let token = self.table.insert(connection);
        let connection = self.table.get(token)?;
        if self.poll.add(connection, token.number(), interest()).is_err() {
            self.table.leave(token);
            return None;
        }
        Some(token)
    }

    /// The first connections may have more of the guest's data under way than later ones, so that all together are bounded.
    fn new_credit(&self) -> Credit {
        const FEW: usize = 64;
        Credit::new(if self.table.len() < FEW { 256 << 10 } else { 64 << 10 })
    }

    /// Tells the guest that a connection is no more.
    fn refuse_connection(&mut self, token: Token) {
        if let Some(connection) = self.table.get(token) {
            let Ports { host, guest } = connection.ports;
            self.refusals
                .push_back(Header { op: Op::Reset as u16, ..self.header_to_guest(Ports { host, guest }) });
        }
    }

    fn header_to_guest(&self, ports: Ports) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: self.cid.into(),
            src_port: ports.host,
            dst_port: ports.guest,
            kind: TYPE_STREAM,
            ..Header::default()
        }
    }

    /// To the guest: fills its buffers with packets until it has no more, or nobody has anything to say.
    fn receive(&mut self, queues: &mut Queues) {
        let queue = &mut queues.receive;
        let memory = queue.memory().clone();
        let mut budget = BUDGET;
        while self.table.has_turns() || !self.refusals.is_empty() {
            if budget == 0 {
                self.notifiers.kick(0);
                break;
            }
            budget -= 1;
            queue.disarm();
            let Some(mut chain) = queue.pop() else {
                // The guest notifies when it has room again; there may be some already.
                if queue.arm() {
                    continue;
                }
                break;
            };
            let mut body = chain.writable.split_off(HEADER_SIZE);
            if chain.writable.len() < HEADER_SIZE {
                queue.push(chain, 0);
                continue;
            }
            match self.next_packet(&memory, &mut body) {
                Some(header) => {
                    chain.writable.write(&memory, &header.bytes());
                    queue.push(chain, HEADER_SIZE as u32 + header.len);
                }
                None => queue.unpop(chain),
            }
        }
        queue.notify();
    }

    /// The next packet to the guest, with its payload in `body`.
    fn next_packet(&mut self, memory: &Memory, body: &mut Buffers) -> Option<Header> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Some(refusal);
        }
        while let Some(token) = self.table.next_turn() {
            let Some(connection) = self.table.get(token) else { continue };
            let Some(packet) = connection.next_packet(memory, body) else { continue };
            let (ports, (buf_alloc, fwd_cnt)) = (connection.ports, connection.credit.announce());
            self.table.enqueue(token);
            let header = self.header_to_guest(ports);
            let (op, flags, len) = (packet.op as u16, packet.flags, packet.len);
            return Some(Header { op, flags, len, buf_alloc, fwd_cnt, ..header });
        }
        None
    }

    /// Tells the guest that its connections did not survive (5.10.6.7), once it has a buffer for that.
    fn send_events(&mut self, queues: &mut Queues) {
        const TRANSPORT_RESET: [u8; 4] = 0u32.to_le_bytes();
        if !self.lost_connections {
            return;
        }
        let memory = queues.event.memory().clone();
        for _ in 0..BUDGET {
            let Some(mut chain) = queues.event.pop() else { break };
            let written = chain.writable.write(&memory, &TRANSPORT_RESET);
            // Before the driver can give the buffer back: that is to be heard.
            queues.event.arm_for_more();
            queues.event.push(chain, written as u32);
            if written == TRANSPORT_RESET.len() {
                self.lost_connections = false;
                self.settling = true;
                break;
            }
        }
        queues.event.notify();
    }
}
