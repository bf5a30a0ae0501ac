//! The keeper of a shared VM: `hull internal shared-keeper`, started by the keeper of the first container in it (see [`super`]).
//!
//! It is the parent of the VMM, greets the agent, and plays a VMM and an agent to the keeper of each container: process numbers and
//! ports are translated, layers get their place on the layer disk, frames their card, and each is heard about its own container only.
//! It knows nothing of what runs. One thread, one poll loop, and one more for frames ([`switch`]).
//!
//! ```text
//! Booting ─ hello ─▶ Up ─ the last container has left ─▶ Closing ─ data disk written ─▶ Ending ─▶ gone
//!    └─────── anything wrong ──┴─────────────────────────────────────────────────▲
//! ```

mod hear;
mod member;
mod switch;

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd, RawFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use hull_protocol::{Extent, HostMessage, ProcessId};
use rustix::{
    event::{PollFd, PollFlags},
    net::SocketFlags,
};

use self::{
    member::{Member, MemberId, Progress},
    switch::Switch,
};
use super::{
    Hail, Plan,
    store::{Vms, has_containers},
};
use crate::{
    config::Name,
    container::{
        disk,
        error::{Error, Result},
        keeper::limits,
        machine::{self, Parts},
        state::Store,
        template::{Template, Templates},
    },
    vm::{
        detached, folder,
        keeper::{Limits, agent::Agent, outcome::Tail},
        launch::{self, Vmm},
        signals::Signals,
        wait,
    },
    vmm::{
        channel::{Channel, Received},
        control::{ExitReason, KeeperMessage as ToVmm, VmmMessage},
    },
};

/// Before the end of the VM is looked for again.
const PAUSE: Duration = Duration::from_millis(5);

/// Containers of one VM at once: the guest's layer disk has no more partitions, and each takes descriptors.
const MAX_MEMBERS: usize = 200;
/// Connections of which nobody has said what they are for.
const MAX_VISITORS: usize = 64;
/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// The VM's data disk, in its folder.
const DISK: &str = "data.img";

/// What the keeper's command line says.
#[derive(Debug)]
pub struct Arguments {
    /// The VM.
    pub name: Name,
    /// The connection to who started it.
    pub front_end: RawFd,
    /// The folder's lock.
    pub lock: RawFd,
    /// The VM may go on from a template.
    pub template: bool,
}

/// Keeps the VM until its last container has left.
///
/// # Errors
/// When it was not started by hull. What else goes wrong its containers are told.
pub fn run(arguments: Arguments) -> Result<()> {
    let inherited = detached::inherit(arguments.front_end, arguments.lock);
    let (first, lock) = inherited
        .map_err(|error| Error::Keeper(format!("of a VM is started by hull, not by people: {error}")))?;
    let first = Channel::from(first);
    let name = arguments.name;
    match Keeper::start(name.clone(), arguments.template) {
        Ok(mut keeper) => {
            keeper.welcome(first);
            keeper.run();
        }
        Err(error) => refuse(&first, &error.to_string()),
    }
    drop(lock);
    if let Ok(store) = Store::open() {
        Vms::open().sweep(&name, &store);
    }
    Ok(())
}

/// Tells whoever waits for the VM why there is none.
fn refuse(channel: &Channel, error: &str) {
    // Held until the reason is there to be read.
    let pipe = match channel.receive::<Hail>() {
        Ok(Received::Message(_, pipe)) => pipe,
        _ => None,
    };
    let reason = ExitReason::Failed { detail: error.to_owned() };
    let _ = channel.send(&VmmMessage::Exit(reason), None);
    drop(pipe);
}

/// How far the VM is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Booting,
    Up,
    Closing,
    Ending,
    Gone,
}

/// Whom the keeper hears from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Vmm,
    Console,
    Agent,
    Member(MemberId),
    Link(MemberId),
    Visitor(usize),
    Listener,
    Signals,
    Exit,
}

