//! The agent: one thread, one loop, the host's requests and what becomes of them.

mod connect;
mod rest;
mod shared;

use std::time::Duration;

use hull_protocol::{
    AgentMessage, Container as ContainerRequest, ExitStatus, HostMessage, Image, Limits, Process, ProcessId,
    Signal, Stdio as Ports, Tool,
};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    fs::{self, CWD, Mode, OFlags, Uid},
    io::Errno,
    process::{PidfdFlags, getpid, pidfd_open},
    thread,
    time::Timespec,
};

use self::shared::{Ready, Remains};
use crate::{
    cgroup::{self, Cgroup, Cgroups},
    child::{Child, Files},
    container::{self, Container},
    control::{Control, Incoming},
    failure::Failure,
    host::Host,
    layers::Layers,
    memory::Memory,
    network::Card,
    parked::{Parked, Parts},
    populate, power, process,
    rootfs::{self, DataDisk, Root},
    skeleton::Skeleton,
    spare::SpareRoot,
    stdio::Stdio,
    step::{Handed, Step},
    sys, system,
    task::Task,
    trash::Trash,
    user::User,
    user_namespace::UserNamespace,
    views::Views,
    wake,
};

/// Where the guest's things are.
pub struct Place {
    /// The host.
    pub host: Host,
    /// Device file of the layer disk.
    pub layer_disk: String,
    /// Device file of the data disk.
    pub data_disk: String,
}

/// The agent's own program, which is also the init of `--init`.
const PROGRAM: &str = "/init";

/// The tool for the files of containers.
const TOOL: &str = "/tool";

/// How long processes may take to die at a shutdown, and how long the data disk to become free.
const SHUTDOWN_NS: u64 = 5_000_000_000;

/// How long the host may take to end the VM after a shutdown, before the guest resets itself.
const AWAIT_END: Duration = Duration::from_secs(5);

/// How long after a start what comes next is prepared, if there is anything: first it is the turn of what was started, and of one that
/// ends at once, which would wait for the agent.
const LATER_NS: u64 = 1_000_000_000;
/// And how long after an end: whoever waited for it may ask for the next.
const PAUSE_NS: u64 = 300_000_000;

/// Events taken at once.
const EVENTS: usize = 16;

/// An epoll token: a task's slot and one of these, or [`CONTROL`] or [`MEMORY`]. The numbers of its streams come first.
const EXIT: u64 = 3;
const NEWS: u64 = 4;
const KINDS: u64 = 8;
const CONTROL: u64 = u64::MAX;
const MEMORY: u64 = u64::MAX - 1;

fn token(slot: usize, kind: u64) -> u64 {
    slot as u64 * KINDS + kind
}

/// All that the agent knows.
pub struct Agent {
    host: Host,
    control: Control,
    epoll: OwnedFd,
    layers: Layers,
    data: DataDisk,
    /// What is to be removed from it.
    trash: Trash,
    cgroups: Cgroups,
    parked: Option<Parked>,
    /// The next container's root, if its image is known.
    spare: Option<SpareRoot>,
    /// Whether a container has, or had, the guest's network: the first one in a guest, which most often is the only one. Nothing else
    /// here has a use for it, and a namespace takes as long to make as half of everything else. What is left in it is not
    /// for another container.
    network_given: bool,
    /// Several containers share the guest.
    is_shared: bool,
    containers: Vec<Container>,
    /// More of what is ready for the next, where several containers share the guest.
    stock: Vec<Ready>,
    /// What is left of containers that are over, where others go on.
    remains: Vec<Remains>,
    tasks: Vec<Option<Task>>,
    views: Views,
    memory: Memory,
    card: Card,
    /// Processes killed for want of memory anywhere in the guest, as of the last look.
    oom_kills: u64,
    /// When a shutdown that is under way gives up waiting.
    stopping: Option<u64>,
    /// What is yet to be done for the first container while nobody asks for one.
    preparations: &'static [Preparation],
    /// When to begin with that.
    prepare_at: u64,
    /// What the next container will be made of, as far as can be foreseen.
    next_image: Option<Image>,
    /// This guest may be a copy, and has nothing of its own yet.
    asleep: bool,
}

