//! What the keeper does about what it hears.

use std::os::fd::OwnedFd;

use hull_protocol::{
    AGENT_PORT, AgentMessage, ExitStatus, HostMessage, MAX_FRAME, ProcessId, Stdio, VERSION, WindowSize,
};
use rustix::{event::PollFlags, net::SocketFlags};

use super::{
    Agent, Client, ClientId, Due, Ending, Escalation, Instant, KILL, Keeper, Origin, PROCESS, Stage, Streams,
    agent,
    attach::Wanted,
    outcome::printable,
    poll::Source,
    ports::{port, stream_at},
};
use crate::{
    network,
    vm::{
        control::{ClientMessage, KeeperMessage, Stream},
        signals::Signals,
    },
    vmm::{
        channel::{Channel, Received},
        control::{KeeperMessage as ToVmm, VmmMessage},
        monotonic_ns,
    },
};

/// Front ends a keeper serves at once.
const MAX_CLIENTS: usize = 64;

/// Where the streams of a process go.
pub(super) fn stdio(process: ProcessId, streams: &Streams, input: bool) -> Stdio {
    let output = |stream| streams.has(stream).then(|| port(process, stream));
    Stdio {
        stdin: input.then(|| port(process, Stream::Stdin)),
        stdout: output(Stream::Stdout),
        stderr: output(Stream::Stderr),
    }
}

impl Keeper {
    /// Acts on one source that has something.
    pub(super) fn handle(&mut self, source: Source, flags: PollFlags, buffer: &mut [u8]) {
        let gone = flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        match source {
            Source::Control => self.read_control(),
            Source::Console => self.read_console(buffer),
            Source::Agent => self.read_agent(buffer),
            Source::Output(process, index) => self.read_output(process, index, buffer),
            Source::Sink(process, index, client) => {
                if let Some(streams) = self.streams_of(process) {
                    streams.outputs[index].flush(client, gone);
                }
            }
            Source::InputFrom(process, client) => {
                if let Some(streams) = self.streams_of(process) {
                    streams.input.pump(client, buffer);
                }
            }
            Source::Input(process) => {
                if let Some(Streams { input, .. }) = self.streams_of(process) {
                    if gone { input.close() } else { input.flush() }
                }
            }
            Source::Health => self.hear_check(),
            Source::Client(client) => self.read_client(client),
            Source::Listener => self.accept(),
            Source::Network(place) => self.read_network(place),
            Source::Signals => self.read_signal(),
            Source::Exit => {
                self.read_control();
                self.read_console(buffer);
                self.read_agent(buffer);
                let how = self.vmm.process.reap();
                self.gone(&how);
            }
        }
    }

    fn read_control(&mut self) {
        while self.control_open {
            match self.vmm.control.receive() {
                Ok(Received::Message(message, descriptor)) => self.hear_vmm(message, descriptor),
                Ok(Received::Nothing) => break,
                // The process's end, which follows, says why.
                Ok(Received::Closed) => self.control_open = false,
                Err(error) => {
                    self.control_open = false;
                    self.fail(&format!("the VMM broke its protocol: {error}"));
                    self.kill_vmm();
                }
            }
        }
    }

    fn hear_vmm(&mut self, message: VmmMessage, descriptor: Option<OwnedFd>) {
        match message {
            VmmMessage::Running { started_ns, first_run_ns } => {
                self.timings.vmm_ns = started_ns;
                self.timings.first_run_ns = first_run_ns;
                if self.task.origin != Origin::Boot {
                    self.call_agent();
                }
            }
            VmmMessage::Connection { port } => {
                if let Some(connection) = descriptor
                    && rustix::io::ioctl_fionbio(&connection, true).is_ok()
                {
                    self.connected(port, connection);
                }
            }
            VmmMessage::Snapshot { error } => self.frozen(error),
            VmmMessage::Paused { error } => self.paused(error),
            VmmMessage::Exit(reason) => self.exit_reason = Some(reason),
        }
    }

    /// Connects to the agent of a VM that was not booted.
    pub(super) fn call_agent(&mut self) {
        match agent::call(&self.vmm.control) {
            Ok(agent) => self.agent = Some(agent),
            Err(error) => self.fail(&format!("cannot connect to the agent: {error}")),
        }
    }

    /// The streams of a process, if it is not over.
    fn streams_of(&mut self, process: ProcessId) -> Option<&mut Streams> {
        if process == PROCESS {
            return Some(&mut self.streams);
        }
        self.execs.iter_mut().find(|exec| exec.id == process).map(|exec| &mut exec.streams)
    }

