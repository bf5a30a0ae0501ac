//! virtio network device (VIRTIO 1.3, section 5.1), whose other end is a stream socket with frames.
//!
//! On the socket each Ethernet frame follows its length as a big-endian `u32`. Whoever is at its other end is a network: `hull
//! net`, or passt. [`Net`] is the device, [`backend`] the socket, [`cables`] which of several, [`transmit`] and [`receive`] are the two ways of a
//! frame, [`header`] is what the driver says of each.
//!
//! Two queues are enough for both, and without a control queue the driver asks for little. Large frames stand in for segmentation
//! offload: the MTU may be as large as an IP packet.

mod backend;
mod cables;
pub mod header;
mod receive;
mod transmit;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use self::backend::Backend;
pub use self::backend::MAX_FRAME;
use self::cables::Cable;
use crate::device::{
    ActivateError, Activation, Device, DeviceKind, DeviceState, Interrupt, RestoreError, read_config_bytes,
};
use crate::event_loop::Polled;
use crate::notifiers::Notifiers;
use crate::poll_set::PollSet;
use crate::queue::VirtQueue;

/// To the guest, from the guest.
const QUEUE_SIZES: [u16; 2] = [256, 256];
const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 1;
const TIMER: u64 = 2;
/// Token of the first socket; those behind it have the next.
const SOCKET: u64 = 3;

/// An Ethernet address.
pub type MacAddress = [u8; 6];

/// A network card.
pub struct Net {
    mac: MacAddress,
    mtu: u16,
    /// Up from the start, so that a guest that was saved before there was a network has nothing to do when there is one; down
    /// when a backend is lost.
    link: bool,
    generation: u32,
    /// The driver has not been told of the last change of the link.
    unannounced: bool,
    notifiers: Notifiers,
    poll: PollSet,
    cables: Vec<Cable>,
    /// When one of several cables is waited for no longer.
    timer: OwnedFd,
    running: Option<Running>,
}

/// A running device's queues.
struct Running {
    receive: VirtQueue,
    transmit: VirtQueue,
    interrupt: Arc<dyn Interrupt>,
    /// A frame may take several of the driver's buffers.
    merges: bool,
    /// The guest has no buffers for the next frame.
    full: bool,
}

/// State of a network card. Frames on their way do not survive, as on any wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetState {
    /// Its address, as the driver has read it.
    pub mac: MacAddress,
    /// Largest packet, in bytes without the Ethernet header.
    pub mtu: u16,
    /// Whether the driver has seen the link up.
    pub link: bool,
}

/// What is at the other end of a network card's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// It wants them in each frame.
    Wanted,
    /// It looks at none: frames never leave this host's memory.
    Ignored,
}

impl Net {
    /// A network card with this address and largest packet (68 to 65535 bytes), connected to nothing yet.
    ///
    /// # Errors
    /// When there is no eventfd, timer or epoll instance to be had.
    pub fn new(mac: MacAddress, mtu: u16) -> io::Result<Self> {
        let (notifiers, poll) = (Notifiers::new(QUEUE_SIZES.len())?, PollSet::new()?);
        notifiers.watch(&poll)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        poll.add(&timer, TIMER, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        Ok(Self {
            mac,
            mtu,
            link: true,
            generation: 0,
            unannounced: false,
            notifiers,
            poll,
            cables: Vec::new(),
            timer,
            running: None,
        })
    }

    /// Connects it to a network, in place of what was connected there. The guest's frames go to the one in which it has the address that
    /// they are from, or else to the one without addresses. To be called on the event loop's thread.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn connect(
        &mut self,
        place: u32,
        addresses: Vec<IpAddr>,
        socket: OwnedFd,
        checksums: Checksums,
    ) -> io::Result<()> {
        let events = EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
        self.poll.add(&socket, SOCKET + u64::from(place), events)?;
        self.cables.retain(|cable| cable.place != place);
        self.cables.push(Cable::new(place, addresses, Backend::new(socket, checksums)));
        self.set_link(true);
        self.notifiers.kick_all();
        Ok(())
    }

    /// Takes away what is connected at this place. To be called on the event loop's thread.
    pub fn disconnect(&mut self, place: u32) {
        self.cables.retain(|cable| cable.place != place);
        self.set_link(self.is_connected());
        // What waited for that one goes on.
        self.notifiers.kick_all();
    }

    /// Whether there is anything at the other end.
    pub fn is_connected(&self) -> bool {
        !self.cables.is_empty()
    }

