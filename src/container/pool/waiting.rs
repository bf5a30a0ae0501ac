//! The keeper of a VM that waits: `hull internal waiting`. When a container takes the VM, it goes on as that container's.

use std::{
    fs::{self, File},
    os::fd::{AsFd, OwnedFd, RawFd},
    path::PathBuf,
    time::Instant,
};

use hull_protocol::{AgentMessage, Extent, HostMessage, MAX_FRAME, VERSION};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::SocketFlags,
};

use super::{Answer, Pools, Request};
use crate::{
    container::{
        ContainerId,
        error::{Error, Result},
        keeper::{self, Ready},
        machine::{self, Parts},
        sizing::boot_limit,
        state::Lock,
        template::{Purpose, Templates},
    },
    vm::{
        detached, folder,
        keeper::agent::{self, Agent},
        launch::Vmm,
        signals::Signals,
        wait,
    },
    vmm::{
        channel::{Channel, Received},
        control::VmmMessage,
    },
};

/// Commands that one VM listens to at once.
const MAX_CALLERS: usize = 16;

/// What the command line says.
#[derive(Debug)]
pub struct Arguments {
    /// The pool.
    pub pool: String,
    /// Name of the VM's folder.
    pub name: String,
    /// The connection to who started it.
    pub starter: RawFd,
    /// The folder's lock.
    pub lock: RawFd,
}

/// Waits until a container takes the VM, and keeps that, or until somebody wants it to end.
///
/// # Errors
/// When it was not started by hull. What else goes wrong is told to who started it.
pub fn run(arguments: Arguments) -> Result<()> {
    let inherited = detached::inherit(arguments.starter, arguments.lock);
    let (starter, lock) = inherited
        .map_err(|error| Error::Keeper(format!("is started by `hull pool`, not by people: {error}")))?;
    let starter = Channel::from(starter);
    let pools = Pools::open();
    let folder = pools.folder(&arguments.pool).join(&arguments.name);
    let taken = match Waiting::begin(&pools, arguments.pool, folder.clone()) {
        Ok(waiting) => waiting.wait(&starter),
        Err(error) => Err(error),
    };
    let _ = fs::remove_dir_all(&folder);
    drop(lock);
    match taken {
        Ok(Some(taken)) => taken.run(),
        Ok(None) => {}
        Err(error) => drop(starter.send(&Answer::Failed { reason: error.to_string() }, None)),
    }
    Ok(())
}

/// A VM that waits.
struct Waiting {
    pool: String,
    folder: PathBuf,
    purpose: Purpose,
    layers: Vec<Extent>,
    /// The guest rootfs.
    rootfs: File,
    vmm: Vmm,
    agent: Option<Agent>,
    /// Where containers ask for the VM: from when its agent was greeted, which is all that can be done in advance.
    listener: Option<OwnedFd>,
    signals: Signals,
    callers: Vec<Channel>,
}

/// What there was to hear.
enum Heard {
    /// Nothing that ends the wait.
    Nothing,
    /// The agent was greeted.
    Greeted,
    /// Somebody wants the VM to end.
    End,
    /// A container took it; this is its front end.
    Taken(Channel, Box<Ready>),
}

