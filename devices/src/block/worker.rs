//! The thread that serves a disk's queue: reads and writes block there and nowhere else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use super::Serial;
use super::backend::Backend;
use super::execute::execute;
use crate::poll_set::PollSet;
use crate::queue::VirtQueue;

/// Address space for the thread's stack; pages are taken as they are used, which is few.
const STACK_SIZE: usize = 128 << 10;
/// Completions are announced together, but none waits longer than this for those after it.
const MAX_ANNOUNCEMENT_DELAY: Duration = Duration::from_micros(500);

const WAKE: u64 = 0;
const KICK: u64 = 1;

enum Command {
    Serve(VirtQueue),
    /// Give the queue back.
    Stop(SyncSender<Option<VirtQueue>>),
}

/// The device's hold on its thread. Dropping it ends the thread.
pub(super) struct Worker {
    /// `None` only while it is dropped.
    commands: Option<Sender<Command>>,
    wake: Arc<EventFd>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works with.
struct Disk {
    backend: Arc<dyn Backend>,
    serial: Serial,
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
    kick: Arc<EventFd>,
    stop: Arc<AtomicBool>,
    poll: PollSet,
    queue: Option<VirtQueue>,
}

impl Worker {
    pub(super) fn start(
        backend: Arc<dyn Backend>,
        serial: Serial,
        kick: Arc<EventFd>,
        on_start: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (commands, receiver) = channel();
        let wake = Arc::new(EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?);
        let stop = Arc::new(AtomicBool::new(false));
        let poll = PollSet::new()?;
        poll.add(wake.as_ref(), WAKE, EventSet::IN)?;
        poll.add(kick.as_ref(), KICK, EventSet::IN)?;
        let mut disk = Disk {
            backend,
            serial,
            commands: receiver,
            wake: Arc::clone(&wake),
            kick,
            stop: Arc::clone(&stop),
            poll,
            queue: None,
        };
        let thread =
            std::thread::Builder::new().name("disk".to_owned()).stack_size(STACK_SIZE).spawn(move || {
                on_start();
                disk.run();
            })?;
        Ok(Self { commands: Some(commands), wake, stop, thread: Some(thread) })
    }

    /// Has a queue served.
    pub(super) fn serve(&self, queue: VirtQueue) {
        self.send(Command::Serve(queue));
    }

    /// Has the queue given back when the request under way is done.
    pub(super) fn stop(&self) -> Option<VirtQueue> {
        let (sender, receiver) = sync_channel(1);
        self.stop.store(true, Ordering::SeqCst);
        self.send(Command::Stop(sender));
        // Fails only when the thread has ended, and it does not while this holds its commands.
        let queue = receiver.recv().ok().flatten();
        self.stop.store(false, Ordering::SeqCst);
        queue
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // Both fail only when the thread has ended.
            let _ = commands.send(command);
            let _ = self.wake.write(1);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.commands = None;
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Disk {
    fn run(&mut self) {
        loop {
            for (token, _) in self.poll.wait::<2>() {
                match token {
                    WAKE if !self.obey() => return,
                    KICK => {
                        // Fails only when the notification has been taken note of.
                        let _ = self.kick.read();
                        self.drain();
                    }
                    _ => {}
                }
            }
        }
    }

    /// Carries out commands; returns whether to go on.
    fn obey(&mut self) -> bool {
        let _ = self.wake.read();
        loop {
            match self.commands.try_recv() {
                Ok(Command::Serve(queue)) => {
                    self.queue = Some(queue);
                    self.drain();
                }
                Ok(Command::Stop(reply)) => {
                    let _ = reply.send(self.queue.take());
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Serves the queue until it is empty, or somebody wants it back.
    fn drain(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        let memory = Arc::clone(queue.memory());
        let mut announced = Instant::now();
        queue.disarm();
        'serving: loop {
            while let Some(mut chain) = queue.pop() {
                let written = execute(self.backend.as_ref(), self.serial, &mut chain, &memory);
                queue.push(chain, written);
                if self.stop.load(Ordering::SeqCst) {
                    break 'serving;
                }
                if announced.elapsed() > MAX_ANNOUNCEMENT_DELAY {
                    queue.notify();
                    announced = Instant::now();
                }
            }
            if self.stop.load(Ordering::SeqCst) || !queue.arm() {
                break;
            }
        }
        queue.notify();
    }
}