    fn read_output(&mut self, process: ProcessId, index: usize, buffer: &mut [u8]) {
        if process == PROCESS {
            if let Err(error) = self.streams.outputs[index].pump(buffer, Some(&mut self.log)) {
                self.log_error.get_or_insert_with(|| format!("the log could not be written: {error}"));
            }
        } else if let Some(streams) = self.streams_of(process) {
            // Without a log nothing fails.
            let _ = streams.outputs[index].pump(buffer, None);
        }
    }

    /// The guest connected to a port. What nobody waits for is closed.
    fn connected(&mut self, to: u32, connection: OwnedFd) {
        if to == AGENT_PORT {
            if self.stage == Stage::Booting && self.agent.is_none() {
                self.agent = Some(Agent::new(connection));
            }
        } else if matches!(self.stage, Stage::Starting | Stage::Running | Stage::Resting)
            && let Some((process, stream)) = stream_at(to)
            && let Some(streams) = self.streams_of(process)
        {
            streams.connect(stream, connection);
        }
    }

    /// One read, so that a guest that floods its console does not keep the keeper from its other work.
    fn read_console(&mut self, buffer: &mut [u8]) {
        match rustix::io::read(&self.vmm.console, &mut *buffer) {
            Ok(0) => self.console_open = false,
            Ok(count) => self.console.push(&buffer[..count]),
            Err(_) => {}
        }
    }

    fn read_agent(&mut self, buffer: &mut [u8]) {
        // Streams are connected before anything is said about their process.
        self.read_control();
        let Some(agent) = &mut self.agent else { return };
        let open = agent.flush().and_then(|()| agent.read(buffer)).unwrap_or(false);
        loop {
            let Some(agent) = &mut self.agent else { return };
            match agent.next() {
                Ok(Some(AgentMessage::Resting)) if self.stage == Stage::Resting => {
                    // The last message of its connection.
                    self.agent = None;
                    return self.agent_rests();
                }
                Ok(Some(message)) => self.hear_agent(message),
                Ok(None) => break,
                Err(error) => {
                    self.agent = None;
                    self.fail(&format!("the agent broke its protocol: {error}"));
                    return;
                }
            }
        }
        if !open {
            self.agent = None;
            if self.stage < Stage::Draining {
                self.deadline = Some((Instant::now() + self.limits.exit, Due::Exit));
            }
        }
    }

    pub(super) fn tell_agent(&mut self, message: &HostMessage) {
        if let Some(agent) = &mut self.agent
            && let Err(error) = agent.send(message)
        {
            self.fail(&format!("the agent cannot be told anything: {error}"));
        }
    }

    fn hear_agent(&mut self, message: AgentMessage) {
        let Some(message) = self.hear_of_exec(message) else { return };
        match (message, self.stage) {
            (AgentMessage::Hello { version, .. }, Stage::Booting | Stage::Resting) if version != VERSION => self.fail(&format!(
                "the guest's agent speaks version {version} of the protocol and this hull version {VERSION}: \
                 install a hull and a guest rootfs of the same release"
            )),
            (AgentMessage::Hello { first_instruction_ns, ready_ns, .. }, Stage::Booting) => {
                self.timings.guest_first_instruction_ns = first_instruction_ns;
                self.timings.guest_ready_ns = ready_ns;
                self.greet();
                self.start();
            }
            (AgentMessage::Hello { .. }, Stage::Resting) if self.is_returning() => {
                self.greet_again();
            }
            (AgentMessage::Suspending, Stage::Resting) => self.agent_suspends(),
            (AgentMessage::Reopened { process_id: PROCESS }, Stage::Resting) if self.is_returning() => {
                self.reopened();
            }
            (AgentMessage::Reopened { process_id: PROCESS }, Stage::Starting)
                if matches!(self.task.origin, Origin::Checkpoint { .. }) =>
            {
                self.reopened();
            }
            (AgentMessage::Started { process_id: PROCESS, .. }, Stage::Starting) => {
                self.enter(Stage::Running);
                self.mark_started();
            }
            (AgentMessage::Failed { process_id: PROCESS, kind, message }, Stage::Starting) => {
                self.ending.get_or_insert(Ending::from_failure(kind, &message));
                self.close();
            }
            (AgentMessage::Exited { process_id: PROCESS, status, oom_killed }, Stage::Running) => {
                self.exited(status, oom_killed);
            }
            (AgentMessage::Limited { error }, Stage::Running | Stage::Resting) => {
                self.updated(error.map(|error| printable(error.as_bytes())));
            }
            (AgentMessage::Connected { error }, Stage::Running | Stage::Resting) => {
                self.guest_changed(error.map(|error| printable(error.as_bytes())));
            }
            (AgentMessage::Memory { wanted }, Stage::Starting | Stage::Running | Stage::Resting) => self.give_memory(wanted),
            (AgentMessage::Exited { process_id: PROCESS, status, oom_killed }, Stage::Resting) => {
                self.exited_at_rest(status, oom_killed);
            }
            (AgentMessage::Stopped { .. }, Stage::Closing) => self.end_vm(),
            (AgentMessage::Stopped { reason }, stage) if stage < Stage::Draining => {
                self.farewell = Some(printable(reason.as_bytes()));
                self.deadline = Some((Instant::now() + self.limits.exit, Due::Exit));
            }
            (AgentMessage::Fatal { message }, _) => {
                self.fail(&format!("the agent cannot go on: {}", printable(message.as_bytes())));
            }
            // The VM is being ended: whatever the agent says is of no interest any more.
            (_, Stage::Draining | Stage::Closing | Stage::Ending | Stage::Gone) => {}
            (message, stage) => {
                let name = printable(format!("{message:?}").as_bytes());
                self.fail(&format!("the agent broke its protocol: {name} while {stage:?}"));
            }
        }
    }

