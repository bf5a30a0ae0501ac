//! virtio file system device (VIRTIO 1.3, section 5.11): directories of the host in the guest, by FUSE.
//!
//! A descriptor chain becomes a request ([`execute`]), a request operations of the file system behind the share ([`Share`]), their
//! outcome an answer. One request queue, served by some threads together ([`worker`]); data moves between file and guest
//! memory without a copy.
//!
//! A device without a share is idle: it has no thread, and answers what a guest asks of it all the same by saying that there is nothing.

mod execute;
mod server;
mod wire;
mod worker;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::device::{
    ActivateError, Activation, Device, DeviceKind, DeviceState, RestoreError, read_config_bytes,
};
use crate::event_loop::Polled;
use crate::notifiers::Notifiers;
use crate::poll_set::PollSet;
use crate::queue::{Progress, Served, VirtQueue};
pub use execute::execute;
pub use server::{Freshness, Limits, Owners, Policy, Root, Share};
use worker::Workers;

/// Queue of requests that nobody waits for, and queue of the others.
const URGENT: u16 = 0;
const REQUESTS: u16 = 1;
/// Their sizes. A request of a megabyte has some 260 pieces, which the driver puts into an indirect table.
const QUEUE_SIZES: [u16; 2] = [64, 512];
/// Requests that are refused in one go.
const BUDGET: u16 = 64;
/// Longest name of a device, in bytes.
const TAG_SIZE: usize = 36;

/// A file share.
pub struct Fs {
    tag: [u8; TAG_SIZE],
    notifiers: Arc<Notifiers>,
    poll: PollSet,
    serving: Serving,
}

/// Who answers.
enum Serving {
    /// The event loop, which refuses everything; the queues, if the driver is there.
    Refused(Option<[VirtQueue; 2]>),
    /// Threads; the device is running or not.
    Workers(Workers, bool),
}

/// State of a file share. A guest that knows files of a share is not saved, so there is no more to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsState {
    /// By what name the guest mounts it.
    pub tag: String,
}

impl Fs {
    /// A device that guests find by this name, of at most 36 bytes, without a share.
    ///
    /// # Errors
    /// When the name is too long, or there are no descriptors left.
    pub fn new(tag: &str) -> io::Result<Self> {
        let mut bytes = [0; TAG_SIZE];
        let place = bytes.get_mut(..tag.len()).ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(tag.as_bytes());
        let (notifiers, poll) = (Arc::new(Notifiers::new(QUEUE_SIZES.len())?), PollSet::new()?);
        notifiers.watch(&poll)?;
        Ok(Self { tag: bytes, notifiers, poll, serving: Serving::Refused(None) })
    }

    /// A device with a share, served by this many threads; `on_start` runs first in each of them, before it touches anything of the
    /// guest: there the VMM confines it.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when a thread cannot be started.
    pub fn with_share(
        tag: &str,
        share: Share,
        threads: usize,
        on_start: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let device = Self::new(tag)?;
        let workers = Workers::start(Arc::new(share), device.notifiers.clone(), threads, Arc::new(on_start))?;
        // Only the workers wait for notifications.
        Ok(Self { serving: Serving::Workers(workers, false), poll: PollSet::new()?, ..device })
    }

    /// Whether there is something behind it.
    pub fn has_share(&self) -> bool {
        matches!(self.serving, Serving::Workers(..))
    }
}

impl Device for Fs {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Fs
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn notifiers(&self) -> &[Arc<EventFd>] {
        self.notifiers.all()
    }

    /// `struct virtio_fs_config` (5.11.4): the tag, and the number of request queues.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; TAG_SIZE + 4];
        config[..TAG_SIZE].copy_from_slice(&self.tag);
        config[TAG_SIZE..].copy_from_slice(&1u32.to_le_bytes());
        read_config_bytes(&config, offset, data);
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let queues = [activation.queue(URGENT)?, activation.queue(REQUESTS)?];
        match &mut self.serving {
            Serving::Refused(place) => *place = Some(queues),
            Serving::Workers(workers, running) => {
                workers.serve(queues);
                *running = true;
            }
        }
        self.notifiers.kick_all();
        Ok(())
    }

    fn pause(&mut self) -> Vec<VirtQueue> {
        match &mut self.serving {
            Serving::Refused(queues) => queues.take().into_iter().flatten().collect(),
            Serving::Workers(workers, running) => match std::mem::take(running) {
                true => workers.stop(),
                false => Vec::new(),
            },
        }
    }

    fn reset(&mut self) {
        self.pause();
    }

    fn save(&self) -> DeviceState {
        let tag = self.tag.split(|byte| *byte == 0).next().unwrap_or_default();
        DeviceState::Fs(FsState { tag: String::from_utf8_lossy(tag).into_owned() })
    }

    fn restore(&mut self, state: DeviceState) -> Result<(), RestoreError> {
        match state {
            DeviceState::Fs(state) if DeviceState::Fs(state.clone()) == self.save() => Ok(()),
            DeviceState::Fs(FsState { tag }) => {
                Err(RestoreError::Mismatch { kind: self.kind(), what: format!("the tag {tag:?}") })
            }
            state => Err(RestoreError::Kind { expected: self.kind(), found: state.kind() }),
        }
    }
}

impl Polled for Fs {
    fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    fn poll(&mut self) {
        let Serving::Refused(Some(queues)) = &mut self.serving else { return };
        for (number, queue) in (0..).zip(queues) {
            self.notifiers.clear(number);
            let progress = queue.serve(BUDGET, |chain, memory| Served::Used(execute::refuse(chain, memory)));
            if progress == Progress::More {
                self.notifiers.kick(number);
            }
        }
    }
}

#[cfg(test)]
#[path = "fs_test.rs"]
mod tests;
