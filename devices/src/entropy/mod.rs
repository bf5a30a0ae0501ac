//! virtio entropy source: the host's `getrandom` for the guest (VIRTIO 1.3, section 5.4).

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::device::{
    ActivateError, Activation, Device, DeviceKind, DeviceState, Memory, RestoreError, read_config_bytes,
};
use crate::event_loop::Polled;
use crate::notifiers::Notifiers;
use crate::poll_set::PollSet;
use crate::queue::{Chain, Progress, Served, VirtQueue};

/// A driver asks for one buffer at a time.
const QUEUE_SIZES: [u16; 1] = [8];
/// The most bytes one request gets; a driver that wants more asks again.
const MAX_BYTES: usize = 4096;
/// Requests handled before other devices have their turn.
const BUDGET: u16 = 16;

/// A source of random bytes.
pub struct Entropy {
    notifiers: Notifiers,
    poll: PollSet,
    requests: Option<VirtQueue>,
}

/// State of an entropy source: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EntropyState {}

impl Entropy {
    /// An entropy source.
    ///
    /// # Errors
    /// When there is no eventfd or epoll instance to be had.
    pub fn new() -> io::Result<Self> {
        let (notifiers, poll) = (Notifiers::new(QUEUE_SIZES.len())?, PollSet::new()?);
        notifiers.watch(&poll)?;
        Ok(Self { notifiers, poll, requests: None })
    }
}

impl Device for Entropy {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn notifiers(&self) -> &[Arc<EventFd>] {
        self.notifiers.all()
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&[], offset, data);
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.requests = Some(activation.queue(0)?);
        self.notifiers.kick_all();
        Ok(())
    }

    fn pause(&mut self) -> Vec<VirtQueue> {
        self.requests.take().into_iter().collect()
    }

    fn reset(&mut self) {
        self.requests = None;
    }

    fn save(&self) -> DeviceState {
        DeviceState::Entropy(EntropyState {})
    }

    fn restore(&mut self, state: DeviceState) -> Result<(), RestoreError> {
        match state {
            DeviceState::Entropy(EntropyState {}) => Ok(()),
            other => Err(RestoreError::Kind { expected: self.kind(), found: other.kind() }),
        }
    }
}

impl Polled for Entropy {
    fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    fn poll(&mut self) {
        self.notifiers.clear(0);
        let Some(requests) = &mut self.requests else { return };
        if requests.serve(BUDGET, fill) == Progress::More {
            self.notifiers.kick(0);
        }
    }
}

/// Answers one request: at least a byte where there is room for one (5.4.6.2).
fn fill(chain: &mut Chain, memory: &Memory) -> Served {
    let mut bytes = [0; MAX_BYTES];
    let wanted = MAX_BYTES.min(chain.writable.len());
    let mut got = 0;
    while got < wanted {
        match getrandom(&mut bytes[got..wanted], GetRandomFlags::empty()) {
            Ok(length) => got += length,
            Err(rustix::io::Errno::INTR) => {}
            // The kernel has getrandom since before it had anything else used here.
            Err(_) => break,
        }
    }
    Served::Used(chain.writable.write(memory, &bytes[..got]) as u32)
}

#[cfg(test)]
#[path = "entropy_test.rs"]
mod tests;
