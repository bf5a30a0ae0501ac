//! The threads that serve a share's queues.
//!
//! One of them waits for the driver, the others for it: whoever takes a request sees to it that another thread takes the next,
//! so that requests that wait for the host's disk do so beside each other, and those that do not stay on one thread.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use super::execute;
use super::server::Share;
use crate::device::Memory;
use crate::notifiers::Notifiers;
use crate::poll_set::PollSet;
use crate::queue::{Chain, VirtQueue};

/// Address space for a thread's stack: the deepest has a piece of a directory on it.
const STACK_SIZE: usize = 128 << 10;
/// Token of the eventfd by which the threads are woken for the device.
const WAKE: u64 = 2;

/// The device's hold on its threads. Dropping it ends them.
pub(super) struct Workers {
    crew: Arc<Crew>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share.
struct Crew {
    share: Arc<Share>,
    notifiers: Arc<Notifiers>,
    wake: EventFd,
    poll: PollSet,
    work: Mutex<Work>,
    /// Something is to be done, or nothing is under way any more.
    changed: Condvar,
}

/// What is to be done.
#[derive(Default)]
struct Work {
    queues: Option<Vec<VirtQueue>>,
    /// Requests that were taken and not answered.
    under_way: usize,
    /// Threads that wait to take over.
    idle: usize,
    /// A thread waits for the driver.
    watched: bool,
    /// No request is to be taken.
    stopped: bool,
    /// The threads are to end.
    over: bool,
}

impl Workers {
    pub(super) fn start(
        share: Arc<Share>,
        notifiers: Arc<Notifiers>,
        threads: usize,
        on_start: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let (wake, poll) = (EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?, PollSet::new()?);
        notifiers.watch(&poll)?;
        poll.add(&wake, WAKE, EventSet::IN)?;
        let (work, changed) = (Mutex::default(), Condvar::new());
        let crew = Arc::new(Crew { share, notifiers, wake, poll, work, changed });
        let mut workers = Self { crew, threads: Vec::new() };
        for _ in 0..threads.max(1) {
            let (crew, on_start) = (workers.crew.clone(), on_start.clone());
            let thread = std::thread::Builder::new().name("share".to_owned()).stack_size(STACK_SIZE);
            workers.threads.push(thread.spawn(move || {
                on_start();
                crew.run();
            })?);
        }
        Ok(workers)
    }

    /// Has queues served.
    pub(super) fn serve(&self, queues: [VirtQueue; 2]) {
        let mut work = self.crew.work();
        work.queues = Some(queues.into());
        work.stopped = false;
        self.crew.announce(&work);
    }

    /// Has the queues given back when the requests under way are done.
    pub(super) fn stop(&self) -> Vec<VirtQueue> {
        let mut work = self.crew.work();
        work.stopped = true;
        while work.under_way > 0 {
            work = self.crew.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        work.queues.take().unwrap_or_default()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut work = self.crew.work();
        work.over = true;
        self.crew.announce(&work);
        drop(work);
        for thread in self.threads.drain(..) {
            // A panic in there has been reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Crew {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all, wherever they wait.
    fn announce(&self, _work: &MutexGuard<'_, Work>) {
        let _ = self.wake.write(1);
        self.changed.notify_all();
    }

    fn run(&self) {
        let mut work = self.work();
        while !work.over {
            if let Some((queue, mut chain, memory)) = work.next() {
                work.under_way += 1;
                if work.idle > 0 {
                    self.changed.notify_one();
                }
                drop(work);
                let written = execute(&self.share, &mut chain, &memory);
                work = self.work();
                work.finish(queue, chain, written);
                if work.stopped && work.under_way == 0 {
                    self.changed.notify_all();
                }
            } else if work.watched {
                work.idle += 1;
                work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
                work.idle -= 1;
            } else if work.arm() {
                // A request came meanwhile, of which nobody will be told.
            } else {
                work.watched = true;
                drop(work);
                for (token, _) in self.poll.wait::<3>() {
                    match token {
                        WAKE => drop(self.wake.read()),
                        queue => self.notifiers.clear(queue as u16),
                    }
                }
                work = self.work();
                work.watched = false;
            }
        }
        // Those after it are to see it, too.
        self.announce(&work);
    }
}

impl Work {
    /// The next request, the place of its queue, and the memory that it is in.
    fn next(&mut self) -> Option<(usize, Chain, Arc<Memory>)> {
        if self.stopped {
            return None;
        }
        let queues = self.queues.as_mut()?;
        let mut queues = queues.iter_mut().enumerate();
        queues.find_map(|(place, queue)| Some((place, queue.pop()?, Arc::clone(queue.memory()))))
    }

    /// Has the driver notify of the next request; returns whether there is one already.
    fn arm(&mut self) -> bool {
        if self.stopped {
            return false;
        }
        let queues = self.queues.iter_mut().flatten();
        queues.map(VirtQueue::arm).fold(false, |any, more| any | more)
    }

    fn finish(&mut self, queue: usize, chain: Chain, written: u32) {
        self.under_way -= 1;
        if let Some(queue) = self.queues.as_mut().and_then(|queues| queues.get_mut(queue)) {
            queue.push(chain, written);
            queue.notify();
        }
    }
}
