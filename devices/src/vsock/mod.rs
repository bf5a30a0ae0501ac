//! virtio socket device (VIRTIO 1.3, section 5.10), its host side made of descriptors only.
//!
//! Every connection is a stream socket on the host. [`Vsock`] is the device; `service.rs` serves its queues, `table.rs` holds
//! its connections, `connection.rs` is one of them, [`credit`] its flow control, [`packet`] what goes over the queues.

mod connection;
pub mod credit;
pub mod packet;
mod service;
mod table;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::device::{
    ActivateError, Activation, Device, DeviceKind, DeviceState, RestoreError, read_config_bytes,
};
use crate::event_loop::Polled;
use crate::notifiers::Notifiers;
use crate::poll_set::PollSet;
use crate::queue::VirtQueue;
use connection::Ports;
use packet::Header;
pub use table::MAX_CONNECTIONS;
use table::Table;

/// To the guest, from the guest, events. A driver fills the first with pages of its memory.
const QUEUE_SIZES: [u16; 3] = [64, 64, 8];
/// The host's own ports begin here, above those that anything listens on.
const FIRST_HOST_PORT: u32 = 1 << 30;

/// Who answers when the guest connects to the host.
pub trait HostSide: Send {
    /// The guest connects to `port` of the host; `stream` is the host's end of the connection: an `AF_UNIX` stream socket,
    /// blocking, close-on-exec. Closing it, or shutting it down for writing, does the same in the guest.
    ///
    /// Called on the event loop with the device locked: must not block nor call the device.
    ///
    /// # Errors
    /// When nobody listens there: the guest's connect fails with `ECONNRESET`.
    fn connection(&mut self, port: u32, stream: OwnedFd) -> Result<(), Refused>;
}

/// A connection is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connection refused")]
pub struct Refused;

/// Why the host cannot connect to the guest.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There are too many connections.
    #[error("the guest has {MAX_CONNECTIONS} vsock connections, the most it may have")]
    TooMany,
    /// The descriptor is not a socket.
    #[error("the descriptor given for a vsock connection is not a socket")]
    NotASocket,
    /// The socket cannot be watched.
    #[error("cannot watch the socket given for a vsock connection")]
    Watch,
}

/// A socket device: every connection between guest and host is a stream socket on the host.
pub struct Vsock {
    cid: u32,
    host: Box<dyn HostSide>,
    next_port: u32,
    table: Table,
    /// Resets of what is not in the table.
    refusals: VecDeque<Header>,
    /// There are too many of those to take anything from the guest.
    transmit_blocked: bool,
    /// The guest has forgotten its connections.
    forgotten: bool,
    /// The guest has connections from before it was saved.
    lost_connections: bool,
    /// It was told so and has not taken note: it would take a connection made now for one of them.
    settling: bool,
    notifiers: Notifiers,
    poll: PollSet,
    queues: Option<Queues>,
}

/// A running device's queues.
struct Queues {
    /// Room for packets to the guest.
    receive: VirtQueue,
    /// Packets of the guest.
    transmit: VirtQueue,
    /// Room for events.
    event: VirtQueue,
}

/// State of a socket device. Connections do not survive: the guest is told so when it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VsockState {
    /// The guest's address.
    pub cid: u32,
    /// The next port of the host's own.
    pub next_port: u32,
}

impl Vsock {
    /// A socket device for the guest with this address (3 or above).
    ///
    /// # Errors
    /// When there is no eventfd or epoll instance to be had.
    pub fn new(cid: u32, host: Box<dyn HostSide>) -> io::Result<Self> {
        let (notifiers, poll) = (Notifiers::new(QUEUE_SIZES.len())?, PollSet::new()?);
        notifiers.watch(&poll)?;
        Ok(Self {
            cid,
            host,
            next_port: FIRST_HOST_PORT,
            table: Table::default(),
            refusals: VecDeque::new(),
            transmit_blocked: false,
            forgotten: false,
            lost_connections: false,
            settling: false,
            notifiers,
            poll,
            queues: None,
        })
    }