impl Waiting {
    fn begin(pools: &Pools, pool: String, folder: PathBuf) -> Result<Self> {
        let keeper = |error: std::io::Error| Error::Keeper(format!("cannot prepare: {error}"));
        let signals = Signals::take(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]).map_err(keeper)?;
        let about = pools.about(&pool).ok_or_else(|| Error::Invalid(format!("no such pool: {pool}")))?;
        let (purpose, image) = about.purpose()?;
        let vmm = machine::begin(purpose.size)?;
        let template = Templates::open().find(&purpose).filter(|template| template.id == pool);
        let template = template.ok_or_else(|| Error::Template(format!("{pool} is there no more")))?;
        let path = folder.join("data.img");
        template.make_disk(&path)?;
        let data_disk = File::options().read(true).write(true).open(&path);
        let data_disk = data_disk.map_err(Error::file("cannot open", &path))?;
        let snapshot = Some(template.snapshot.try_clone().map_err(keeper)?);
        let layers = image.open_layers()?;
        let machine = machine::describe(Parts {
            layers,
            data_disk,
            snapshot,
            roots: Vec::new(),
            console: vmm.console(),
        })?;
        let vmm = vmm.configure(&machine.config, machine.descriptors).map_err(machine::not_started)?;
        template.read_ahead();
        // While the guest comes up there is time for the next one's copy.
        template.leave_spare();
        Ok(Self {
            pool,
            folder,
            purpose,
            layers: machine.layers,
            rootfs: machine.rootfs,
            vmm,
            agent: None,
            listener: None,
            signals,
            callers: Vec::new(),
        })
    }

    /// Waits for a container; `None` when somebody wants the VM to end.
    fn wait(mut self, starter: &Channel) -> Result<Option<Taken>> {
        let deadline = Instant::now() + boot_limit();
        loop {
            self.poll(self.listener.is_none().then_some(deadline))?;
            match self.hear()? {
                Heard::Nothing => {}
                // Who started it may have gone.
                Heard::Greeted => drop(starter.send(&Answer::Ready, None)),
                Heard::End => {
                    self.vmm.process.kill();
                    self.vmm.process.reap();
                    return Ok(None);
                }
                Heard::Taken(front_end, ready) => {
                    let agent = self.agent.ok_or_else(|| lost(&"its agent"))?;
                    let Self { pool, vmm, signals, .. } = self;
                    return Ok(Some(Taken { pool, ready: *ready, vmm, agent, front_end, signals }));
                }
            }
        }
    }

    /// Waits until somebody says something.
    fn poll(&self, deadline: Option<Instant>) -> Result<()> {
        let left = deadline.map(wait::left);
        let mut sources = vec![
            PollFd::from_borrowed_fd(self.vmm.control.as_fd(), PollFlags::IN),
            PollFd::new(&self.vmm.console, PollFlags::IN),
            PollFd::from_borrowed_fd(self.vmm.process.exit(), PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        sources.extend(self.agent.iter().map(|agent| {
            let (descriptor, unsent) = agent.descriptor();
            let flags = if unsent { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            PollFd::from_borrowed_fd(descriptor, flags)
        }));
        let listener = self.listener.as_ref().filter(|_| self.callers.len() < MAX_CALLERS);
        sources.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        sources.extend(self.callers.iter().map(|caller| PollFd::new(caller, PollFlags::IN)));
        match poll(&mut sources, left.as_ref()) {
            Ok(0) => Err(Error::Template("the guest did not answer in time".to_owned())),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(lost(&error)),
        }
    }

    fn hear(&mut self) -> Result<Heard> {
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.vmm.console, &mut buffer).is_ok_and(|count| count == buffer.len()) {}
        self.hear_vmm()?;
        if self.signals.next().is_some() {
            return Ok(Heard::End);
        }
        if self.hear_agent(&mut buffer)? {
            self.listener = Some(folder::listen(&self.folder).map_err(|error| lost(&error))?);
            return Ok(Heard::Greeted);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let caller =
            self.listener.as_ref().and_then(|listener| rustix::net::accept_with(listener, flags).ok());
        if let Some(caller) = caller.map(Channel::from)
            && caller.send(&Answer::Willing, None).is_ok()
        {
            self.callers.push(caller);
        }
        self.hear_callers()
    }

    fn hear_vmm(&mut self) -> Result<()> {
        loop {
            match self.vmm.control.receive().map_err(|error| lost(&error))? {
                Received::Message(VmmMessage::Running { .. }, _) => {
                    self.agent = Some(agent::call(&self.vmm.control).map_err(|error| lost(&error))?);
                }
                Received::Message(VmmMessage::Exit(reason), _) => {
                    return Err(Error::Keeper(format!("lost its VM: {reason:?}")));
                }
                Received::Message(..) => {}
                Received::Nothing => return Ok(()),
                Received::Closed => return Err(lost(&"its VMM ended")),
            }
        }
    }

    /// Whether the agent has just been greeted.
    fn hear_agent(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let Some(agent) = &mut self.agent else { return Ok(false) };
        let open = agent.flush().and_then(|()| agent.read(buffer)).map_err(|error| lost(&error))?;
        let mut greeted = false;
        while let Some(message) = agent.next().map_err(|error| lost(&error))? {
            if !matches!(message, AgentMessage::Hello { version: VERSION, .. })
                || self.listener.is_some()
                || greeted
            {
                return Err(lost(&format_args!("its agent says {message:?}")));
            }
            greeted = true;
            for message in [
                HostMessage::Hello { version: VERSION, max_frame: MAX_FRAME },
                agent::wake().map_err(|error| lost(&error))?,
            ] {
                agent.send(&message).map_err(|error| lost(&error))?;
            }
        }
        if open { Ok(greeted) } else { Err(lost(&"its agent closed the connection")) }
    }

    fn hear_callers(&mut self) -> Result<Heard> {
        let mut at = 0;
        while at < self.callers.len() {
            match self.callers[at].receive() {
                Ok(Received::Nothing) => at += 1,
                Ok(Received::Message(Request::End, _)) => return Ok(Heard::End),
                Ok(Received::Message(Request::Take { container, tied }, Some(lock))) => {
                    let caller = self.callers.swap_remove(at);
                    match self.give(container, Lock(lock), tied) {
                        Ok(ready) => {
                            // Before anything of the container is told. A front end that is gone is the container's keeper's
                            // affair.
                            let _ = caller.send(&Answer::Taken, None);
                            return Ok(Heard::Taken(caller, Box::new(ready)));
                        }
                        // The front end starts it in another way.
                        Err(error) => {
                            drop(caller.send(&Answer::Refused { reason: error.to_string() }, None));
                        }
                    }
                }
                _ => drop(self.callers.swap_remove(at)),
            }
        }
        Ok(Heard::Nothing)
    }

    /// Makes this VM a container's, if it fits.
    fn give(&self, container: ContainerId, lock: Lock, tied: bool) -> Result<Ready> {
        let disk = self.folder.join("data.img");
        let ready =
            keeper::take_over(container, lock, tied, &self.purpose, &self.layers, &self.rootfs, &disk)?;
        folder::stop_listening(&self.folder);
        Ok(ready)
    }
}

/// A VM that waits no more.
struct Taken {
    pool: String,
    ready: Ready,
    vmm: Vmm,
    agent: Agent,
    front_end: Channel,
    signals: Signals,
}

impl Taken {
    fn run(self) {
        self.ready.run(self.vmm, self.agent, self.front_end, self.signals, self.pool);
    }
}

fn lost(reason: &dyn std::fmt::Display) -> Error {
    Error::Keeper(format!("of a VM that waits gave up: {reason}"))
}
