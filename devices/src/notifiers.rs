//! The eventfds by which a driver notifies a device, one a queue.

use std::io;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use crate::poll_set::PollSet;
use vmm_sys_util::epoll::EventSet;

/// One eventfd a queue. Made with the device, so that nobody need watch them anew when it is reset.
pub(crate) struct Notifiers(Vec<Arc<EventFd>>);

impl Notifiers {
    pub(crate) fn new(queues: usize) -> io::Result<Self> {
        let make = || EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map(Arc::new);
        (0..queues).map(|_| make()).collect::<io::Result<_>>().map(Self)
    }

    pub(crate) fn all(&self) -> &[Arc<EventFd>] {
        &self.0
    }

    /// Has a poll set watch them, each with its queue's number as token.
    pub(crate) fn watch(&self, poll: &PollSet) -> io::Result<()> {
        (0..).zip(&self.0).try_for_each(|(queue, notifier)| poll.add(notifier.as_ref(), queue, EventSet::IN))
    }

    /// Takes note of a notification.
    pub(crate) fn clear(&self, queue: u16) {
        // Fails when there was none.
        let _ = self.0[usize::from(queue)].read();
    }

    /// Notifies the device itself: work is left, or there may be some.
    pub(crate) fn kick(&self, queue: u16) {
        // Fails only when 2^64 - 1 notifications wait.
        let _ = self.0[usize::from(queue)].write(1);
    }

    pub(crate) fn kick_all(&self) {
        (0..self.0.len() as u16).for_each(|queue| self.kick(queue));
    }
}
