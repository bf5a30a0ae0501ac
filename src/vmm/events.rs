//! The event loop: devices that need no thread, the keeper's messages, and the end.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{fs::File, io};

use anyhow::Context;
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use hull_devices::block::{Block, Layers};
use hull_devices::console::Console;
use hull_devices::device::lock;
use hull_devices::mem::Mem;
use hull_devices::net::{Checksums, Net};
use hull_devices::vsock::{HostSide, Refused, Vsock};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::channel::{Channel, Received};
use super::control::{ExitReason, KeeperMessage, VmmMessage};
use super::freezer::Freezer;

/// Everything on the loop.
pub type Loop = EventManager<Box<dyn MutEventSubscriber>>;

/// How long a VMM whose guest has ended goes on handing out what the guest had already said.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the VM ends: set once, by whoever notices first, from any thread.
#[derive(Clone)]
pub struct Ending(Arc<(OnceLock<ExitReason>, EventFd)>);

impl Ending {
    /// Not yet.
    ///
    /// # Errors
    /// When there is no eventfd to be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new((OnceLock::new(), EventFd::new(EFD_NONBLOCK)?))))
    }

    /// The VM ends, and this is why, unless it was ending already.
    pub fn set(&self, reason: ExitReason) {
        let (slot, event) = &*self.0;
        let _ = slot.set(reason);
        // Fails only when the counter is full, and then the loop is awake.
        let _ = event.write(1);
    }

    /// Why the VM ends, if it does.
    pub fn get(&self) -> Option<&ExitReason> {
        self.0.0.get()
    }
}

/// The device behind each message of the keeper, and what is drained at the end.
#[derive(Default)]
pub struct Reachable {
    /// Streams between guest and host.
    pub vsock: Option<Arc<Mutex<Vsock>>>,
    /// The guest's console.
    pub console: Option<Arc<Mutex<Console>>>,
    /// The layer disk and what is on it.
    pub layers: Option<(Arc<Mutex<Block>>, Arc<Layers>)>,
    /// Its network card.
    pub net: Option<Arc<Mutex<Net>>>,
    /// Memory that comes and goes.
    pub mem: Option<Arc<Mutex<Mem>>>,
}

/// Hands connections that the guest opens to the keeper.
pub struct ToKeeper(pub Arc<Channel>);

impl HostSide for ToKeeper {
    fn connection(&mut self, port: u32, stream: OwnedFd) -> Result<(), Refused> {
        self.0.send(&VmmMessage::Connection { port }, Some(stream.as_fd())).map_err(|_| Refused)
    }
}

/// Listens to the keeper and to the end of the VM.
pub struct Supervisor {
    keeper: Arc<Channel>,
    ending: Ending,
    reachable: Arc<Reachable>,
    freezer: Freezer,
    ends: GuestEnds,
}

/// Signalled when the guest ends itself.
pub struct GuestEnds {
    /// It resets itself.
    pub reset: EventFd,
    /// It powers itself off.
    pub power_off: EventFd,
    /// Its kernel says that it panicked.
    pub panicked: EventFd,
}

impl GuestEnds {
    /// None has come yet.
    ///
    /// # Errors
    /// When there is no eventfd to be had.
    pub fn new() -> io::Result<Self> {
        let event = || EventFd::new(EFD_NONBLOCK);
        Ok(Self { reset: event()?, power_off: event()?, panicked: event()? })
    }
}

impl Supervisor {
    /// A supervisor that takes `ends` as the guest's ways to end.
    pub fn new(
        keeper: Arc<Channel>,
        ending: Ending,
        reachable: Arc<Reachable>,
        freezer: Freezer,
        ends: GuestEnds,
    ) -> Self {
        Self { keeper, ending, reachable, freezer, ends }
    }

    fn listen(&self) {
        // As many as were ready: a keeper that never stops talking does not starve the devices.
        for _ in 0..64 {
            match self.keeper.receive() {
                Ok(Received::Message(message, descriptor)) => {
                    if let Err(error) = self.obey(message, descriptor) {
                        self.ending.set(ExitReason::Failed { detail: format!("{error:#}") });
                    }
                }
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => return self.ending.set(ExitReason::Stopped),
                Err(error) => {
                    let detail = format!("cannot understand the keeper: {error}");
                    return self.ending.set(ExitReason::Failed { detail });
                }
            }
        }
    }