struct Keeper {
    name: Name,
    vms: Vms,
    plan: Plan,
    limits: Limits,
    template: Option<Template>,
    vmm: Vmm,
    control_open: bool,
    console_open: bool,
    console: Tail,
    agent: Option<Agent>,
    stage: Stage,
    deadline: Option<Instant>,
    /// When the end of the VM, which others kept it from, is looked for again.
    look_again: Option<Instant>,
    reason: Option<ExitReason>,
    listener: Option<OwnedFd>,
    signals: Signals,
    visitors: Vec<Channel>,
    members: Vec<Member>,
    next_member: u64,
    /// The layers on the layer disk, by the file that each is.
    layers: HashMap<(u64, u64), Extent>,
    layers_end: u64,
    /// Whose a process is, by the guest's number.
    processes: HashMap<ProcessId, MemberId>,
    next_process: ProcessId,
    /// Who waits for the agent to set limits, in that order.
    limiting: VecDeque<MemberId>,
    /// Containers whose layers are being removed.
    forgetting: HashMap<ProcessId, String>,
    switch: Switch,
    /// When the VMM and the guest were there, for who comes.
    started: (u64, u64),
}

impl Keeper {
    fn start(name: Name, template: bool) -> Result<Self> {
        let failed = |error: io::Error| Error::Keeper(format!("of VM {name} cannot prepare: {error}"));
        let signals = Signals::take(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]).map_err(failed)?;
        let vms = Vms::open();
        let folder = vms.folder(&name);
        let plan = Plan::of(&name)?;
        let newborn = machine::begin(plan.size)?;
        let path = folder.join(DISK);
        if !path.exists() {
            disk::make_empty(&path)?;
        }
        let data_disk = File::options().read(true).write(true).open(&path);
        let data_disk = data_disk.map_err(Error::file("cannot open", &path))?;
        let template = template.then(|| Templates::open().find_for(&plan.purpose(), &data_disk)).flatten();
        let snapshot = template.as_ref().map(|template| template.snapshot.try_clone()).transpose();
        let machine = machine::describe(Parts {
            layers: Vec::new(),
            data_disk,
            snapshot: snapshot.map_err(failed)?,
            roots: Vec::new(),
            console: newborn.console(),
        })?;
        let vmm = newborn.configure(&machine.config, machine.descriptors).map_err(machine::not_started)?;
        let (switch, card) = Switch::start().map_err(failed)?;
        let network = ToVmm::Network { place: 0, addresses: Vec::new(), checksums: false };
        vmm.control.send(&network, Some(card.as_fd())).map_err(failed)?;
        let listener = folder::listen(&folder).map_err(failed)?;
        if let Some(template) = &template {
            template.read_ahead();
        }
        let limits = limits();
        let deadline = Some(Instant::now() + limits.boot);
        Ok(Self {
            name,
            vms,
            plan,
            limits,
            template,
            vmm,
            control_open: true,
            console_open: true,
            console: Tail::default(),
            agent: None,
            stage: Stage::Booting,
            deadline,
            look_again: None,
            reason: None,
            listener: Some(listener),
            signals,
            visitors: Vec::new(),
            members: Vec::new(),
            next_member: 0,
            layers: HashMap::new(),
            layers_end: 0,
            processes: HashMap::new(),
            next_process: 1,
            limiting: VecDeque::new(),
            forgetting: HashMap::new(),
            switch,
            started: (0, 0),
        })
    }

    fn folder(&self) -> PathBuf {
        self.vms.folder(&self.name)
    }

    fn run(mut self) {
        let mut buffer = vec![0; CHUNK];
        while self.stage != Stage::Gone {
            for (source, flags) in self.wait() {
                self.handle(source, flags, &mut buffer);
            }
            if self.deadline.is_some_and(|at| at <= Instant::now()) {
                self.overdue();
            }
            self.look_for_end();
        }
        folder::stop_listening(&self.folder());
        if let Some(reason) = &self.reason {
            for member in &self.members {
                member.tell(&VmmMessage::Exit(reason.clone()), None);
            }
            self.members.drain(..).for_each(Member::over);
            if *reason != ExitReason::Stopped {
                let _ = std::fs::write(self.folder().join("console"), self.console.text());
            }
        }
    }

    /// Waits until something happens.
    fn wait(&mut self) -> Vec<(Source, PollFlags)> {
        let end = self.deadline.into_iter().chain(self.look_again.take()).min();
        let mut sources: Vec<(Source, PollFd<'_>)> = Vec::new();
        let mut add = |source, descriptor, waiting: bool| {
            let flags = if waiting { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            sources.push((source, PollFd::from_borrowed_fd(descriptor, flags)));
        };
        if self.control_open {
            add(Source::Vmm, self.vmm.control.as_fd(), false);
        }
        if self.console_open {
            add(Source::Console, self.vmm.console.as_fd(), false);
        }
        if let Some(agent) = &self.agent {
            let (descriptor, waiting) = agent.descriptor();
            add(Source::Agent, descriptor, waiting);
        }
        for member in &self.members {
            if let Some(channel) = &member.channel {
                add(Source::Member(member.id), channel.as_fd(), false);
            }
            if let Some(link) = &member.link {
                let (descriptor, waiting) = link.descriptor();
                add(Source::Link(member.id), descriptor, waiting);
            }
        }
        for (place, visitor) in self.visitors.iter().enumerate().rev() {
            add(Source::Visitor(place), visitor.as_fd(), false);
        }
        if let Some(listener) = &self.listener {
            add(Source::Listener, listener.as_fd(), false);
        }
        add(Source::Signals, self.signals.as_fd(), false);
        // Last: by then everything that the VMM sent before its end is read.
        add(Source::Exit, self.vmm.process.exit(), false);
        wait::wait(sources, end)
    }

    fn handle(&mut self, source: Source, flags: PollFlags, buffer: &mut [u8]) {
        match source {
            Source::Vmm => self.hear_vmm(),
            Source::Console => match rustix::io::read(&self.vmm.console, &mut *buffer) {
                Ok(0) => self.console_open = false,
                Ok(count) => self.console.push(&buffer[..count]),
                Err(_) => {}
            },
            Source::Agent => self.read_agent(buffer),
            Source::Member(id) => self.read_member(id),
            Source::Link(id) => self.read_link(id, flags, buffer),
            Source::Visitor(place) => self.hear_visitor(place),
            Source::Listener => self.accept(),
            Source::Signals => {
                if self.signals.next().is_some() {
                    // Somebody wants the VM to end, whatever runs in it.
                    self.close();
                }
            }
            Source::Exit => {
                self.hear_vmm();
                let how = self.vmm.process.reap();
                if self.stage < Stage::Closing && how != launch::Exit::Killed {
                    let lost = || ExitReason::Failed { detail: format!("the VMM {how}") };
                    self.reason.get_or_insert_with(lost);
                } else if self.stage >= Stage::Closing {
                    self.reason = Some(ExitReason::Stopped);
                }
                self.stage = Stage::Gone;
            }
        }
    }

    fn accept(&mut self) {
        while let Some(listener) = &self.listener
            && let Ok(socket) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC)
        {
            self.welcome(Channel::from(socket));
        }
    }

    /// Listens to what somebody has come for.
    fn welcome(&mut self, channel: Channel) {
        if self.visitors.len() < MAX_VISITORS && channel.set_nonblocking(true).is_ok() {
            self.visitors.push(channel);
        }
    }

    fn hear_visitor(&mut self, place: usize) {
        match self.visitors[place].receive() {
            Ok(Received::Nothing) => {}
            Ok(Received::Message(Hail::Join { container }, Some(exit))) => {
                let channel = self.visitors.remove(place);
                self.admit(container, channel, exit);
            }
            Ok(Received::Message(Hail::Sweep, _)) => {
                self.visitors.remove(place);
                self.forget_removed();
            }
            Ok(Received::Message(Hail::Join { .. }, None) | Received::Closed) | Err(_) => {
                self.visitors.remove(place);
            }
        }
    }

    /// Takes a container in.
    fn admit(&mut self, container: String, channel: Channel, exit: OwnedFd) {
        // What is left of an earlier run of it is about to be over; its keeper holds its lock, so there is one at most.
        let crowded = self.members.len() >= MAX_MEMBERS;
        if crowded || self.stage > Stage::Up {
            let detail = if crowded {
                format!("VM {} has {MAX_MEMBERS} containers already", self.name)
            } else {
                format!("VM {} ends", self.name)
            };
            let _ = channel.send(&VmmMessage::Exit(ExitReason::Failed { detail }), None);
            return;
        }
        let id = MemberId(self.next_member);
        self.next_member += 1;
        let member = Member::new(id, container, channel, exit);
        if self.stage == Stage::Up {
            member.tell(&self.running(), None);
        }
        self.members.push(member);
    }

    /// What a container's keeper is told when the VM is up.
    fn running(&self) -> VmmMessage {
        let (started_ns, first_run_ns) = self.started;
        VmmMessage::Running { started_ns, first_run_ns }
    }

    /// The agent was greeted: containers can be started.
    fn up(&mut self) {
        self.stage = Stage::Up;
        self.deadline = None;
        for member in &self.members {
            member.tell(&self.running(), None);
        }
        self.forget_removed();
    }

    /// Has the layers removed of containers that are no more.
    fn forget_removed(&mut self) {
        if self.stage != Stage::Up {
            return;
        }
        let forgotten = self.vms.forgotten(&self.name);
        if forgotten.is_empty() {
            return;
        }
        let Ok(store) = Store::open() else { return };
        if self.members.is_empty() && !has_containers(&self.name, &store) {
            // The disk goes, with all that is on it.
            return;
        }
        for container in forgotten {
            let known = |known: &String| *known == *container.as_str();
            let runs = |member: &Member| known(&member.container) && member.progress != Progress::Ended;
            let used = self.members.iter().any(runs);
            // One whose removal did not come to its end may be started again.
            let exists = store.containers().join(container.as_str()).join("config.json").exists();
            if used || exists || self.forgetting.values().any(known) {
                continue;
            }
            let process_id = self.next_process();
            self.forgetting.insert(process_id, container.to_string());
            self.tell_agent(&HostMessage::Forget { process_id, container: container.to_string() });
        }
    }

    /// A number that no process of the guest had yet.
    fn next_process(&mut self) -> ProcessId {
        let next = self.next_process;
        // Ports are counted by it: there are a quarter as many as there are numbers.
        self.next_process = next + 1;
        next
    }

    /// Ends the VM when nobody is in it any more.
    fn look_for_end(&mut self) {
        if self.stage > Stage::Up || !self.visitors.is_empty() || !self.forgetting.is_empty() {
            return;
        }
        // Those whose keepers are gone do not keep it.
        if self.members.iter().any(|member| member.channel.is_some()) {
            return;
        }
        // Who holds it may be waiting for this keeper to accept a connection.
        let Ok(Some(_entering)) = self.vms.try_lock() else {
            self.look_again = Some(Instant::now() + PAUSE);
            return;
        };
        self.accept();
        if self.visitors.is_empty() {
            // From here on whoever comes waits for the next one.
            self.listener = None;
            folder::stop_listening(&self.folder());
            self.close();
        }
    }

    /// Has the agent end everything and write the data disk.
    fn close(&mut self) {
        if self.stage >= Stage::Closing {
            return;
        }
        if self.stage == Stage::Booting || self.agent.is_none() {
            return self.end();
        }
        self.stage = Stage::Closing;
        self.deadline = Some(Instant::now() + self.limits.shutdown);
        self.tell_agent(&HostMessage::Shutdown);
    }

    /// Ends the VMM.
    fn end(&mut self) {
        if self.stage < Stage::Ending {
            self.stage = Stage::Ending;
            self.deadline = Some(Instant::now() + self.limits.exit);
            if self.vmm.control.send(&ToVmm::Stop, None).is_err() {
                self.vmm.process.kill();
            }
        }
    }

    /// The VM cannot go on.
    fn fail(&mut self, detail: String) {
        self.reason.get_or_insert(ExitReason::Failed { detail });
        self.vmm.process.kill();
    }

    fn overdue(&mut self) {
        self.deadline = None;
        match self.stage {
            Stage::Booting => {
                let seconds = self.limits.boot.as_secs_f32();
                self.fail(format!("the guest did not come up within {seconds} s"));
            }
            Stage::Up | Stage::Gone => {}
            Stage::Closing => self.end(),
            Stage::Ending => self.vmm.process.kill(),
        }
    }
}