/// Something that every container needs, and most need alike.
#[derive(Clone, Copy)]
enum Preparation {
    /// Namespaces, and what is mounted in them.
    Namespaces,
    /// The disk of its writable layer.
    DataDisk,
    /// The card, as it will most likely be.
    Network,
    /// The next container's own card, and its root.
    Card,
    Root,
    /// More than one.
    Stock,
}

fn watch(epoll: &OwnedFd, control: &Control) -> rustix::io::Result<()> {
    epoll::add(epoll, control.socket(), EventData::new_u64(CONTROL), EventFlags::IN)
}

impl Agent {
    /// Connects to the host.
    pub fn new(place: Place, first_instruction_ns: u64) -> Self {
        let control = Control::open(&place.host, first_instruction_ns);
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .and_then(|epoll| watch(&epoll, &control).map(|()| epoll))
            .unwrap_or_else(|error| control.fatal(&format!("cannot wait for events: {error}")));
        Self {
            host: place.host,
            control,
            epoll,
            layers: Layers::new(place.layer_disk),
            data: DataDisk::new(place.data_disk),
            trash: Trash::default(),
            cgroups: Cgroups::default(),
            parked: None,
            spare: None,
            network_given: false,
            is_shared: false,
            containers: Vec::new(),
            stock: Vec::new(),
            remains: Vec::new(),
            tasks: Vec::new(),
            views: Views::default(),
            memory: Memory::default(),
            card: Card::default(),
            oom_kills: 0,
            stopping: None,
            preparations: &[Preparation::Namespaces, Preparation::Network, Preparation::DataDisk],
            prepare_at: 0,
            next_image: None,
            asleep: false,
        }
    }