    fn obey(&self, message: KeeperMessage, descriptor: Option<OwnedFd>) -> anyhow::Result<()> {
        let descriptor = || descriptor.context("the keeper sent no descriptor with its request");
        match message {
            KeeperMessage::Stop => self.ending.set(ExitReason::Stopped),
            KeeperMessage::Connect { port } => {
                let vsock = self.reachable.vsock.as_ref().context("this VM has no vsock device")?;
                // One that cannot be made is closed, which is what a refusal looks like to whoever asked.
                let _ = lock(vsock).connect(port, descriptor()?);
            }
            KeeperMessage::Network { place, addresses, checksums } => {
                let net = self.reachable.net.as_ref().context("this VM has no network card")?;
                let checksums = if checksums { Checksums::Wanted } else { Checksums::Ignored };
                let connected = lock(net).connect(place, addresses, descriptor()?, checksums);
                connected.context("cannot use the network's socket")?;
            }
            KeeperMessage::NoNetwork { place } => {
                let net = self.reachable.net.as_ref().context("this VM has no network card")?;
                lock(net).disconnect(place);
            }
            KeeperMessage::AppendLayer => {
                let (disk, layers) = self.reachable.layers.as_ref().context("this VM has no layer disk")?;
                layers.append(File::from(descriptor()?)).context("cannot append a layer")?;
                lock(disk).capacity_changed();
            }
            KeeperMessage::Memory { size } => {
                let mem = self.reachable.mem.as_ref().context("this VM has no memory device")?;
                match self.freezer.growth.cover(size) {
                    Ok(usable) => lock(mem).request(size, usable),
                    // The guest does with what it has.
                    Err(error) => eprintln!("hull: the VM gets no more memory: {error:#}"),
                }
            }
            KeeperMessage::Snapshot | KeeperMessage::Difference => {
                let file = File::from(descriptor()?);
                let difference = message == KeeperMessage::Difference;
                let error = self.freezer.freeze(&file, difference).err().map(|error| format!("{error:#}"));
                if error.is_some() {
                    self.freezer.thaw()?;
                }
                self.keeper
                    .send(&VmmMessage::Snapshot { error }, None)
                    .context("cannot tell of the snapshot")?;
            }
            KeeperMessage::Pause => {
                let error = self.freezer.pause().err().map(|error| format!("{error:#}"));
                if error.is_some() {
                    self.freezer.thaw()?;
                }
                self.keeper.send(&VmmMessage::Paused { error }, None).context("cannot tell of the pause")?;
            }
            KeeperMessage::Resume => self.freezer.thaw()?,
        }
        Ok(())
    }
}

impl MutEventSubscriber for Supervisor {
    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        let source = events.fd();
        if source == self.keeper.as_fd().as_raw_fd() {
            self.listen();
        } else if source == self.ends.reset.as_raw_fd() || source == self.ends.panicked.as_raw_fd() {
            // A kernel that panics says so and resets itself at once: both may be seen together, in any order.
            let panicked = self.ends.panicked.read().is_ok();
            self.ending.set(if panicked { ExitReason::Panic } else { ExitReason::Reset });
        } else if source == self.ends.power_off.as_raw_fd() {
            self.ending.set(ExitReason::PowerOff);
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        let ending = self.ending.0.1.as_raw_fd();
        let GuestEnds { reset, power_off, panicked } = &self.ends;
        let guest = [reset, power_off, panicked].map(AsRawFd::as_raw_fd);
        for source in [self.keeper.as_fd().as_raw_fd(), ending].into_iter().chain(guest) {
            // Each descriptor is its own, so none is registered twice.
            let _ = ops.add(Events::new_raw(source, EventSet::IN));
        }
    }
}

/// Runs the loop until the VM ends, then lets out what its guest had already said.
///
/// # Errors
/// When the loop itself fails.
pub fn run(events: &mut Loop, ending: &Ending, reachable: &Reachable) -> anyhow::Result<ExitReason> {
    let reason = loop {
        events.run().context("the event loop failed")?;
        if let Some(reason) = ending.get() {
            break reason.clone();
        }
    };
    if reason != ExitReason::Stopped {
        let end = Instant::now() + LAST_WORDS;
        while has_last_words(reachable) && Instant::now() < end {
            events.run_with_timeout(100).context("the event loop failed")?;
        }
    }
    Ok(reason)
}

fn has_last_words(reachable: &Reachable) -> bool {
    let streams = reachable.vsock.as_ref().is_some_and(|vsock| lock(vsock).drain());
    let console = reachable.console.as_ref().is_some_and(|console| lock(console).has_pending_output());
    streams || console
}

/// Puts a subscriber on the loop.
pub fn subscribe(events: &mut Loop, subscriber: impl MutEventSubscriber + 'static) {
    events.add_subscriber(Box::new(subscriber));
}
