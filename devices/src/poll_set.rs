//! The descriptors a device waits for: an epoll instance with tokens of the device's choice.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// A set of descriptors, itself a descriptor that is ready when one of them is. A closed descriptor leaves by itself.
pub(crate) struct PollSet(Epoll);

impl PollSet {
    pub(crate) fn new() -> io::Result<Self> {
        Epoll::new().map(Self)
    }

    pub(crate) fn add(&self, fd: &impl AsRawFd, token: u64, events: EventSet) -> io::Result<()> {
        self.0.ctl(ControlOperation::Add, fd.as_raw_fd(), EpollEvent::new(events, token))
    }

    pub(crate) fn remove(&self, fd: &impl AsRawFd) {
        // Fails only when it is not there, which is what was wanted.
        let _ = self.0.ctl(ControlOperation::Delete, fd.as_raw_fd(), EpollEvent::default());
    }

    /// What is ready now, at most as many as there is room for: `(token, events)`.
    pub(crate) fn ready<const N: usize>(&self) -> impl Iterator<Item = (u64, EventSet)> + use<N> {
        self.take::<N>(0)
    }

    /// The same, after waiting for something.
    pub(crate) fn wait<const N: usize>(&self) -> impl Iterator<Item = (u64, EventSet)> + use<N> {
        self.take::<N>(-1)
    }

    fn take<const N: usize>(&self, timeout: i32) -> impl Iterator<Item = (u64, EventSet)> + use<N> {
        let mut events = [EpollEvent::default(); N];
        // A failure can only be a signal: then the set is still ready, and whoever asked asks again.
        let count = self.0.wait(timeout, &mut events).unwrap_or(0);
        events.into_iter().take(count).map(|event| (event.data(), event.event_set()))
    }
}

impl AsRawFd for PollSet {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
