//! A container's keeper: `hull internal keeper`, started by [`super::start`].

use std::{
    cell::{Cell, OnceCell, RefCell},
    fs::File,
    os::fd::{OwnedFd, RawFd},
    path::{Path, PathBuf},
    rc::Rc,
    time::Instant,
};

use hull_arch::quirks::Quirks;
use hull_protocol::{Extent, Rewrite};

mod again;
mod prepare;

use self::again::Again;
use super::{
    ContainerId, Description, Endpoint, Error, Result, attachment,
    checkpoint::{self},
    config::MoreNetwork,
    mount::Filling,
    networking::{self, Joined},
    pool::Pools,
    publish,
    restart::Restarts,
    sizing::{Host, boot_limit},
    state::{Folder, Lock, State, Status, Store},
    template::{Purpose, Template, Templates},
};
use crate::{
    network::{client::Membership, control::Lease, wire::Mac},
    vm::{
        control::{KeeperMessage, Timings},
        detached,
        keeper::{
            Doors, Ending, Health, HealthStatus, Keeper, Limits, Origin, Outcome, Record, Task,
            agent::Agent,
            attach::{Wanted, What},
        },
        launch::Vmm,
        log,
        signals::Signals,
        timestamp,
        usage::children,
    },
    vmm::{channel::Channel, monotonic_ns},
};

/// The disk with the container's writable layer.
const DISK: &str = "data.img";
/// What becomes that when the container has gone on from a checkpoint.
const NEXT_DISK: &str = "data.next";
/// Seconds from the stop signal to SIGKILL when nobody says.
const STOP_TIMEOUT: i64 = 10;

/// What the keeper's command line says.
#[derive(Debug)]
pub struct Arguments {
    /// The container.
    pub id: ContainerId,
    /// The connection to the front end.
    pub front_end: RawFd,
    /// The folder's lock.
    pub lock: RawFd,
    /// The container ends with the front end.
    pub tied: bool,
    /// Its VM may go on from a template.
    pub template: bool,
    /// It goes on from the checkpoint in this folder.
    pub checkpoint: Option<PathBuf>,
    /// The container does not run: its files are wanted, and nothing becomes of it.
    pub hold: bool,
}

/// Keeps the container until it has ended.
///
/// # Errors
/// When the container is not there. What else goes wrong is recorded and told to the front end.
pub fn run(arguments: Arguments) -> Result<()> {
    let keeper_ns = monotonic_ns();
    let inherited = detached::inherit(arguments.front_end, arguments.lock);
    let (front_end, lock) = inherited
        .map_err(|error| Error::Keeper(format!("is started by `hull run`, not by people: {error}")))?;
    let again = Again::new(&lock)?;
    let record = Recorder { hold: arguments.hold, ..Recorder::open(arguments.id.clone(), lock, &again)? };
    let visitors = Visitors { first: Some(front_end), others: Vec::new() };
    match record.prepare(arguments.tied, arguments.template, arguments.checkpoint.as_deref(), None) {
        Ok(prepared) => prepared.run(record, visitors, keeper_ns),
        Err(error) => record.not_started(&error, visitors, keeper_ns),
    }
    again.go_on(&arguments.id, arguments.template);
    Ok(())
}

/// Who is connected to the keeper when a run begins, or waits to be.
#[derive(Default)]
pub(super) struct Visitors {
    /// The front end that started it.
    pub first: Option<OwnedFd>,
    /// Those that came while the container did not run.
    pub others: Vec<Channel>,
}

/// How long a keeper waits for its guest.
pub(super) fn limits() -> Limits {
    let mut limits = Limits { boot: boot_limit(), ..Limits::default() };
    for limit in
        [&mut limits.start, &mut limits.shutdown, &mut limits.exit, &mut limits.kill, &mut limits.change]
    {
        *limit *= Quirks::detect().patience();
    }
    limits
}

/// A container whose VM waited for it.
pub struct Ready {
    record: Recorder,
    task: Task,
    log: log::Writer,
    listener: OwnedFd,
    network: Option<Membership>,
    keeper_ns: u64,
    again: Again,
}