    /// The guest wants to have this much memory: it gets what it may have of that.
    fn give_memory(&mut self, wanted: u64) {
        let size = wanted.min(self.task.most_memory).saturating_sub(self.task.memory);
        // A VMM that does not hear is about to end, and a guest that gets nothing asks again.
        let _ = self.vmm.control.send(&ToVmm::Memory { size }, None);
    }

    /// The agent is up.
    fn greet(&mut self) {
        self.tell_agent(&HostMessage::Hello { version: VERSION, max_frame: MAX_FRAME });
        if self.task.origin != Origin::Boot {
            self.wake_agent();
        }
    }

    /// Gives a guest that may be a copy what it is to have of its own.
    pub(super) fn wake_agent(&mut self) {
        match agent::wake() {
            Ok(wake) => self.tell_agent(&wake),
            Err(error) => self.fail(&format!("the host gives no random bytes: {error}")),
        }
    }

    /// Tells the agent what to run, or with whom what runs is to speak.
    pub(super) fn start(&mut self) {
        if self.ending.is_some() {
            return;
        }
        if self.timings.hello_ns == 0 {
            self.timings.hello_ns = monotonic_ns();
        }
        if !self.networks.is_ready() {
            return;
        }
        if let Origin::Checkpoint { renaming } = &mut self.task.origin {
            let (renaming, networks) = (renaming.take(), std::mem::take(&mut self.task.container.networks));
            self.enter(Stage::Starting);
            return self.reopen(renaming, networks);
        }
        let container = Box::new(std::mem::take(&mut self.task.container));
        // The terminal stays: it says that there is one.
        let terminal = self.task.process.terminal;
        let process = Box::new(std::mem::take(&mut self.task.process));
        self.task.process.terminal = terminal;
        self.enter(Stage::Starting);
        let stdio = stdio(PROCESS, &self.streams, self.task.stdin);
        self.tell_agent(&HostMessage::Run { process_id: PROCESS, container, process, stdio });
    }

    /// The process runs, for the first time that anybody here knows of.
    pub(super) fn mark_started(&mut self) {
        self.timings.started_ns = monotonic_ns();
        self.started = true;
        self.record.started();
        self.watch_health();
        self.tell_all(&KeeperMessage::Started);
    }

    pub(super) fn exited(&mut self, status: ExitStatus, oom_killed: bool) {
        // What ended while a pause was on its way is still to be written down.
        self.unpause();
        self.timings.exited_ns = monotonic_ns();
        let error = self.log_error.take();
        self.ending.get_or_insert(Ending::Exited { code: status.code(), oom_killed, error });
        self.escalation = None;
        self.streams.end();
        self.end_execs();
        self.enter(Stage::Draining);
        if self.stopping {
            // Whoever stopped it does not wait for ever for somebody who does not read.
            self.escalation = Some((Instant::now() + self.limits.reader, Escalation::DropFrontEnds));
        }
    }

    /// Serves a front end, and tells it where the container is by now. `None` when there are too many.
    pub(super) fn admit(&mut self, channel: Channel) -> Option<ClientId> {
        if self.clients.len() >= MAX_CLIENTS || channel.set_nonblocking(true).is_err() {
            return None;
        }
        let id = ClientId(self.next_client);
        self.next_client += 1;
        let client = Client::new(id, channel);
        if self.started {
            client.tell(&KeeperMessage::Started);
        }
        if self.announced
            && let Some(ending) = &self.ending
        {
            client.tell(&ending.message(&self.console.text()));
        }
        self.clients.push(client);
        Some(id)
    }

