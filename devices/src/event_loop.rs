//! How devices that need no thread of their own hang on the VMM's one event loop.
//!
//! Each such device has a poll set (an epoll instance) of its own, with its queues' notifications and its files
//! in it, and the loop watches only that set. So a device adds and drops files without the loop's help, and the loop's
//! list never names a descriptor that has been closed.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use crate::device::lock;

/// Something that has work whenever its poll set is ready.
pub trait Polled: Send {
    /// The descriptor to wait on for `IN`; the same one for life.
    fn poll_fd(&self) -> RawFd;

    /// Does what there is to do, without blocking, and returns after a bounded time even when there is more: then the
    /// descriptor stays ready.
    fn poll(&mut self);
}

/// A [`Polled`] thing as a subscriber of `event-manager`.
pub struct OnLoop(Arc<Mutex<dyn Polled>>);

impl OnLoop {
    /// Wraps what the loop is to poll.
    pub fn new(polled: Arc<Mutex<dyn Polled>>) -> Self {
        Self(polled)
    }
}

impl MutEventSubscriber for OnLoop {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        lock(&self.0).poll();
    }

    fn init(&mut self, ops: &mut EventOps) {
        let fd = lock(&self.0).poll_fd();
        // Fails only when the same device is added twice, which leaves the first registration in place.
        let _ = ops.add(Events::new_raw(fd, EventSet::IN));
    }
}
