//! The keeper of a plain VM: `hull internal vm-keeper`. One thread, one poll loop, as a container's (see [`crate::vm::keeper`]).

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags};

use super::{
    Description, Folder, State, Status,
    console::Console,
    control::{ClientMessage, KeeperMessage},
    ending,
    prepare::{Prepared, prepare},
};
use crate::{
    config::Name,
    vm::{
        detached, folder,
        folder::Lock,
        keeper::ClientId,
        launch::{self, Vmm},
        signals::Signals,
        timestamp, wait,
    },
    vmm::{
        channel::{Channel, Received},
        config::VmSize,
        control::{ExitReason, KeeperMessage as ToVmm, VmmMessage},
    },
};

/// Bytes of the console read at a time.
const CHUNK: usize = 16 << 10;
/// Most commands that are connected at a time.
const MAX_CLIENTS: usize = 64;
/// How long a VMM that was told to stop may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long commands have to take the last of the console when the VM has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the keeper's command line says.
#[derive(Debug)]
pub struct Arguments {
    /// The VM.
    pub name: Name,
    /// The connection to the front end.
    pub front_end: RawFd,
    /// The folder's lock.
    pub lock: RawFd,
    /// The VM ends with the front end.
    pub tied: bool,
}

/// Keeps the VM until it has ended.
///
/// # Errors
/// When it was not started by hull. What else goes wrong is told to the front end.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let inherited = detached::inherit(arguments.front_end, arguments.lock);
    let (front_end, lock) =
        inherited.context("this is a process that hull starts for a VM, not a command")?;
    let front_end = Channel::from(front_end);
    let folder = Folder::of(arguments.name)?;
    let description = folder.description()?;
    match Keeper::start(&folder, &description, front_end.as_fd(), arguments.tied) {
        Ok(keeper) => keeper.run(lock),
        Err(error) => {
            description.discard(&folder);
            drop(lock);
            let _ = front_end.send(&KeeperMessage::Failed { message: format!("{error:#}") }, None);
        }
    }
    Ok(())
}

/// A command that is connected.
struct Client {
    id: ClientId,
    channel: Channel,
}

impl Client {
    /// One that is gone, or reads nothing, is found out by its connection.
    fn tell(&self, message: &KeeperMessage, descriptor: Option<BorrowedFd<'_>>) {
        let _ = self.channel.send(message, descriptor);
    }
}

/// Somebody has the VM stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Freeze {
    /// Who. It may have left since.
    client: ClientId,
    /// The VMM has done it.
    done: bool,
}

/// Whom the keeper hears from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Vmm,
    Output,
    Input,
    Terminal(ClientId),
    Client(ClientId),
    Listener,
    Signals,
    Exit,
}

/// A keeper.
struct Keeper {
    folder: Folder,
    description: Description,
    state: State,
    /// The guest has run.
    running: bool,
    vmm: Vmm,
    /// The VMM may still say something.
    control_open: bool,
    console_open: bool,
    console: Console,
    disks: Vec<(usize, OwnedFd)>,
    clients: Vec<Client>,
    next_client: u64,
    tied: Option<ClientId>,
    freeze: Option<Freeze>,
    listener: OwnedFd,
    signals: Signals,
    reason: Option<ExitReason>,
    /// When a VMM that was told to stop is killed.
    patience: Option<Instant>,
    /// Until when the last of the console is delivered, once the VMM has ended.
    end: Option<Instant>,
}

