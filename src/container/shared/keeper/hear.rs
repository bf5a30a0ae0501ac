//! What the keeper of a shared VM does about what it hears: from the VMM and the agent, which speak of all containers, and from the
//! keepers of containers, each of which may speak of its own.

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
};

use hull_protocol::{
    AGENT_PORT, AgentMessage, Container, Extent, FailureKind, HostMessage, MAX_FRAME, ProcessId, Signal,
    VERSION,
};
use rustix::event::PollFlags;

use super::{
    Keeper, Stage,
    member::{Member, MemberId, Progress, stdio},
};
use crate::{
    container::machine::LAYER_ALIGNMENT,
    vm::keeper::{
        agent::{self, Agent, Peer},
        outcome::printable,
        ports,
    },
    vmm::{
        channel::Received,
        control::{KeeperMessage as ToVmm, VmmMessage},
    },
};

/// SIGKILL.
const KILL: Signal = 9;
/// Layers of one container.
const MAX_LAYERS: usize = 255;

/// Why a container's keeper is heard no longer.
struct Breach;

impl Keeper {
    pub(super) fn hear_vmm(&mut self) {
        while self.control_open {
            match self.vmm.control.receive() {
                Ok(Received::Message(message, descriptor)) => self.hear_of_vmm(message, descriptor),
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => self.control_open = false,
                Err(error) => {
                    self.control_open = false;
                    self.fail(format!("the VMM broke its protocol: {error}"));
                }
            }
        }
    }

    fn hear_of_vmm(&mut self, message: VmmMessage, descriptor: Option<OwnedFd>) {
        match message {
            VmmMessage::Running { started_ns, first_run_ns } => {
                self.started = (started_ns, first_run_ns);
                if self.template.is_some() {
                    match agent::call(&self.vmm.control) {
                        Ok(agent) => self.agent = Some(agent),
                        Err(error) => self.fail(format!("cannot connect to the agent: {error}")),
                    }
                }
            }
            VmmMessage::Connection { port } => {
                let Some(connection) = descriptor else { return };
                if port == AGENT_PORT {
                    let usable = rustix::io::ioctl_fionbio(&connection, true).is_ok();
                    if usable && self.stage == Stage::Booting && self.agent.is_none() {
                        self.agent = Some(Agent::new(connection));
                    }
                    return;
                }
                // What nobody waits for is closed.
                let Some((number, stream)) = ports::stream_at(port) else { return };
                if let Some(member) = self.owner(number)
                    && let Some(process) = member.process(number)
                {
                    let port = ports::port(process, stream);
                    member.tell(&VmmMessage::Connection { port }, Some(connection));
                }
            }
            VmmMessage::Exit(reason) => drop(self.reason.get_or_insert(reason)),
            VmmMessage::Snapshot { .. } | VmmMessage::Paused { .. } => {}
        }
    }

    fn owner(&mut self, number: ProcessId) -> Option<&mut Member> {
        let id = self.processes.get(&number).copied()?;
        self.member(id)
    }

