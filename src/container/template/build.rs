//! Builds a template: boots a VM without layers or goes on from one with those of an image, asks its agent to rest, and takes
//! the snapshot.

use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::Instant,
};

use hull_protocol::{AGENT_PORT, AgentMessage, HostMessage, Image, MAX_FRAME, VERSION};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{AtHand, Template};
use crate::{
    assets::Assets,
    container::{
        disk,
        error::{Error, Result},
        machine::{self, Parts},
        sizing::{VmSize, boot_limit},
    },
    vm::{
        keeper::agent::{self, Agent},
        launch::{Exit, Vmm},
        wait,
    },
    vmm::{
        channel::Received,
        control::{KeeperMessage, VmmMessage},
    },
};

/// What to build.
pub struct Blueprint {
    /// How large the VM is.
    pub size: VmSize,
    /// The image to have at hand, and the template to go on from with it.
    pub image: Option<(Template, AtHand)>,
}

/// Puts a template's files into this empty folder.
pub fn build(folder: &Path, assets: &Assets, blueprint: Blueprint) -> Result<()> {
    let Blueprint { size, image } = blueprint;
    let (base, image) = image.unzip();
    let (empty, from) = match base {
        Some(Template { snapshot, data_disk, .. }) => (data_disk, Some(snapshot)),
        None => (Assets::open(&assets.data_disk()).map_err(Error::missing)?, None),
    };
    let disk_path = folder.join("data.img");
    disk::make(&empty, &disk_path)?;
    let layers = image.iter().flat_map(|image| &image.layers);
    let layers = layers.map(|path| File::open(path).map_err(Error::file("cannot open", path)));
    let layers = layers.collect::<Result<_>>()?;
    let restored = from.is_some();
    let create = |path: &Path| {
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        file.map_err(Error::file("cannot make", path))
    };
    let data_disk = create(&disk_path)?;
    let snapshot = create(&folder.join("snapshot"))?;
    let vmm = machine::begin(size)?;
    let parts = Parts { layers, data_disk, snapshot: from, roots: Vec::new(), console: vmm.console() };
    let machine = machine::describe(parts)?;
    let image = image.map(|AtHand { command, path, .. }| Image { layers: machine.layers, command, path });
    let vmm = vmm.configure(&machine.config, machine.descriptors).map_err(machine::not_started)?;
    let deadline = Instant::now() + boot_limit();
    let mut builder = Builder { vmm, agent: None, restored, image, snapshot, deadline };
    let built = builder.run();
    // Its sockets close a moment before a process is over.
    let ended = built.is_err() && {
        let mut exit = [PollFd::from_borrowed_fd(builder.vmm.process.exit(), PollFlags::IN)];
        poll(&mut exit, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) == Ok(1)
    };
    builder.vmm.process.kill();
    match builder.vmm.process.reap() {
        Exit::Killed if ended => Err(Error::Killed("the VMM of a template")),
        // Not written through: no template outlives the host's power.
        _ => built,
    }
}

fn failed(reason: &dyn std::fmt::Display) -> Error {
    Error::Template(reason.to_string())
}

/// The other side of the VM that becomes the template.
struct Builder {
    vmm: Vmm,
    agent: Option<Agent>,
    /// It goes on from another template.
    restored: bool,
    /// What its agent is to have ready.
    image: Option<Image>,
    snapshot: File,
    deadline: Instant,
}

impl Builder {
    /// Goes on until the snapshot is written.
    fn run(&mut self) -> Result<()> {
        loop {
            self.wait()?;
            self.drain_console();
            if self.hear_agent()? {
                self.agent = None;
                let file = self.snapshot.as_fd();
                let asked = self.vmm.control.send(&KeeperMessage::Snapshot, Some(file));
                asked.map_err(|error| failed(&error))?;
            }
            if self.hear_vmm()? {
                return Ok(());
            }
        }
    }

    /// Waits until somebody says something.
    fn wait(&self) -> Result<()> {
        let left = wait::left(self.deadline);
        let control = self.vmm.control.as_fd();
        let mut sources = vec![
            PollFd::from_borrowed_fd(control, PollFlags::IN),
            PollFd::new(&self.vmm.console, PollFlags::IN),
        ];
        sources.extend(self.agent.as_ref().map(|agent| {
            let (descriptor, unsent) = agent.descriptor();
            let flags = if unsent { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            PollFd::from_borrowed_fd(descriptor, flags)
        }));
        match poll(&mut sources, Some(&left)) {
            Ok(0) => Err(failed(&"the guest did not come up in time")),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    /// What the guest says on its console is for nobody, but must not fill the pipe.
    fn drain_console(&self) {
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.vmm.console, &mut buffer).is_ok_and(|count| count == buffer.len()) {}
    }

    /// Whether the snapshot is written.
    fn hear_vmm(&mut self) -> Result<bool> {
        loop {
            match self.vmm.control.receive::<VmmMessage>().map_err(|error| failed(&error))? {
                Received::Message(VmmMessage::Running { .. }, _) if self.restored => {
                    let called = agent::call(&self.vmm.control).map_err(|error| failed(&error))?;
                    self.agent = Some(called);
                }
                Received::Message(VmmMessage::Connection { port: AGENT_PORT }, Some(connection)) => {
                    rustix::io::ioctl_fionbio(&connection, true).map_err(|error| failed(&error))?;
                    self.agent = Some(Agent::new(connection));
                }
                Received::Message(VmmMessage::Snapshot { error: None }, _) => return Ok(true),
                Received::Message(VmmMessage::Snapshot { error: Some(error) }, _) => {
                    return Err(failed(&error));
                }
                Received::Message(VmmMessage::Exit(reason), _) => {
                    return Err(failed(&format_args!("its VM ended: {reason:?}")));
                }
                Received::Message(..) => {}
                Received::Nothing => return Ok(false),
                Received::Closed => return Err(failed(&"its VMM ended")),
            }
        }
    }

    /// Whether the agent rests.
    fn hear_agent(&mut self) -> Result<bool> {
        let Some(agent) = &mut self.agent else { return Ok(false) };
        let open = agent.flush().and_then(|()| agent.read(&mut [0; 4096])).map_err(|error| failed(&error))?;
        while let Some(message) = agent.next().map_err(|error| failed(&error))? {
            match message {
                AgentMessage::Hello { version: VERSION, .. } => {
                    let hello = HostMessage::Hello { version: VERSION, max_frame: MAX_FRAME };
                    let mut tell = |message| agent.send(&message).map_err(|error| failed(&error));
                    tell(hello)?;
                    if self.restored {
                        tell(agent::wake().map_err(|error| failed(&error))?)?;
                    }
                    tell(HostMessage::Rest { image: self.image.take() })?;
                }
                AgentMessage::Resting => return Ok(true),
                other => return Err(failed(&format_args!("its agent says {other:?}"))),
            }
        }
        if open { Ok(false) } else { Err(failed(&"its agent closed the connection")) }
    }
}