    fn accept(&mut self) {
        if let Some(listener) = &self.listener
            && let Ok(connection) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC)
        {
            self.admit(Channel::from(connection));
        }
    }

    fn read_client(&mut self, id: ClientId) {
        loop {
            let Some(client) = self.clients.iter().find(|client| client.id == id) else { return };
            match client.channel.receive() {
                Ok(Received::Message(message, descriptor)) => self.hear_client(id, message, descriptor),
                Ok(Received::Nothing) => return,
                // One that sends rubbish is as good as gone.
                Ok(Received::Closed) | Err(_) => return self.lose(id),
            }
        }
    }

    fn hear_client(&mut self, id: ClientId, message: ClientMessage, descriptor: Option<OwnedFd>) {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else { return };
        let process = client.exec.unwrap_or(PROCESS);
        match message {
            ClientMessage::Attach { stream } => {
                if let Some(pipe) = descriptor
                    && rustix::io::ioctl_fionbio(&pipe, true).is_ok()
                    && let Some(streams) = self.streams_of(process)
                {
                    streams.attach(stream, id, pipe);
                }
            }
            ClientMessage::Terminal => {
                if let Some(terminal) = descriptor {
                    client.keep_terminal(terminal);
                }
                client.tell(&KeeperMessage::TerminalKept);
            }
            ClientMessage::Detach => self.detach(id),
            ClientMessage::Exec { stdin, detached } => match descriptor {
                Some(file) => self.prepare_exec(id, stdin, detached, file),
                None => self.lose(id),
            },
            ClientMessage::Begin => self.begin_exec(id),
            ClientMessage::Resize { size } if process != PROCESS => self.resize_exec(process, size),
            ClientMessage::Resize { size } => self.resize(size),
            ClientMessage::Update { limits, most_memory } => self.update(id, limits, most_memory),
            ClientMessage::Connect { network, aliases, address } => {
                self.attach(id, &Wanted { network, aliases, address });
            }
            ClientMessage::Disconnect { network } => self.detach_network(id, &network),
            ClientMessage::Publish => match descriptor.map(network::control::read) {
                Some(Ok(wanted)) => self.publish(id, &wanted),
                _ => self.lose(id),
            },
            ClientMessage::Pause => self.pause(id),
            ClientMessage::Unpause => self.end_pause(id),
            ClientMessage::Freeze => match descriptor {
                Some(file) => self.freeze(id, file),
                None => self.lose(id),
            },
            ClientMessage::Thaw if self.is_frozen_by(id) => self.thaw(),
            ClientMessage::Halt if self.is_frozen_by(id) => self.halt(),
            ClientMessage::Thaw | ClientMessage::Halt => {}
            // These are of the container, whoever says them.
            ClientMessage::Discard => self.task.keep_disk = false,
            ClientMessage::Signal { signal: KILL } => {
                self.stopped = true;
                self.kill();
            }
            ClientMessage::Signal { signal } => {
                self.stopped |= signal == self.task.stop_signal;
                self.signal(signal);
            }
            ClientMessage::Stop { signal, timeout } => self.stop(signal, timeout),
        }
    }

    /// The container's terminal has another size.
    fn resize(&mut self, size: WindowSize) {
        if self.task.process.terminal.is_none() {
            return;
        }
        self.task.process.terminal = Some(size);
        let resize = HostMessage::Resize { process_id: PROCESS, size };
        match self.stage {
            Stage::Starting | Stage::Running | Stage::Resting => self.tell_agent_at_last(resize),
            // It is made in this size, unless it is there already.
            Stage::Booting if matches!(self.task.origin, Origin::Checkpoint { .. }) => self.held.push(resize),
            _ => {}
        }
    }

    /// A front end leaves on purpose; the container goes on.
    fn detach(&mut self, id: ClientId) {
        for streams in self.all_streams() {
            streams.input.detach(id);
            streams.detach(id);
        }
        if self.tied == Some(id) {
            self.tied = None;
        }
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.release_terminal();
        }
    }

    /// A front end is gone. Its input ends where its pipe does.
    fn lose(&mut self, id: ClientId) {
        self.all_streams().for_each(|streams| streams.detach(id));
        self.lose_exec(id);
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.restore_terminal();
        }
        self.clients.retain(|client| client.id != id);
        self.lose_rest(id);
        if self.tied == Some(id) {
            self.tied = None;
            self.stopped = true;
            self.ending.get_or_insert(Ending::Broken {
                code: 128 + KILL,
                error: "its front end was killed".to_owned(),
            });
            self.end_vm();
        }
    }

    /// A signal to the keeper asks the process to end; a second one is impatient.
    fn read_signal(&mut self) {
        if self.signals.as_ref().and_then(Signals::next).is_some() {
            if self.stopping { self.kill() } else { self.stop(None, None) }
        }
    }
}
