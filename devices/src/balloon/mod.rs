//! virtio memory balloon: the guest says which of its memory is free, and the host has it back (VIRTIO 1.3, section 5.5).
//!
//! The driver reports free pages by itself (5.5.6.7) and takes them into use again without a word. Nothing is ever asked of it:
//! the balloon proper stays empty, but a driver may fill it if it likes.
//!
//! What the guest finds in a page that was reported is not what it left there. A driver whose kernel relies on what is in free
//! pages does not report any, because VIRTIO_BALLOON_F_PAGE_POISON is not offered (5.5.3).

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vm_memory::{GuestAddress, GuestMemoryBackend};
use vmm_sys_util::eventfd::EventFd;

use crate::backing::Backing;
use crate::device::{
    ActivateError, Activation, Device, DeviceKind, DeviceState, Memory, RestoreError, read_config_bytes,
};
use crate::event_loop::Polled;
use crate::notifiers::Notifiers;
use crate::poll_set::PollSet;
use crate::queue::{Chain, Progress, Segment, Served, VirtQueue};

/// Pages that go into the balloon, that come out of it, and that are free. A report has up to 32 (Linux), one at a time.
const QUEUE_SIZES: [u16; 3] = [16, 16, 32];
const INFLATE: u16 = 0;
const REPORT: u16 = 2;
/// Requests handled before other devices have their turn: a report is of up to 128 MiB.
const BUDGET: u16 = 2;
/// Bytes of a page, whatever the guest's are (5.5.6).
const PAGE: u64 = 4096;
/// Page numbers of one request that are looked at.
const MAX_PAGES: usize = 1024;
/// VIRTIO_BALLOON_F_REPORTING (5.5.3).
const F_REPORTING: u32 = 5;
/// Of `actual`, the only field that the driver writes (5.5.4), in the configuration space.
const ACTUAL: u64 = 4;

/// A memory balloon.
pub struct Balloon {
    backing: Box<dyn Backing>,
    /// Pages that the driver says are in the balloon.
    actual: u32,
    notifiers: Notifiers,
    poll: PollSet,
    queues: Vec<VirtQueue>,
}

/// State of a balloon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BalloonState {
    actual: u32,
}

impl Balloon {
    /// An empty balloon.
    ///
    /// # Errors
    /// When there is no eventfd or epoll instance to be had.
    pub fn new(backing: Box<dyn Backing>) -> io::Result<Self> {
        let (notifiers, poll) = (Notifiers::new(QUEUE_SIZES.len())?, PollSet::new()?);
        notifiers.watch(&poll)?;
        Ok(Self { backing, actual: 0, notifiers, poll, queues: Vec::new() })
    }
}

impl Device for Balloon {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Balloon
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn notifiers(&self) -> &[Arc<EventFd>] {
        self.notifiers.all()
    }

    fn features(&self) -> u64 {
        1 << F_REPORTING
    }

    /// `struct virtio_balloon_config` (5.5.4), of which the guest is asked for no page.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut bytes = [0; 8];
        bytes[ACTUAL as usize..].copy_from_slice(&self.actual.to_le_bytes());
        read_config_bytes(&bytes, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (ACTUAL, Ok(bytes)) = (offset, data.try_into()) {
            self.actual = u32::from_le_bytes(bytes);
        }
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.queues =
            (0..QUEUE_SIZES.len() as u16).map(|index| activation.queue(index)).collect::<Result<_, _>>()?;
        self.notifiers.kick_all();
        Ok(())
    }

    fn pause(&mut self) -> Vec<VirtQueue> {
        std::mem::take(&mut self.queues)
    }

    fn reset(&mut self) {
        self.queues.clear();
        self.actual = 0;
    }

    fn save(&self) -> DeviceState {
        DeviceState::Balloon(BalloonState { actual: self.actual })
    }

    fn restore(&mut self, state: DeviceState) -> Result<(), RestoreError> {
        let DeviceState::Balloon(BalloonState { actual }) = state else {
            return Err(RestoreError::Kind { expected: self.kind(), found: state.kind() });
        };
        self.actual = actual;
        Ok(())
    }
}

impl Polled for Balloon {
    fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    fn poll(&mut self) {
        for (index, queue) in (0..).zip(&mut self.queues) {
            self.notifiers.clear(index);
            let backing = &mut *self.backing;
            let progress = queue.serve(BUDGET, |chain, memory| match index {
                INFLATE => inflate(chain, memory, backing),
                REPORT => report(chain, backing),
                // A page that leaves the balloon is there when it is touched.
                _ => Served::Used(0),
            });
            if progress == Progress::More {
                self.notifiers.kick(index);
            }
        }
    }
}

/// Free memory is what the chain's buffers to be written lie in. Nothing is written (5.5.6.7.2).
fn report(chain: &mut Chain, backing: &mut dyn Backing) -> Served {
    for &Segment { address, length } in chain.writable.segments() {
        let start = address.0.next_multiple_of(PAGE);
        // A chain is within guest memory, which is nowhere near the last address.
        let end = (address.0 + u64::from(length)) / PAGE * PAGE;
        if start < end {
            // It stays the guest's if the host does not take it.
            let _ = backing.give_back(GuestAddress(start), end - start);
        }
    }
    Served::Used(0)
}

/// Page numbers, 32 bits each (5.5.6.1).
fn inflate(chain: &mut Chain, memory: &Memory, backing: &mut dyn Backing) -> Served {
    for _ in 0..MAX_PAGES {
        let Ok(number) = chain.readable.read_array(memory) else { break };
        let address = GuestAddress(u64::from(u32::from_le_bytes(number)) * PAGE);
        if memory.check_range(address, PAGE as usize) {
            let _ = backing.give_back(address, PAGE);
        }
    }
    Served::Used(0)
}

#[cfg(test)]
#[path = "balloon_test.rs"]
mod tests;
