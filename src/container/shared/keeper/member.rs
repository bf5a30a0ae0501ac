//! A container in the VM, as its own keeper and the guest see it: each numbers processes for itself.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
};

use hull_protocol::{AgentMessage, Extent, HostMessage, ProcessId, Stdio};

use crate::{
    network::wire::Mac,
    vm::{
        control::Stream,
        keeper::{agent::Peer, ports},
    },
    vmm::{channel::Channel, control::VmmMessage},
};

/// Names a member for as long as the VM's keeper lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberId(pub u64);

/// How far a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing of it was asked for yet.
    Waiting,
    /// Its first process, by the guest's number, is being started or runs.
    Runs(ProcessId),
    /// That has ended, and everything else of it with it.
    Ended,
}

/// A container in the VM.
pub struct Member {
    /// Its name here.
    pub id: MemberId,
    /// The container's id.
    pub container: String,
    /// What its keeper says to a VMM; `None` when that is gone.
    pub channel: Option<Channel>,
    /// What its keeper says to an agent.
    pub link: Option<Peer<AgentMessage, HostMessage>>,
    /// Closed when it is over.
    exit: OwnedFd,
    /// Its layers on the layer disk, lowest first.
    pub layers: Vec<Extent>,
    /// Its end of its network, until it is known by which Ethernet address it is there.
    pub frames: Option<OwnedFd>,
    /// What its keeper calls that network.
    pub place: Option<u32>,
    /// That address.
    pub mac: Option<Mac>,
    /// How far it is.
    pub progress: Progress,
    /// Its keeper wants it to be over.
    pub leaving: bool,
    /// Its keeper waits for it to stand still.
    pub pausing: bool,
    /// Its processes: the guest's number of each, by its keeper's.
    numbers: HashMap<ProcessId, ProcessId>,
}

impl Member {
    /// A container whose keeper speaks on this channel, and waits for the end of that pipe.
    pub fn new(id: MemberId, container: String, channel: Channel, exit: OwnedFd) -> Self {
        Self {
            id,
            container,
            channel: Some(channel),
            link: None,
            exit,
            layers: Vec::new(),
            frames: None,
            place: None,
            mac: None,
            progress: Progress::Waiting,
            leaving: false,
            pausing: false,
            numbers: HashMap::new(),
        }
    }

    /// Tells its keeper what a VMM tells. One that does not listen is found out by its connection.
    pub fn tell(&self, message: &VmmMessage, descriptor: Option<OwnedFd>) {
        if let Some(channel) = &self.channel {
            let _ = channel.send(message, descriptor.as_ref().map(AsFd::as_fd));
        }
    }

    /// Tells its keeper what an agent tells.
    ///
    /// # Errors
    /// When that is gone or reads nothing.
    pub fn answer(&mut self, message: &AgentMessage) -> io::Result<()> {
        self.link.as_mut().map_or(Ok(()), |link| link.send(message))
    }

    /// It is over, as it should be.
    pub fn over(self) {
        // Into an empty pipe.
        let _ = rustix::io::write(&self.exit, b".");
    }

    /// The guest's number of a process.
    pub fn number(&self, process: ProcessId) -> Option<ProcessId> {
        self.numbers.get(&process).copied()
    }

    /// A process of its keeper's gets this number; `None` if there is one of that name, or there cannot be.
    pub fn admit(&mut self, process: ProcessId, number: ProcessId) -> Option<ProcessId> {
        if process == 0 || self.numbers.contains_key(&process) {
            return None;
        }
        self.numbers.insert(process, number);
        Some(number)
    }

    /// What its keeper calls the process with this number.
    pub fn process(&self, number: ProcessId) -> Option<ProcessId> {
        self.numbers.iter().find(|(_, known)| **known == number).map(|(process, _)| *process)
    }

    /// A process is over.
    pub fn forget(&mut self, process: ProcessId) {
        self.numbers.remove(&process);
    }
}

/// Where the streams of a process go when it has this number; those that its keeper waits for are wanted.
pub fn stdio(wanted: Stdio, number: ProcessId) -> Stdio {
    let port = |wanted: Option<u32>, stream| wanted.map(|_| ports::port(number, stream));
    Stdio {
        stdin: port(wanted.stdin, Stream::Stdin),
        stdout: port(wanted.stdout, Stream::Stdout),
        stderr: port(wanted.stderr, Stream::Stderr),
    }
}