/// Makes this VM, whose agent was greeted, the container's: it was made for `purpose`, has its layers at `layers` and its data
/// disk at `disk`, which moves to the container.
///
/// # Errors
/// When the container wants another, and nothing has changed but for an empty log; or the process is out of descriptors.
pub fn take_over(
    id: ContainerId,
    lock: Lock,
    tied: bool,
    purpose: &Purpose,
    layers: &[Extent],
    rootfs: &File,
    disk: &Path,
) -> Result<Ready> {
    let keeper_ns = monotonic_ns();
    let again = Again::new(&lock)?;
    let record = Recorder::open(id, lock, &again)?;
    let (folder, description) = (&record.folder, &record.description);
    let image = record.image()?;
    let size = Host::this().vm_size(&description.host_config)?;
    let wanted = Purpose::of(size, &description.host_config, &description.config.image, &image);
    let path = folder.file("data.img");
    if !purpose.serves(&wanted) || path.exists() || !description.mounts.is_empty() {
        return Err(Error::Conflict(format!("container {} needs another VM", folder.id)));
    }
    let rootfs = rootfs.try_clone().map_err(|error| Error::Keeper(format!("cannot prepare: {error}")))?;
    let data_disk = File::open(disk).map_err(Error::file("cannot open", disk))?;
    let task =
        record.task(layers.to_vec(), rootfs.into(), data_disk.into(), Origin::Template, tied, Vec::new())?;
    let log = record.open_log()?;
    let listener = folder.listen().map_err(|error| Error::Keeper(format!("cannot listen: {error}")))?;
    let network = networking::join(&record.description, &[])?;
    record.vcpus.set(Some(size.vcpus));
    // Last: a disk that has moved belongs to the container, whoever keeps that.
    std::fs::rename(disk, &path).map_err(Error::file("cannot move to", &path))?;
    Ok(Ready { record, task, log, listener, network, keeper_ns, again })
}

impl Ready {
    /// Keeps the container until it has ended; another VM takes the place of this one in its pool.
    pub fn run(mut self, vmm: Vmm, agent: Agent, front_end: Channel, signals: Signals, pool: String) {
        self.record.pool = Some(pool);
        let doors = Doors {
            listener: Some(self.listener),
            first: Some(front_end.into()),
            others: Vec::new(),
            signals: Some(signals),
            agent: Some(agent),
            network: self.network,
        };
        let id = self.record.folder.id.clone();
        Keeper::new(self.task, limits(), vmm, doors, self.log, Box::new(self.record), self.keeper_ns).run();
        self.again.go_on(&id, true);
    }
}

/// Writes down what happens to the container.
struct Recorder {
    store: Store,
    folder: Folder,
    description: Description,
    state: State,
    /// What its VM goes on from, if it does.
    template: OnceCell<Template>,
    /// The pool that its VM is from, or could have been, until that is filled again.
    pool: Option<String>,
    /// What it has in its network, and had there before.
    joined: Vec<Joined>,
    before: Vec<Joined>,
    /// The container whose checkpoint it goes on from.
    original: OnceCell<(Description, Vec<Lease>)>,
    /// CPUs of its VM.
    vcpus: Cell<Option<u8>>,
    /// The container had no data disk before.
    made_disk: Cell<bool>,
    /// Its files are wanted, and that is nobody's business.
    hold: bool,
    /// Volumes that the container fills before it runs.
    filling: OnceCell<Filling>,
    /// How often it was started again, and whether it will be.
    restarts: Rc<RefCell<Restarts>>,
    running_since: Option<Instant>,
    /// Held until the record is complete.
    _lock: Lock,
}

impl Recorder {
    fn open(id: ContainerId, lock: Lock, again: &Again) -> Result<Self> {
        let store = Store::open()?;
        let folder = Folder::new(&store.containers(), id);
        let description = folder.description()?.ok_or_else(|| Error::NotFound(folder.id.to_string()))?;
        let (state, template) = (State::default(), OnceCell::new());
        let before = folder.state().map(|state| state.networks().cloned().collect()).unwrap_or_default();
        Ok(Self {
            store,
            folder,
            description,
            state,
            template,
            pool: None,
            joined: Vec::new(),
            before,
            original: OnceCell::new(),
            vcpus: Cell::new(None),
            made_disk: Cell::new(false),
            filling: OnceCell::new(),
            restarts: again.restarts.clone(),
            running_since: None,
            hold: false,
            _lock: lock,
        })
    }

    /// Brings the VM into the container's network, where it has the address that it had before if that is free.
    fn join(&self) -> Result<Option<Membership>> {
        if self.hold {
            return Ok(None);
        }
        networking::join(&self.description, &self.before)
    }