    fn member(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    pub(super) fn tell_agent(&mut self, message: &HostMessage) {
        if let Some(agent) = &mut self.agent
            && let Err(error) = agent.send(message)
        {
            self.fail(format!("the agent cannot be told anything: {error}"));
        }
    }

    pub(super) fn read_agent(&mut self, buffer: &mut [u8]) {
        // Streams are connected before anything is said about their process.
        self.hear_vmm();
        let Some(agent) = &mut self.agent else { return };
        let open = agent.flush().and_then(|()| agent.read(buffer)).unwrap_or(false);
        while let Some(agent) = &mut self.agent {
            match agent.next() {
                Ok(Some(message)) => self.hear_agent(message),
                Ok(None) => break,
                Err(error) => {
                    self.agent = None;
                    return self.fail(format!("the agent broke its protocol: {error}"));
                }
            }
        }
        if !open {
            self.agent = None;
            if self.stage < Stage::Closing {
                self.fail("the agent closed its connection".to_owned());
            }
        }
    }

    fn hear_agent(&mut self, message: AgentMessage) {
        match message {
            AgentMessage::Hello { version, .. } if version != VERSION => self.fail(format!(
                "the guest's agent speaks version {version} of the protocol and this hull version {VERSION}: \
                 install a hull and a guest rootfs of the same release"
            )),
            AgentMessage::Hello { .. } if self.stage == Stage::Booting => {
                self.tell_agent(&HostMessage::Hello { version: VERSION, max_frame: MAX_FRAME });
                if self.template.is_some() {
                    match agent::wake() {
                        Ok(wake) => self.tell_agent(&wake),
                        Err(error) => return self.fail(format!("the host gives no random bytes: {error}")),
                    }
                }
                self.up();
            }
            AgentMessage::Started { process_id, .. }
            | AgentMessage::Failed { process_id, .. }
            | AgentMessage::Exited { process_id, .. } => self.hear_of_process(process_id, message),
            AgentMessage::Limited { .. } => {
                if let Some(member) = self.limiting.pop_front() {
                    self.answer(member, &message);
                }
            }
            AgentMessage::Frozen { process_id, error } => {
                let error = error.map(|error| printable(error.as_bytes()));
                if let Some(member) = self.owner(process_id)
                    && std::mem::take(&mut member.pausing)
                {
                    member.tell(&VmmMessage::Paused { error }, None);
                }
            }
            AgentMessage::Memory { wanted } => {
                let size = wanted.min(self.plan.share.memory).saturating_sub(self.plan.size.memory);
                let _ = self.vmm.control.send(&ToVmm::Memory { size }, None);
            }
            AgentMessage::Stopped { .. } if self.stage == Stage::Closing => self.end(),
            AgentMessage::Stopped { reason } => {
                let reason = printable(reason.as_bytes());
                self.fail(format!("the guest ended: {reason}"));
            }
            AgentMessage::Fatal { message } => {
                let message = printable(message.as_bytes());
                self.fail(format!("the agent cannot go on: {message}"));
            }
            message => {
                let name = printable(format!("{message:?}").as_bytes());
                self.fail(format!("the agent broke its protocol: {name}"));
            }
        }
    }

    /// The agent says what has become of a process.
    fn hear_of_process(&mut self, number: ProcessId, mut message: AgentMessage) {
        let ended = !matches!(message, AgentMessage::Started { .. });
        if let Some(container) = self.forgetting.get(&number) {
            if ended {
                if matches!(message, AgentMessage::Exited { status, .. } if status.code() == 0) {
                    self.vms.forgot(&self.name, container);
                }
                self.forgetting.remove(&number);
            }
            return;
        }
        let Some(member) = self.owner(number) else { return };
        let (id, first) = (member.id, member.progress == Progress::Runs(number));
        if ended && first {
            member.progress = Progress::Ended;
        }
        if let Some(process) = member.process(number) {
            if let AgentMessage::Started { process_id, .. }
            | AgentMessage::Failed { process_id, .. }
            | AgentMessage::Exited { process_id, .. } = &mut message
            {
                *process_id = process;
            }
            if ended {
                member.forget(process);
            }
            self.answer(id, &message);
        }
        if ended {
            self.processes.remove(&number);
            self.settle(id);
        }
    }

    fn answer(&mut self, id: MemberId, message: &AgentMessage) {
        if let Some(member) = self.member(id)
            && member.answer(message).is_err()
        {
            self.lose(id);
        }
    }

    /// What a container's keeper says to its VMM.
    pub(super) fn read_member(&mut self, id: MemberId) {
        loop {
            let Some(channel) = self.member(id).and_then(|member| member.channel.as_ref()) else { return };
            let heard = match channel.receive() {
                Ok(Received::Message(message, descriptor)) => self.obey(id, message, descriptor),
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => Err(Breach),
            };
            if heard.is_err() {
                return self.lose(id);
            }
        }
    }

    fn obey(&mut self, id: MemberId, message: ToVmm, descriptor: Option<OwnedFd>) -> Result<(), Breach> {
        match message {
            ToVmm::AppendLayer => {
                let extent = self.place(File::from(descriptor.ok_or(Breach)?))?;
                let member = self.member(id).ok_or(Breach)?;
                if member.layers.len() >= MAX_LAYERS || member.progress != Progress::Waiting {
                    return Err(Breach);
                }
                member.layers.push(extent);
            }
            ToVmm::Connect { port: AGENT_PORT } if self.stage == Stage::Up => {
                let connection = descriptor.ok_or(Breach)?;
                rustix::io::ioctl_fionbio(&connection, true).map_err(|_| Breach)?;
                let hello = AgentMessage::Hello {
                    version: VERSION,
                    max_frame: MAX_FRAME,
                    features: Vec::new(),
                    kernel: String::new(),
                    first_instruction_ns: 0,
                    ready_ns: 0,
                };
                let member = self.member(id).ok_or(Breach)?;
                let mut link = Peer::new(connection);
                link.send(&hello).map_err(|_| Breach)?;
                member.link = Some(link);
            }
            ToVmm::Network { place, .. } => {
                let socket = descriptor.ok_or(Breach)?;
                let member = self.member(id).ok_or(Breach)?;
                // It is in one network; the agent is not told of others either.
                if *member.place.get_or_insert(place) != place {
                    return Ok(());
                }
                match member.mac {
                    Some(mac) => self.switch.connect(mac, socket),
                    None => member.frames = Some(socket),
                }
            }
            ToVmm::NoNetwork { .. } => {}
            ToVmm::Pause => {
                let member = self.member(id).ok_or(Breach)?;
                match member.progress {
                    Progress::Runs(process_id) => {
                        member.pausing = true;
                        self.tell_agent(&HostMessage::Freeze { process_id, frozen: true });
                    }
                    _ => member.tell(&VmmMessage::Paused { error: Some("it does not run".to_owned()) }, None),
                }
            }
            ToVmm::Resume => {
                let member = self.member(id).ok_or(Breach)?;
                member.pausing = false;
                if let Progress::Runs(process_id) = member.progress {
                    self.tell_agent(&HostMessage::Freeze { process_id, frozen: false });
                }
            }
            ToVmm::Stop => {
                self.member(id).ok_or(Breach)?.leaving = true;
                self.kill(id);
                self.settle(id);
            }
            // Of these no keeper of a container in a shared VM has anything to say.
            ToVmm::Connect { .. } | ToVmm::Memory { .. } | ToVmm::Snapshot | ToVmm::Difference => {
                return Err(Breach);
            }
        }
        Ok(())
    }

    /// Where a layer is on the layer disk, to which it is appended if it is not there.
    fn place(&mut self, file: File) -> Result<Extent, Breach> {
        let about = file.metadata().map_err(|_| Breach)?;
        if !about.is_file() || about.len() == 0 {
            return Err(Breach);
        }
        // While it is there nothing else has this number.
        let file_id = (about.dev(), about.ino());
        if let Some(extent) = self.layers.get(&file_id) {
            return Ok(*extent);
        }
        let length = about.len().next_multiple_of(LAYER_ALIGNMENT);
        let extent = Extent { offset: self.layers_end, length };
        self.vmm.control.send(&ToVmm::AppendLayer, Some(file.as_fd())).map_err(|_| Breach)?;
        self.layers_end += length;
        self.layers.insert(file_id, extent);
        Ok(extent)
    }

    /// What a container's keeper says to the agent.
    pub(super) fn read_link(&mut self, id: MemberId, flags: PollFlags, buffer: &mut [u8]) {
        let Some(link) = self.member(id).and_then(|member| member.link.as_mut()) else { return };
        if flags == PollFlags::OUT {
            if link.flush().is_err() {
                self.lose(id);
            }
            return;
        }
        let open = link.flush().and_then(|()| link.read(buffer)).unwrap_or(false);
        loop {
            let Some(link) = self.member(id).and_then(|member| member.link.as_mut()) else { return };
            let heard = match link.next() {
                Ok(Some(message)) => self.translate(id, message),
                Ok(None) => break,
                Err(_) => Err(Breach),
            };
            if heard.is_err() {
                return self.lose(id);
            }
        }
        if !open && let Some(member) = self.member(id) {
            member.link = None;
        }
    }

    /// Passes on what one container's keeper wants of the agent, as far as it is about that container.
    fn translate(&mut self, id: MemberId, message: HostMessage) -> Result<(), Breach> {
        let next = self.next_process;
        let member = self.members.iter_mut().find(|member| member.id == id).ok_or(Breach)?;
        let message = match message {
            // They were said when the VM came up.
            HostMessage::Hello { .. } | HostMessage::Wake { .. } => return Ok(()),
            HostMessage::Run { process_id, mut container, process, stdio: wanted } => {
                if member.progress != Progress::Waiting || container.id != member.container {
                    return Err(Breach);
                }
                if let Err(message) = self.fit(id, &mut container) {
                    let kind = FailureKind::Invalid;
                    self.answer(id, &AgentMessage::Failed { process_id, kind, message });
                    return Ok(());
                }
                let number = self.next_process();
                let member = self.member(id).ok_or(Breach)?;
                member.admit(process_id, number).ok_or(Breach)?;
                member.progress = Progress::Runs(number);
                self.processes.insert(number, id);
                HostMessage::Run { process_id: number, container, process, stdio: stdio(wanted, number) }
            }
            HostMessage::Exec { process_id, process, stdio: wanted, .. } => {
                let Progress::Runs(first) = member.progress else {
                    let (kind, message) = (FailureKind::Invalid, "the container is not running".to_owned());
                    self.answer(id, &AgentMessage::Failed { process_id, kind, message });
                    return Ok(());
                };
                member.admit(process_id, next).ok_or(Breach)?;
                let number = self.next_process();
                self.processes.insert(number, id);
                HostMessage::Exec { process_id: number, first, process, stdio: stdio(wanted, number) }
            }
            // To a process that has ended it is not an error.
            HostMessage::Signal { process_id, signal } => match member.number(process_id) {
                Some(process_id) => HostMessage::Signal { process_id, signal },
                None => return Ok(()),
            },
            HostMessage::Resize { process_id, size } => match member.number(process_id) {
                Some(process_id) => HostMessage::Resize { process_id, size },
                None => return Ok(()),
            },
            HostMessage::Limit { process_id, mut limits } => {
                limits.guest_memory = None;
                match member.number(process_id) {
                    Some(process_id) => {
                        self.limiting.push_back(id);
                        HostMessage::Limit { process_id, limits }
                    }
                    None => return Ok(()),
                }
            }
            HostMessage::Networks { .. } => {
                let error = "it shares its VM: stop it first".to_owned();
                self.answer(id, &AgentMessage::Connected { error: Some(error) });
                return Ok(());
            }
            // Its processes are gone, and its files are written when the VM ends, or sooner.
            HostMessage::Shutdown => {
                self.answer(id, &AgentMessage::Stopped { reason: "the container ended".to_owned() });
                return Ok(());
            }
            HostMessage::Rest { .. }
            | HostMessage::Suspend
            | HostMessage::Reopen { .. }
            | HostMessage::Freeze { .. }
            | HostMessage::Forget { .. } => return Err(Breach),
        };
        self.tell_agent(&message);
        Ok(())
    }

    /// Gives a container what it has of the VM.
    fn fit(&mut self, id: MemberId, container: &mut Container) -> Result<(), String> {
        let most = self.plan.share.memory;
        let mac = container.networks.first().map(|network| network.mac);
        let taken = |member: &Member| mac.is_some() && member.mac == mac && member.id != id;
        if self.members.iter().any(taken) {
            return Err(format!("another container of VM {} has the same MAC address", self.name));
        }
        let gone = || "its keeper is gone".to_owned();
        let member = self.members.iter_mut().find(|member| member.id == id).ok_or_else(gone)?;
        container.layers.clone_from(&member.layers);
        container.shared = true;
        container.limits.guest_memory = (most > self.plan.size.memory).then_some(most);
        member.mac = mac;
        if let Some((mac, socket)) = mac.zip(member.frames.take()) {
            self.switch.connect(mac, socket);
        }
        Ok(())
    }

    /// Ends what runs of a container.
    fn kill(&mut self, id: MemberId) {
        if let Some(Member { progress: Progress::Runs(process_id), .. }) = self.member(id) {
            let process_id = *process_id;
            self.tell_agent(&HostMessage::Signal { process_id, signal: KILL });
        }
    }

    /// A container's keeper is gone, or is not to be listened to any more: so does the container.
    pub(super) fn lose(&mut self, id: MemberId) {
        let Some(member) = self.member(id) else { return };
        (member.channel, member.link, member.leaving) = (None, None, true);
        self.kill(id);
        self.settle(id);
    }

    /// Parts with a container that is to leave and of which nothing runs.
    fn settle(&mut self, id: MemberId) {
        let over = |member: &Member| member.leaving && !matches!(member.progress, Progress::Runs(_));
        let Some(place) = self.members.iter().position(|member| member.id == id && over(member)) else {
            return;
        };
        let member = self.members.swap_remove(place);
        self.processes.retain(|_, owner| *owner != id);
        if let Some(mac) = member.mac {
            self.switch.part(mac);
        }
        member.over();
    }
}