impl Keeper {
    fn start(
        folder: &Folder,
        description: &Description,
        front_end: BorrowedFd<'_>,
        tied: bool,
    ) -> anyhow::Result<Self> {
        // Before anything is made, so that a signal meets the loop that ends the VM.
        let signals =
            Signals::take(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]).context("cannot prepare")?;
        let listener = folder::listen(folder.path()).context("cannot make the keeper's socket")?;
        let machine = &description.vm.machine;
        let size = VmSize { memory: machine.memory.0, growth: 0, vcpus: machine.vcpus };
        let vmm = launch::start(launch::open_kvm()?, size).context("cannot start the VMM")?;
        let Prepared { config, descriptors, input, disks } = prepare(description, vmm.console())?;
        let vmm = vmm.configure(&config, descriptors).context("cannot start the VMM")?;
        let mut keeper = Self {
            folder: folder.clone(),
            description: description.clone(),
            state: State::default(),
            running: false,
            vmm,
            control_open: true,
            console_open: true,
            console: Console::new(input),
            disks,
            clients: Vec::new(),
            next_client: 0,
            tied: None,
            freeze: None,
            listener,
            signals,
            reason: None,
            patience: None,
            end: None,
        };
        let first = keeper.admit(front_end.try_clone_to_owned().context("cannot prepare")?.into());
        keeper.tied = first.filter(|_| tied);
        Ok(keeper)
    }

    fn run(mut self, lock: Lock) {
        let mut buffer = vec![0; CHUNK];
        while self.end.is_none_or(|end| !self.console.is_done() && Instant::now() < end) {
            for (source, flags) in self.wait() {
                self.handle(source, flags, &mut buffer);
            }
            if self.patience.is_some_and(|at| at <= Instant::now()) {
                self.patience = None;
                self.reason.get_or_insert(ExitReason::Stopped);
                self.vmm.process.kill();
            }
        }
        let reason = self.reason.take().unwrap_or(ExitReason::Stopped);
        if !self.running {
            self.description.discard(&self.folder);
        } else if self.description.keep {
            folder::stop_listening(self.folder.path());
            let _ = std::fs::write(self.folder.file("console"), self.console.last());
            let state = State {
                status: Status::Exited,
                finished_at: timestamp::now(),
                reason: Some(reason.clone()),
                ..self.state
            };
            self.folder.write_state(&state);
        } else {
            // What cannot be removed now makes way for the next VM of this name.
            let _ = std::fs::remove_dir_all(self.folder.path());
        }
        // Whoever hears of the end finds the name free.
        drop(lock);
        let last = match self.running {
            true => KeeperMessage::Ended { reason },
            false => KeeperMessage::Failed { message: ending(Some(&reason)).0 },
        };
        for client in &self.clients {
            client.tell(&last, None);
        }
    }

    /// Waits until something happens.
    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let output_if = |waiting| if waiting { PollFlags::OUT } else { PollFlags::empty() };
        let mut sources: Vec<(Source, PollFd<'_>)> = Vec::new();
        let mut add = |source, descriptor, flags| {
            sources.push((source, PollFd::from_borrowed_fd(descriptor, flags)));
        };
        if self.control_open {
            add(Source::Vmm, self.vmm.control.as_fd(), PollFlags::IN);
        }
        if self.console_open && !self.console.is_blocked() {
            add(Source::Output, self.vmm.console.as_fd(), PollFlags::IN);
        }
        if let Some(input) = self.console.waiting_input() {
            add(Source::Input, input, PollFlags::OUT);
        }
        for (owner, socket, reading, waiting) in self.console.sockets() {
            let input = if reading { PollFlags::IN } else { PollFlags::empty() };
            add(Source::Terminal(owner), socket, input | output_if(waiting));
        }
        for client in &self.clients {
            add(Source::Client(client.id), client.channel.as_fd(), PollFlags::IN);
        }
        add(Source::Listener, self.listener.as_fd(), PollFlags::IN);
        add(Source::Signals, self.signals.as_fd(), PollFlags::IN);
        // Last: by then everything that the VMM sent before its end is read.
        if self.end.is_none() {
            add(Source::Exit, self.vmm.process.exit(), PollFlags::IN);
        }
        wait::wait(sources, self.end.or(self.patience))
    }

    fn handle(&mut self, source: Source, flags: PollFlags, buffer: &mut [u8]) {
        match source {
            Source::Vmm => self.hear_vmm(),
            Source::Output => drop(self.copy_output(buffer)),
            Source::Input => self.console.flush_input(),
            Source::Terminal(owner) => self.console.serve(owner, flags, buffer),
            Source::Client(id) => self.hear_client(id),
            Source::Listener => self.accept(),
            Source::Signals => {
                if self.signals.next().is_some() {
                    self.stop();
                }
            }
            Source::Exit => self.vmm_ended(buffer),
        }
    }

    /// A VMM that is gone already needs no telling.
    fn tell_vmm(&self, message: &ToVmm, descriptor: Option<BorrowedFd<'_>>) {
        let _ = self.vmm.control.send(message, descriptor);
    }

    /// Has the VM end. One whose VMM does not listen, as one that waits for a page of its memory, is killed.
    fn stop(&mut self) {
        self.tell_vmm(&ToVmm::Stop, None);
        self.patience.get_or_insert_with(|| Instant::now() + PATIENCE);
    }

    fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    fn tell(&self, id: ClientId, message: &KeeperMessage, descriptor: Option<BorrowedFd<'_>>) {
        if let Some(client) = self.client(id) {
            client.tell(message, descriptor);
        }
    }

    /// Takes a new command in, and tells it where the VM is.
    fn admit(&mut self, channel: Channel) -> Option<ClientId> {
        if self.clients.len() >= MAX_CLIENTS || channel.set_nonblocking(true).is_err() {
            return None;
        }
        let client = Client { id: ClientId(self.next_client), channel };
        self.next_client += 1;
        if self.running {
            client.tell(&KeeperMessage::Started, None);
        }
        let id = client.id;
        self.clients.push(client);
        Some(id)
    }

    fn accept(&mut self) {
        if let Ok(socket) = rustix::net::accept_with(&self.listener, rustix::net::SocketFlags::CLOEXEC) {
            self.admit(Channel::from(socket));
        }
    }

    fn hear_client(&mut self, id: ClientId) {
        while let Some(client) = self.client(id) {
            match client.channel.receive() {
                Ok(Received::Message(message, descriptor)) => self.obey(id, &message, descriptor),
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => self.dismiss(id),
            }
        }
    }

    /// A command has left, or says what is not understood.
    fn dismiss(&mut self, id: ClientId) {
        self.clients.retain(|client| client.id != id);
        self.console.disconnect(id);
        if self.tied == Some(id) {
            self.stop();
        }
        self.thaw(id);
    }

    fn obey(&mut self, id: ClientId, message: &ClientMessage, descriptor: Option<OwnedFd>) {
        match (message, descriptor) {
            (ClientMessage::Console, Some(socket)) => {
                // One that cannot be used is closed, which says so.
                let _ = self.console.connect(id, socket, self.tied == Some(id));
            }
            (ClientMessage::Stop, _) => self.stop(),
            (ClientMessage::Freeze { difference }, Some(file)) => {
                self.freeze(id, file.as_fd(), *difference);
            }
            (ClientMessage::Thaw, _) => self.thaw(id),
            (ClientMessage::Console | ClientMessage::Freeze { .. }, None) => self.dismiss(id),
        }
    }

    fn freeze(&mut self, client: ClientId, file: BorrowedFd<'_>, difference: bool) {
        let name = &self.folder.name;
        let refusal = if self.freeze.is_some() {
            Some(format!("another command takes a snapshot of VM {name}; try again when that is done"))
        } else if self.end.is_some() || self.reason.is_some() {
            Some(format!("VM {name} has ended"))
        } else {
            let what = if difference { ToVmm::Difference } else { ToVmm::Snapshot };
            let asked = self.vmm.control.send(&what, Some(file));
            asked.err().map(|error| format!("the VMM of VM {name} does not answer: {error}"))
        };
        match refusal {
            Some(message) => self.tell(client, &KeeperMessage::Refused { message }, None),
            None => self.freeze = Some(Freeze { client, done: false }),
        }
    }

    /// The VMM has written the VM, or not.
    fn frozen(&mut self, error: Option<String>) {
        let Some(freeze) = &mut self.freeze else { return };
        freeze.done = true;
        let client = freeze.client;
        if let Some(message) = error {
            // It goes on by itself.
            self.freeze = None;
            self.tell(client, &KeeperMessage::Refused { message }, None);
        } else if self.client(client).is_none() {
            self.thaw(client);
        } else {
            for (index, disk) in &self.disks {
                self.tell(client, &KeeperMessage::Disk { index: *index }, Some(disk.as_fd()));
            }
            self.tell(client, &KeeperMessage::Frozen, None);
        }
    }

    /// Lets the VM go on if this command had it stand still.
    fn thaw(&mut self, client: ClientId) {
        // While the VMM is still at it, nothing is said: its answer finds the command gone.
        if self.freeze == Some(Freeze { client, done: true }) {
            self.freeze = None;
            self.tell_vmm(&ToVmm::Resume, None);
        }
    }

    /// The guest runs, as whoever waits for that is told.
    fn started(&mut self) {
        self.running = true;
        self.state.status = Status::Running;
        self.state.started_at = timestamp::now();
        self.folder.write_state(&self.state);
        for client in &self.clients {
            client.tell(&KeeperMessage::Started, None);
        }
    }

    fn hear_vmm(&mut self) {
        loop {
            match self.vmm.control.receive() {
                Ok(Received::Message(VmmMessage::Exit(reason), _)) => self.reason = Some(reason),
                Ok(Received::Message(VmmMessage::Snapshot { error }, _)) => self.frozen(error),
                // A plain VM has no vsock; a connection is closed, which refuses it.
                Ok(Received::Message(VmmMessage::Running { .. }, _)) => self.started(),
                Ok(Received::Message(VmmMessage::Connection { .. } | VmmMessage::Paused { .. }, _)) => {}
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => {
                    self.control_open = false;
                    return;
                }
            }
        }
    }

    /// Copies what the guest says; whether there may be more at once.
    fn copy_output(&mut self, buffer: &mut [u8]) -> bool {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.vmm.console, &mut *buffer)) {
            Ok(0) => self.console_open = false,
            Ok(count) => {
                self.console.show(&buffer[..count]);
                return true;
            }
            Err(rustix::io::Errno::AGAIN) => {}
            Err(_) => self.console_open = false,
        }
        false
    }

    fn vmm_ended(&mut self, buffer: &mut [u8]) {
        let how = self.vmm.process.reap();
        self.hear_vmm();
        let lost = || ExitReason::Failed { detail: format!("its VMM {how} without a word") };
        self.reason.get_or_insert_with(lost);
        self.end = Some(Instant::now() + LAST_WORDS);
        // At most a pipe's worth. What a command does not take at once stays in its backlog.
        while self.console_open && !self.console.is_blocked() && self.copy_output(buffer) {}
    }
}