    /// The VM never was.
    fn not_started(mut self, error: &Error, visitors: Visitors, keeper_ns: u64) {
        let ending = Ending::NotStarted { code: 125, error: error.to_string() };
        let message = ending.message("");
        let timings = Timings { keeper_ns, ..Timings::default() };
        self.ended(&Outcome { ending, killed: false, stopped: false, console: String::new(), timings });
        for front_end in visitors.first.into_iter().map(Channel::from).chain(visitors.others) {
            let _ = front_end.send(&message, None);
            let _ = front_end.send(&KeeperMessage::Gone { timings, error: None }, None);
        }
    }

    /// Has other VMs take the place of those that the pool lacks for containers like this one.
    fn refill(&mut self) {
        if let Some(pool) = self.pool.take() {
            Pools::open().replace(&pool);
        }
    }

    /// Whether it is started again: its policy may have been changed since.
    fn decide(&mut self, outcome: &Outcome) {
        let Some(since) = self.running_since else { return };
        let description = self.folder.description().ok().flatten();
        let policy = description.as_ref().unwrap_or(&self.description).host_config.restart_policy;
        let mut restarts = self.restarts.borrow_mut();
        restarts.ended(policy, since.elapsed(), outcome.ending.code(), outcome.stopped);
        self.state.restart_count = restarts.count;
        if restarts.next.is_some() {
            self.state.status = Status::Restarting;
            self.state.keeper_pid = std::process::id();
        }
    }

    /// Tells whoever listens to events.
    fn event(&self, action: &str, attributes: &[(&str, String)]) {
        if self.hold {
            return;
        }
        // It may have been renamed.
        let description = self.folder.description().ok().flatten();
        let description = description.as_ref().unwrap_or(&self.description);
        self.store.journal().append(action, description, attributes);
    }

    fn show_networks(&mut self) {
        let mut joined = self.joined.iter().cloned();
        (self.state.network, self.state.more_networks) = (joined.next(), joined.collect());
    }

    /// What cannot be written, on a full disk, is as lost as the container's own output.
    fn write(&self) {
        let _ = self.folder.write_state(&self.state);
    }
}

impl Record for Recorder {
    fn joined(&mut self, leases: &[(String, Lease)], task: &mut Task) {
        self.joined = joined(leases);
        let leases: Vec<_> = leases.iter().map(|(_, lease)| lease.clone()).collect();
        networking::settle(&mut task.container, &self.description, &leases);
        if let (Origin::Checkpoint { renaming }, Some((original, leases_then))) =
            (&mut task.origin, self.original.get())
        {
            *renaming = checkpoint::renaming((original, leases_then), (&self.description, &leases));
        }
    }

    fn more_networks(&mut self, mac: Mac) -> Result<Vec<Membership>, String> {
        let join = |more| {
            networking::join_more(&self.description, more, mac, &self.before).map_err(|it| it.to_string())
        };
        self.description.more_networks.iter().map(join).collect()
    }

    fn ask_network(&mut self, wanted: &Wanted, mac: Option<Mac>) -> Result<Membership, String> {
        let Wanted { network, aliases, address } = wanted.clone();
        let mut description =
            self.folder.description().ok().flatten().unwrap_or_else(|| self.description.clone());
        let endpoint = Endpoint { aliases, address, ..description.networking.clone() };
        let joined = match mac {
            Some(mac) => {
                networking::join_more(&description, &MoreNetwork { network, endpoint }, mac, &[]).map(Some)
            }
            None => {
                description.host_config.network_mode = network;
                description.networking = endpoint;
                networking::join(&description, &[])
            }
        };
        let refused = || format!("{} is no network to be in", wanted.network);
        joined.map_err(|error| error.to_string())?.ok_or_else(refused)
    }

    fn rewrites(&self, before: &[Lease], after: &[Lease]) -> Vec<Rewrite> {
        checkpoint::rewrites((&self.description, before), (&self.description, after))
    }

    fn networks(&mut self, leases: &[(String, Lease)]) {
        self.joined = joined(leases);
        self.show_networks();
        self.write();
    }

    fn describe(&mut self, what: &What) -> Result<(), String> {
        let written = self.store.change(&self.folder, |description| match what {
            What::Connected(wanted) => attachment::connected(description, wanted),
            What::Disconnected(network) => Ok(attachment::disconnected(description, network)),
            What::Published(ports) => Ok(publish::published(description, ports)),
        });
        written.map(drop).map_err(|error| error.to_string())
    }