    /// Looks again when the first of the cables that are waited for is so no longer, for the sake of the others.
    fn set_timer(&self) {
        let now = Instant::now();
        let ends = self.cables.iter().filter_map(|cable| cable.patience_ends(now));
        let Some(end) = ends.min().filter(|_| self.cables.len() > 1) else { return };
        let wait = end.saturating_duration_since(now);
        let it_value = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        // Can only fail for a time that is none.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }

    fn set_link(&mut self, up: bool) {
        if std::mem::replace(&mut self.link, up) == up {
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        match &self.running {
            Some(running) => running.interrupt.config(),
            None => self.unannounced = true,
        }
    }

    /// `struct virtio_net_config` (5.1.4), to its MTU.
    fn config(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..6].copy_from_slice(&self.mac);
        let status = if self.link { VIRTIO_NET_S_LINK_UP as u16 } else { 0 };
        bytes[6..8].copy_from_slice(&status.to_le_bytes());
        // Pairs of queues, which is not offered.
        bytes[8..10].copy_from_slice(&1u16.to_le_bytes());
        bytes[10..].copy_from_slice(&self.mtu.to_le_bytes());
        bytes
    }
}

impl Device for Net {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Net
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn notifiers(&self) -> &[Arc<EventFd>] {
        self.notifiers.all()
    }

    fn features(&self) -> u64 {
        [
            VIRTIO_NET_F_CSUM,
            VIRTIO_NET_F_GUEST_CSUM,
            VIRTIO_NET_F_MTU,
            VIRTIO_NET_F_MAC,
            VIRTIO_NET_F_MRG_RXBUF,
            VIRTIO_NET_F_STATUS,
        ]
        .iter()
        .fold(0, |features, bit| features | 1 << bit)
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&self.config(), offset, data);
    }

    fn config_generation(&self) -> u32 {
        self.generation
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let (receive, transmit) = (activation.queue(0)?, activation.queue(1)?);
        if std::mem::take(&mut self.unannounced) {
            activation.interrupt.config();
        }
        let merges = activation.has(VIRTIO_NET_F_MRG_RXBUF);
        self.running =
            Some(Running { receive, transmit, interrupt: activation.interrupt, merges, full: false });
        self.notifiers.kick_all();
        Ok(())
    }

    fn pause(&mut self) -> Vec<VirtQueue> {
        self.running.take().map(|running| vec![running.receive, running.transmit]).unwrap_or_default()
    }

    fn reset(&mut self) {
        self.running = None;
    }

    fn save(&self) -> DeviceState {
        // What the driver has not been told, it will be told by the device that goes on.
        DeviceState::Net(NetState { mac: self.mac, mtu: self.mtu, link: self.link != self.unannounced })
    }

    fn restore(&mut self, state: DeviceState) -> Result<(), RestoreError> {
        let DeviceState::Net(NetState { mac, mtu, link }) = state else {
            return Err(RestoreError::Kind { expected: self.kind(), found: state.kind() });
        };
        // The driver has read both and does not read them again.
        (self.mac, self.mtu) = (mac, mtu);
        self.unannounced = link != self.link;
        Ok(())
    }
}

impl Polled for Net {
    fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    fn poll(&mut self) {
        for (token, events) in self.poll.ready::<4>() {
            match token {
                RECEIVE => {
                    self.notifiers.clear(0);
                    self.running.iter_mut().for_each(|running| running.full = false);
                }
                TRANSMIT => self.notifiers.clear(1),
                TIMER => {}
                socket => {
                    let of = |cable: &&mut Cable| SOCKET + u64::from(cable.place) == socket;
                    self.cables.iter_mut().filter(of).for_each(|cable| cable.backend.notice(events));
                }
            }
        }
        let Some(running) = &mut self.running else { return };
        let mut more = [false; 2];
        more[1] = transmit::transmit(&mut running.transmit, &mut self.cables);
        self.set_timer();
        let Some(running) = &mut self.running else { return };
        for cable in &mut self.cables {
            more[0] |= receive::receive(running, &mut cable.backend);
        }
        if self.cables.len() > 1 {
            // Another is first when the guest has room again.
            self.cables.rotate_left(1);
        }
        for (queue, more) in (0..).zip(more) {
            if more {
                self.notifiers.kick(queue);
            }
        }
        if self.cables.iter().any(|cable| cable.backend.is_over()) {
            self.cables.retain(|cable| !cable.backend.is_over());
            self.set_link(!self.cables.is_empty());
        }
    }
}

#[cfg(test)]
#[path = "net_test.rs"]
mod tests;