    /// Connects to a port of the guest; `stream` becomes the device's end. When the guest refuses, the stream is closed.
    /// A guest whose driver is not up yet is asked when it is. To be called on the event loop's thread.
    ///
    /// # Errors
    /// When there are too many connections or `stream` is no stream socket.
    pub fn connect(&mut self, port: u32, stream: OwnedFd) -> Result<(), ConnectError> {
        let kind = rustix::fs::fstat(&stream).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind != Ok(FileType::Socket) {
            return Err(ConnectError::NotASocket);
        }
        if self.table.is_full() {
            return Err(ConnectError::TooMany);
        }
        // There are more ports than connections, so this ends.
        let ports = loop {
            let ports = Ports { host: self.next_port, guest: port };
            self.next_port = self.next_port.wrapping_add(1).max(FIRST_HOST_PORT);
            if self.table.find(ports).is_none() {
                break ports;
            }
        };
        self.ask(ports, stream).ok_or(ConnectError::Watch)
    }

    /// Takes everything from the guest that it has put into its queue, and returns whether data waits for a host that
    /// reads slowly. A VMM about to end, its vCPUs stopped, polls on until there is none, or nobody wants it.
    pub fn drain(&mut self) -> bool {
        self.forget_connections();
        if let Some(mut queues) = self.queues.take() {
            // Nobody is left to read refusals. A queue's worth of packets is all there can be.
            for _ in 0..=queues.transmit.state().size {
                self.refusals.clear();
                self.transmit(&mut queues);
                if !self.transmit_blocked {
                    break;
                }
            }
            self.queues = Some(queues);
        }
        self.table.all().any(|(_, connection)| connection.pending() > 0)
    }

    /// How many connections there are, those included that only have data left to deliver.
    pub fn connections(&self) -> usize {
        self.table.len()
    }
}

impl Device for Vsock {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Vsock
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn notifiers(&self) -> &[Arc<EventFd>] {
        self.notifiers.all()
    }

    /// `struct virtio_vsock_config`.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&u64::from(self.cid).to_le_bytes(), offset, data);
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let [receive, transmit, event] = [activation.queue(0)?, activation.queue(1)?, activation.queue(2)?];
        self.queues = Some(Queues { receive, transmit, event });
        self.notifiers.kick_all();
        Ok(())
    }

    fn pause(&mut self) -> Vec<VirtQueue> {
        let queues = self.queues.take();
        queues.map(|queues| vec![queues.receive, queues.transmit, queues.event]).unwrap_or_default()
    }

    /// Connections that the guest has not heard of yet are kept: a driver resets its device before it begins.
    fn reset(&mut self) {
        self.queues = None;
        self.refusals.clear();
        self.transmit_blocked = false;
        self.lost_connections = false;
        self.settling = false;
        // The event loop sees to the sockets, before it sees the next driver.
        self.forgotten = true;
        self.notifiers.kick(0);
    }

    fn save(&self) -> DeviceState {
        DeviceState::Vsock(VsockState { cid: self.cid, next_port: self.next_port })
    }

    fn restore(&mut self, state: DeviceState) -> Result<(), RestoreError> {
        let DeviceState::Vsock(state) = state else {
            return Err(RestoreError::Kind { expected: self.kind(), found: state.kind() });
        };
        // The guest reads its address anew when it is told of its lost connections, so that may be another.
        self.next_port = state.next_port.max(FIRST_HOST_PORT);
        self.lost_connections = true;
        Ok(())
    }
}

impl Polled for Vsock {
    fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    fn poll(&mut self) {
        self.service();
    }
}

#[cfg(test)]
mod test_guest;

#[cfg(test)]
#[path = "vsock_test.rs"]
mod tests;

#[cfg(test)]
#[path = "stream_test.rs"]
mod stream_tests;