    fn started(&mut self) {
        if let Some(filling) = self.filling.take() {
            filling.done();
        }
        // Only now is what the container had before of no more use.
        let _ = std::fs::rename(self.folder.file(NEXT_DISK), self.folder.file(DISK));
        if let Some(template) = self.template.take() {
            template.leave_spare();
            // Its only child by now is its VMM.
            for vmm in children(std::process::id()).unwrap_or_default() {
                template.note_touched(vmm);
            }
        }
        if self.hold {
            return;
        }
        self.state = State {
            status: Status::Running,
            started_at: timestamp::now(),
            keeper_pid: std::process::id(),
            vcpus: self.vcpus.get(),
            restart_count: self.restarts.borrow().count,
            health: self
                .description
                .config
                .healthcheck
                .as_ref()
                .filter(|check| check.is_one())
                .map(|_| Health::default()),
            ..State::default()
        };
        self.show_networks();
        self.running_since = Some(Instant::now());
        self.write();
        self.event("start", &[]);
        self.refill();
    }

    fn signalled(&mut self, signal: u8) {
        self.event("kill", &[("signal", signal.to_string())]);
    }

    fn stopping(&mut self) {
        self.event("stop", &[]);
    }

    fn paused(&mut self, paused: bool) {
        self.state.status = if paused { Status::Paused } else { Status::Running };
        self.write();
        self.event(if paused { "pause" } else { "unpause" }, &[]);
    }

    fn health(&mut self, health: &Health) {
        let before = self.state.health.replace(health.clone()).map(|before| before.status);
        self.write();
        if before != Some(health.status) {
            self.event(&format!("health_status: {}", health.status.name()), &[]);
        }
    }

    fn ended(&mut self, outcome: &Outcome) {
        if self.hold {
            let _ = std::fs::remove_file(self.folder.file("ctl"));
            return;
        }
        let ending = &outcome.ending;
        self.state.keeper_pid = 0;
        self.state.restart_count = self.restarts.borrow().count;
        if let Some(health) = &mut self.state.health {
            // As Docker has it: what does not run is not well.
            health.status = HealthStatus::Unhealthy;
        }
        self.state.exit_code = ending.code();
        self.state.error = ending.error().unwrap_or_default().to_owned();
        if let (Some(template), 0, 125) = (self.template.get(), outcome.timings.hello_ns, ending.code()) {
            if !outcome.killed {
                // The next container is not to fail of it too.
                let _ = Templates::open().remove(&template.id);
            }
            if self.made_disk.get() {
                // Its disk is as good as none, and the template's that it came with.
                let _ = std::fs::remove_file(self.folder.file(DISK));
            }
        }
        let _ = std::fs::remove_file(self.folder.file(NEXT_DISK));
        match ending {
            // It ran before.
            Ending::NotStarted { .. } if self.state.restart_count > 0 => {
                self.state.status = Status::Exited;
                self.state.finished_at = timestamp::now();
            }
            Ending::NotStarted { .. } => self.state.status = Status::Created,
            Ending::Exited { oom_killed, .. } => {
                self.state.status = Status::Exited;
                self.state.oom_killed = *oom_killed;
                self.state.finished_at = timestamp::now();
            }
            Ending::Broken { .. } => {
                self.state.status = Status::Exited;
                self.state.finished_at = timestamp::now();
            }
        }
        if self.state.oom_killed {
            self.event("oom", &[]);
        }
        if self.state.status == Status::Exited {
            self.event("die", &[("exitCode", self.state.exit_code.to_string())]);
        }
        self.decide(outcome);
        if self.description.host_config.auto_remove {
            // What cannot be removed now is removed by the next command that sees it.
            let _ = self.store.remove(&self.folder, &self.description);
            return self.refill();
        }
        let _ = std::fs::remove_file(self.folder.file("ctl"));
        if !matches!(ending, Ending::Exited { .. }) && !outcome.console.is_empty() {
            self.folder.write_console(&outcome.console);
        }
        self.write();
        self.refill();
    }
}

fn joined(leases: &[(String, Lease)]) -> Vec<Joined> {
    leases.iter().map(|(network, lease)| Joined { network: network.clone(), lease: lease.clone() }).collect()
}