    /// Serves the host until the end.
    pub fn run(mut self) -> ! {
        // What was killed before is no container's.
        self.oom_kills = self.guest_oom_kills();
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => self.control.fatal(&format!("cannot wait for events: {error}")),
            }
            if events.is_empty() && self.may_prepare() && sys::monotonic() >= self.prepare_at {
                self.prepare();
            }
            self.tidy();
            for event in events.drain(..) {
                match event.data.u64() {
                    CONTROL => self.listen(),
                    MEMORY => self.ask_for_memory(),
                    token => self.attend((token / KINDS) as usize, token % KINDS),
                }
            }
            self.memory.look(sys::monotonic(), &self.epoll, MEMORY);
            self.settle();
        }
    }

    /// A container needs more memory than there is soon.
    fn ask_for_memory(&mut self) {
        if let Some(wanted) = self.memory.pressed(sys::monotonic(), &self.epoll) {
            self.control.send(&AgentMessage::Memory { wanted });
        }
    }

    /// Whether there is something to prepare, and nothing that somebody waits for.
    fn may_prepare(&self) -> bool {
        let starts = |task: &Task| task.news().is_some() && !self.trash.is_emptied_by(task.id);
        !self.preparations.is_empty() && !self.tasks.iter().flatten().any(starts)
    }

    /// Does the next thing that a container will need. If it fails, so will the request that needs it, and say why.
    fn prepare(&mut self) {
        let Some((preparation, rest)) = self.preparations.split_first() else { return };
        self.preparations = rest;
        match preparation {
            Preparation::Namespaces if self.parked.is_none() => {
                self.parked = self.park(Skeleton::default()).ok();
            }
            Preparation::DataDisk => {
                // The namespace that it makes is not to have a copy of the mount, which would outlive the mount itself.
                if let Some(parked) = &self.parked {
                    parked.settle();
                }
                drop(self.data.mount());
            }
            Preparation::Namespaces => {}
            Preparation::Network => self.card.prepare(),
            Preparation::Card => self.prepare_card(),
            Preparation::Root => self.prepare_root(),
            Preparation::Stock => self.fill_stock(),
        }
    }

    /// Until when to wait for events.
    fn timeout(&self) -> Option<Timespec> {
        let tasks = self.tasks.iter().flatten().filter_map(Task::deadline);
        let preparation = self.may_prepare().then_some(self.prepare_at);
        let own = self.stopping.into_iter().chain(self.memory.deadline()).chain(self.tidy_at());
        let deadline = tasks.chain(own).chain(preparation).min()?;
        let wait = deadline.saturating_sub(sys::monotonic());
        if wait == 0 {
            return Some(Timespec::default());
        }
        // Rounded up: epoll counts in milliseconds, and too early would be at once again.
        let wait = wait + 1_000_000;
        Some(Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 })
    }

    /// Takes what the host sent.
    fn listen(&mut self) {
        loop {
            match self.control.receive() {
                Incoming::Message(message) => self.obey(*message),
                Incoming::Nothing => return,
                Incoming::End => power::sync_and_reset(),
            }
        }
    }

    fn obey(&mut self, message: HostMessage) {
        if self.asleep && !matches!(message, HostMessage::Hello { .. } | HostMessage::Wake { .. }) {
            self.control.fatal("the host did not wake this copy of a guest before it asked something of it");
        }
        let (process_id, result) = match message {
            HostMessage::Hello { .. } => return,
            HostMessage::Run { process_id, container, process, stdio } => {
                (process_id, self.run_container(process_id, &container, process, stdio))
            }
            HostMessage::Exec { process_id, first, process, stdio } => {
                (process_id, self.execute(process_id, first, process, stdio))
            }
            HostMessage::Signal { process_id, signal } => {
                let signal = self.translate(process_id, signal);
                if let Some(task) = self.task(process_id) {
                    task.signal(signal);
                }
                return;
            }
            HostMessage::Resize { process_id, size } => {
                if let Some(task) = self.task(process_id) {
                    task.stdio.resize(size);
                }
                return;
            }
            HostMessage::Limit { process_id, limits } => {
                let error = self.limit(process_id, &limits).err().map(|failure| failure.message);
                return self.control.send(&AgentMessage::Limited { error });
            }
            HostMessage::Freeze { process_id, frozen } => return self.freeze(process_id, frozen),
            HostMessage::Forget { process_id, container } => {
                (process_id, self.forget_container(process_id, &container))
            }
            HostMessage::Rest { image } => return self.rest(image.as_ref()),
            HostMessage::Wake { seed, realtime_ns } => {
                self.asleep = false;
                return wake::wake(&seed, realtime_ns).unwrap_or_else(|error| self.control.fatal(&error));
            }
            HostMessage::Suspend => return self.suspend(),
            HostMessage::Reopen { process_id, stdio, renaming, networks } => {
                return self.reopen(process_id, stdio, renaming.as_ref(), &networks);
            }
            HostMessage::Networks { process_id, networks, files } => {
                let error = self.connect(process_id, &networks, &files).err().map(|failure| failure.message);
                return self.control.send(&AgentMessage::Connected { error });
            }
            HostMessage::Shutdown => return self.begin_shutdown(),
        };
        if let Err(Failure { kind, message }) = result {
            self.control.send(&AgentMessage::Failed { process_id, kind, message });
        }
    }

    /// Gives a container that runs other limits.
    fn limit(&mut self, first: ProcessId, limits: &Limits) -> Result<(), Failure> {
        let found = self.containers.iter_mut().find(|known| known.init == first);
        let container = found.ok_or_else(|| Failure::invalid("the container is not running"))?;
        if let Some(most) = limits.guest_memory {
            // Before the limit: what it may use is to be able to come.
            self.cgroups.switch_on("memory")?;
            self.memory.allow(most);
            let watched = self.memory.watch(container.cgroup(), &self.epoll, MEMORY);
            watched.map_err(|error| Failure::internal("cannot watch the container's memory", error))?;
        }
        container.has_memory_limit |= limits.memory.is_some();
        self.cgroups.limit(container.cgroup(), limits)
    }

    /// The signal that a process understands, if it is the init of a whole system.
    fn translate(&mut self, id: ProcessId, signal: Signal) -> Signal {
        let Some(pid) = self.task(id).map(Task::pid) else { return signal };
        let mut systems = self.containers.iter_mut().filter(|container| container.init == id);
        match systems.find_map(|container| container.system.as_mut()) {
            Some(system) => {
                // Without it the name is not known, and that of most inits is not.
                let _ = self.views.need_proc();
                system.translate(signal, &system::program(pid))
            }
            None => signal,
        }
    }

    fn task(&self, id: ProcessId) -> Option<&Task> {
        self.tasks.iter().flatten().find(|task| task.id == id)
    }

    /// Refuses what cannot be started now, whatever it is.
    fn check_start(&self, id: ProcessId, process: &Process) -> Result<(), Failure> {
        if self.stopping.is_some() {
            return Err(Failure::invalid("the VM is shutting down"));
        }
        if self.task(id).is_some() {
            return Err(Failure::invalid(format!("there is a process {id} already")));
        }
        process::check(process)
    }

    fn run_container(
        &mut self,
        id: ProcessId,
        request: &ContainerRequest,
        process: Box<Process>,
        ports: Ports,
    ) -> Result<(), Failure> {
        self.check_start(id, &process)?;
        container::check_id(&request.id)?;
        // From here on it has its time for itself.
        self.preparations = &[];
        if self.containers.iter().any(|container| container.id == request.id) {
            return Err(Failure::invalid(format!("container {} is running already", request.id)));
        }
        if self.layers.crowded(request.layers.len()) {
            // It has copies of the mounts there were when it was made, and would keep unused layers from making way.
            self.parked = None;
            self.clear_stock();
        }
        if request.shared {
            self.share(request.limits.guest_memory)?;
            self.take_from_stock();
        }
        let skeleton = self.skeleton(request)?;
        let takes_network = skeleton.has_guest_network();
        let mut parked = self.parked_for(skeleton)?;
        let mut card = None;
        if request.shared {
            self.give_devices(&parked, request)?;
            card = self.own_card(&mut parked, request)?;
        } else if !request.networks.is_empty() {
            self.card.join(&request.networks)?;
        }
        // First, while the child is busy: to switch a controller on, the kernel waits for all CPUs.
        if request.system {
            self.cgroups.switch_all_on()?;
        }
        if let Some(group) = parked.cgroup()
            && (request.system || request.privileged)
        {
            let bounded = group.delegate();
            bounded.map_err(|error| Failure::internal("cannot bound the container's cgroups", error))?;
        }
        parked.limit(&request.limits, &process.rlimits, &mut self.cgroups)?;
        self.let_grow(&parked, request.limits.guest_memory)?;
        // Where several share the guest it may be one that is started again, and has its own.
        let has_layer = self.is_shared && rootfs::has_layer(&request.id);
        let root = match self.spare.take() {
            Some(spare) if !has_layer && spare.fits(request) => spare.claim(&request.id, &mut self.layers)?,
            unfit => {
                unfit.into_iter().for_each(|spare| spare.release(&mut self.layers));
                Root::build(request, &mut self.layers, &mut self.data, parked.user_namespace())?
            }
        };
        let populated = populate::populate(&request.mounts, root.mount.as_fd());
        let next = self.is_shared.then(|| shared::image(request, &process));
        let started = populated
            .and_then(|()| self.start_container(id, request, process, ports, parked, root.mount.as_fd()));
        match started {
            Ok((task, cgroup, user_namespace)) => {
                self.network_given |= takes_network;
                self.containers.push(Container::new(request, id, root, cgroup, user_namespace, card));
                self.admit(task);
                self.foresee(next);
                Ok(())
            }
            Err(failure) => {
                root.release(&mut self.layers);
                card.into_iter().for_each(Card::remove);
                Err(failure)
            }
        }
    }

    /// Has the guest grow with what this container needs, up to `most` bytes.
    fn let_grow(&mut self, parked: &Parked, most: Option<u64>) -> Result<(), Failure> {
        if self.is_shared {
            return Ok(());
        }
        if let Some((most, group)) = most.zip(parked.cgroup()) {
            self.cgroups.switch_on("memory")?;
            self.memory.allow(most);
            let watched = self.memory.watch(group, &self.epoll, MEMORY);
            watched.map_err(|error| Failure::internal("cannot watch the container's memory", error))?;
        }
        Ok(())
    }

    fn start_container(
        &mut self,
        id: ProcessId,
        request: &ContainerRequest,
        process: Box<Process>,
        ports: Ports,
        parked: Parked,
        root: BorrowedFd<'_>,
    ) -> Result<(Task, Cgroup, Option<UserNamespace>), Failure> {
        let user = container::resolve_user(root, &process)?;
        let steps = container::first_process(request, &process, &user)?;
        let owner = outside(parked.user_namespace(), &user);
        let (stdio, ends) = Stdio::open(&self.host, ports, process.terminal.is_some(), owner)?;
        let program = open_program(&process)?;
        let mut files = ends.files();
        files.push((Handed::Root, root));
        files.extend(program.as_ref().map(|file| (Handed::Init, file.as_fd())));
        let (Parts { child, pidfd, cgroup }, user_namespace) = parked.go(steps, &files)?;
        let task = Task::new(id, request.id.clone(), process, stdio, child, pidfd);
        Ok((task, cgroup, user_namespace))
    }

    /// An empty container of this kind: the one that is ready, or a new one.
    fn parked_for(&mut self, skeleton: Skeleton) -> Result<Parked, Failure> {
        match self.parked.take() {
            Some(parked) if parked.fits(&skeleton) => Ok(parked),
            other => {
                drop(other);
                self.park(skeleton)
            }
        }
    }

    fn park(&mut self, mut skeleton: Skeleton) -> Result<Parked, Failure> {
        if (self.network_given || self.is_shared) && skeleton.has_guest_network() {
            skeleton.separate_network();
        }
        match skeleton.network_of() {
            Some(pidfd) => self.park_in_network(pidfd, skeleton),
            None => Parked::make(skeleton, &mut self.cgroups, &mut self.views),
        }
    }

    fn execute(
        &mut self,
        id: ProcessId,
        first: ProcessId,
        mut process: Box<Process>,
        ports: Ports,
    ) -> Result<(), Failure> {
        self.check_start(id, &process)?;
        let found = self.containers.iter().find(|known| known.init == first);
        let init = self.task(first).filter(|init| init.status().is_none());
        let (found, init) =
            found.zip(init).ok_or_else(|| Failure::invalid("the container is not running"))?;
        if process.tool == Some(Tool::Beside) {
            process.args.extend(found.told());
            let (stdio, ends) = Stdio::open(&self.host, ports, false, Uid::ROOT)?;
            let program = open_program(&process)?;
            let mut files = ends.files();
            files.extend(program.as_ref().map(|file| (Handed::Init, file.as_fd())));
            let started = Child::start(0, Cgroups::top()?.as_fd(), container::tool_beside(&process)?, &files);
            let (child, pidfd) = started.map_err(|error| Failure::internal("cannot start a tool", error))?;
            let container = found.id.clone();
            self.admit(Task::new(id, container, process, stdio, child, pidfd));
            return Ok(());
        }
        let user = container::resolve_user(found.root(), &process)?;
        let (pidfd, first_pid) = (init.pidfd().as_raw_fd(), init.pid());
        let namespace = found.user_namespace();
        let steps = container::further_process(pidfd, namespace.is_some(), &process, &user)?;
        let owner = outside(namespace, &user);
        let (stdio, ends) = Stdio::open(&self.host, ports, process.terminal.is_some(), owner)?;
        let program = open_program(&process)?;
        let mut files = ends.files();
        files.extend(program.as_ref().map(|file| (Handed::Init, file.as_fd())));
        // What the host wants of the container is not on the container's account.
        let top = process.tool.map(|_| Cgroups::top()).transpose()?;
        let cgroup = top.as_ref().map_or(found.cgroup().directory(), AsFd::as_fd);
        let divided = match &top {
            None if found.has_own_tree => {
                self.views.need_proc()?;
                Some(system::cgroup_of(first_pid, found.cgroup())?)
            }
            _ => None,
        };
        let cgroup = divided.as_ref().map_or(cgroup, AsFd::as_fd);
        let (child, pidfd) = self.start_inside(pidfd, cgroup, steps, &files)?;
        let container = found.id.clone();
        self.admit(Task::new(id, container, process, stdio, child, pidfd));
        Ok(())
    }

    /// Makes a child in the PID namespace of the process behind `init`. Only children enter a PID namespace, so the agent
    /// says for a moment that its own are born there.
    fn start_inside(
        &self,
        init: RawFd,
        cgroup: BorrowedFd<'_>,
        steps: Vec<Step>,
        files: &Files<'_>,
    ) -> Result<(Child, OwnedFd), Failure> {
        let fail = |error| Failure::internal("cannot enter the container", error);
        let own = pidfd_open(getpid(), PidfdFlags::empty()).map_err(fail)?;
        sys::enter_namespaces(init, libc::CLONE_NEWPID).map_err(fail)?;
        let child = Child::start(0, cgroup, steps, files);
        if let Err(error) = sys::enter_namespaces(own.as_raw_fd(), libc::CLONE_NEWPID) {
            self.control.fatal(&format!("cannot leave a container's PID namespace: {error}"));
        }
        child.map_err(fail)
    }

    /// Takes a task in that is being started.
    fn admit(&mut self, task: Task) {
        let slot = match self.tasks.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.tasks.push(None);
                self.tasks.len() - 1
            }
        };
        let watch = |file: &OwnedFd, kind| {
            epoll::add(&self.epoll, file, EventData::new_u64(token(slot, kind)), EventFlags::IN)
        };
        let watched =
            watch(task.pidfd(), EXIT).and_then(|()| task.news().map_or(Ok(()), |news| watch(news, NEWS)));
        if let Err(error) = watched {
            self.control.fatal(&format!("cannot watch a process: {error}"));
        }
        self.tasks[slot] = Some(task);
    }

    /// Sees to what happened to a task.
    fn attend(&mut self, slot: usize, kind: u64) {
        let Some(task) = self.tasks.get_mut(slot).and_then(Option::as_mut) else { return };
        let moved = match kind {
            // A process that ended at once has been started before, and what it wrote is there.
            EXIT | NEWS => {
                let mut watched = Ok(());
                if task.follow_start() {
                    self.prepare_at = sys::monotonic() + LATER_NS;
                    self.control.send(&task.started_message());
                    watched = task.stdio.watch(&self.epoll, |stream| token(slot, stream as u64));
                }
                if kind == EXIT {
                    task.reap(sys::monotonic());
                    for stream in [1, 2] {
                        let drained = task.stdio.run(stream, &self.epoll, token(slot, stream as u64));
                        watched = watched.and(drained.map(drop));
                    }
                    if !task.stdio.is_drained() {
                        // It stays readable. Most often there is nothing left to wait for, and the descriptor is closed at once.
                        watched = watched.and(epoll::delete(&self.epoll, task.pidfd()));
                    }
                }
                watched.map(|()| false)
            }
            stream => task.stdio.run(stream as usize, &self.epoll, token(slot, stream)),
        };
        match moved {
            Ok(true) if task.status().is_some() => task.heard(sys::monotonic()),
            Ok(_) => {}
            Err(error) => self.control.fatal(&format!("cannot watch a stream: {error}")),
        }
    }

    /// Parts with tasks that are over and containers without tasks, and goes on with a shutdown.
    fn settle(&mut self) {
        let ended = |task: &Task| task.status().is_some();
        if !self.tasks.iter().flatten().any(ended) && self.stopping.is_none() {
            return;
        }
        let now = sys::monotonic();
        for slot in 0..self.tasks.len() {
            let Some(mut task) = self.tasks[slot].take_if(|task| task.is_over(now)) else { continue };
            let oom_killed = self.was_oom_killed(&task);
            let found = self.containers.iter().find(|container| container.init == task.id);
            if let Some(system) = found.and_then(|container| container.system.as_ref()) {
                task.judge(|status| system.ending(status));
            }
            let last = task.last_message(oom_killed);
            if self.trash.is_emptied_by(task.id) {
                self.trash_emptied(&last);
            }
            self.control.send(&last);
            self.prepare_at = self.prepare_at.max(now + PAUSE_NS);
            let id = std::mem::take(&mut task.container);
            let network = task.take_network();
            drop(task);
            self.part_with(&id, network);
        }
        if self.stopping.is_some_and(|deadline| self.tasks.iter().all(Option::is_none) || now >= deadline) {
            self.finish_shutdown();
        }
    }

    /// Whether a process of this one's container was killed for want of memory.
    fn was_oom_killed(&mut self, task: &Task) -> bool {
        let container = self.containers.iter().find(|container| container.id == task.container);
        let killed = task.status() == Some(ExitStatus::Signal(libc::SIGKILL as u8));
        match container {
            // Where there are others, what was killed in the guest says nothing of this one.
            Some(container) if container.has_memory_limit || self.is_shared => {
                return container.cgroup().oom_kills() > 0;
            }
            Some(container) if killed && container.cgroup().oom_kills() > 0 => return true,
            _ if !killed => return false,
            _ => {}
        }
        // Without a limit it is the guest that had no more; its counter says if anything was killed for that since the
        // last look.
        let before = self.oom_kills;
        self.oom_kills = self.guest_oom_kills();
        self.oom_kills > before
    }

    fn guest_oom_kills(&mut self) -> u64 {
        if self.views.need_proc().is_err() {
            return 0;
        }
        cgroup::read(CWD, "/proc/vmstat").map_or(0, |text| cgroup::counter(&text, "oom_kill"))
    }

    /// Gives a container's things back if none of its processes is left.
    fn part_with(&mut self, id: &str, network: Option<OwnedFd>) {
        if self.tasks.iter().flatten().any(|task| task.container == id) {
            return;
        }
        if let Some(place) = self.containers.iter().position(|container| container.id == id) {
            let container = self.containers.swap_remove(place);
            let number = container.init;
            let (card, cgroup) = container.release(&mut self.layers);
            if self.is_shared {
                self.keep_remains(Remains { number, card, network, cgroup });
            } else {
                self.memory.forget();
                cgroup.remove();
            }
        }
    }

    /// Ends every process; [`Agent::settle`] sees them end.
    fn begin_shutdown(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(sys::monotonic() + SHUTDOWN_NS);
            let _ = sys::kill_everything();
        }
    }

    fn finish_shutdown(&mut self) -> ! {
        self.parked = None;
        self.spare = None;
        self.clear_stock();
        for container in self.containers.drain(..) {
            let (_, cgroup) = container.release(&mut self.layers);
            cgroup.remove();
        }
        let mut reason = "shutdown".to_owned();
        let deadline = sys::monotonic() + SHUTDOWN_NS;
        while !self.data.unmount() {
            if sys::monotonic() >= deadline {
                reason.push_str("; the data disk is written, but still in use");
                break;
            }
            let _ = thread::nanosleep(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 });
        }
        self.control.send(&AgentMessage::Stopped { reason });
        self.control.await_end(AWAIT_END);
        power::sync_and_reset()
    }
}

/// What the guest calls a user of a container.
fn outside(namespace: Option<&UserNamespace>, user: &User) -> Uid {
    Uid::from_raw(namespace.map_or(user.uid, |namespace| namespace.outside(user.uid)))
}

/// The guest's own program for a process that wants an init, or is its tool.
fn open_program(process: &Process) -> Result<Option<OwnedFd>, Failure> {
    let program = match (process.tool, process.init) {
        (Some(_), _) => TOOL,
        (None, true) => PROGRAM,
        (None, false) => return Ok(None),
    };
    fs::openat(CWD, program, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map(Some)
        .map_err(|error| Failure::internal(format_args!("cannot open {program}"), error))
}
