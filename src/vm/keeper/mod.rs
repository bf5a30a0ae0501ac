//! The keeper: parent of one VMM, for as long as its VM lives.
//!
//! One thread, one poll loop. It takes the guest's connections from the VMM, tells the agent what to run, passes the
//! process's streams on (see [`streams`]), serves front ends, and ends the VM when the process has ended. Everything
//! has a time limit, and the guest is believed nothing.
//!
//! ```text
//! Booting ─ hello ─▶ Starting ─ started ─▶ Running ─ exited ─▶ Draining ─▶ Closing ─ stopped ─▶ Ending ─▶ Gone
//!    └──────────────────┴─ anything wrong, or a signal ─┴────────────────────────┴───────────────▲
//! ```
//! From Running it goes to *Resting* and back while a checkpoint is made, see [`rest`]. Further processes that are started in the
//! container ([`exec`]) end with it.
//! *Draining* delivers the last output, *Closing* lets the agent write the data disk (skipped when nobody wants it
//! any more), *Ending* waits for the VMM.

pub(crate) mod agent;
pub mod attach;
mod client;
mod events;
mod exec;
mod health;
mod network;
pub mod outcome;
mod pause;
mod poll;
pub mod ports;
mod rest;
mod streams;
mod update;

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use hull_protocol::{Container, HostMessage, Process, ProcessId, Renaming, Signal};

pub use client::ClientId;
pub use health::{Check, Health, HealthStatus};
pub use outcome::{Ending, Outcome, Record};

use self::{
    agent::Agent,
    client::Client,
    exec::Exec,
    network::Networks,
    outcome::Tail,
    pause::Pause,
    rest::Rest,
    streams::{CHUNK, Input, Output, Streams},
};
use super::{
    control::{KeeperMessage, Stream, Timings},
    launch::{Exit, Vmm},
    log,
    signals::Signals,
};
use crate::network::client::Membership;
use crate::vmm::{
    channel::Channel,
    control::{ExitReason, KeeperMessage as ToVmm},
    monotonic_ns,
};

/// Number of the container's first process.
pub const PROCESS: ProcessId = 1;
/// SIGKILL.
const KILL: Signal = 9;

/// What to run, and how.
#[derive(Debug)]
pub struct Task {
    /// The container.
    pub container: Container,
    /// Its first process.
    pub process: Process,
    /// Memory that its VM begins with, in bytes.
    pub memory: u64,
    /// Most memory that its VM may get to have, in bytes.
    pub most_memory: u64,
    /// It has an input.
    pub stdin: bool,
    /// The input ends with the first front end's.
    pub stdin_once: bool,
    /// Sent to stop it.
    pub stop_signal: Signal,
    /// Seconds from the stop signal to SIGKILL; negative waits for ever.
    pub stop_timeout: i64,
    /// The data disk is wanted afterwards.
    pub keep_disk: bool,
    /// How its VM begins.
    pub origin: Origin,
    /// The data disk of its VM: what is written to it tells that the agent still writes it.
    pub data_disk: Option<OwnedFd>,
    /// The guest rootfs that it has, for whoever writes the VM down.
    pub rootfs: Option<OwnedFd>,
    /// Ends with its first front end.
    pub tied: bool,
    /// How it is found out whether it works.
    pub check: Option<Check>,
}

/// How a VM begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It boots; the agent connects when it is up.
    Boot,
    /// From a snapshot in which nothing runs: the agent waits to be called and told what to run.
    Template,
    /// From a snapshot in which the process runs: the agent waits to be called.
    Checkpoint {
        /// What the container is called from now on, if that is something else than in the snapshot.
        renaming: Option<Renaming>,
    },
}

/// How long the keeper waits for others.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the VMM's start to the agent's hello.
    pub boot: Duration,
    /// From the request to the process's start.
    pub start: Duration,
    /// From the process's exit to the end of its output, while all front ends read.
    pub drain: Duration,
    /// For the agent to write the data disk, while nothing of it arrives there.
    pub shutdown: Duration,
    /// For the VMM to exit.
    pub exit: Duration,
    /// From SIGKILL to the end of front ends that do not read, and again to the end of the VM.
    pub kill: Duration,
    /// From the end of a process that somebody stopped to the end of front ends that do not read.
    pub reader: Duration,
    /// For each step of a change of the container's networks.
    pub change: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(60),
            start: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            shutdown: Duration::from_secs(30),
            exit: Duration::from_secs(5),
            kill: Duration::from_secs(10),
            reader: Duration::from_secs(5),
            change: Duration::from_secs(10),
        }
    }
}

/// What a keeper holds and serves, besides its VMM.
pub struct Doors {
    /// Front ends connect here.
    pub listener: Option<OwnedFd>,
    /// The front end that started the keeper.
    pub first: Option<OwnedFd>,
    /// Front ends that have waited for this one.
    pub others: Vec<Channel>,
    /// Each signal asks for the container's end.
    pub signals: Option<Signals>,
    /// The agent, where it was greeted before there was a container.
    pub agent: Option<Agent>,
    /// The network that the VM is about to be in, the first if there are several.
    pub network: Option<Membership>,
}

/// How far the container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Booting,
    Starting,
    Running,
    Resting,
    Draining,
    Closing,
    Ending,
    Gone,
}

/// Why the time limit that runs now runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Hello,
    Start,
    Rest,
    Drain,
    Shutdown,
    /// The VMM is to exit, since it was asked or the agent is lost.
    Exit,
    /// It did not: it was killed.
    Never,
}

/// What happens to a process that is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escalation {
    Kill,
    DropFrontEnds,
    EndVm,
}

/// A keeper.
pub struct Keeper {
    task: Task,
    limits: Limits,
    vmm: Vmm,
    control_open: bool,
    console_open: bool,
    exit_reason: Option<ExitReason>,
    agent: Option<Agent>,
    stage: Stage,
    /// In [`Stage::Running`]: whether the VM stands still.
    pause: Pause,
    /// In [`Stage::Resting`].
    rest: Option<Rest>,
    networks: Networks,
    /// What the agent is told when it is back from a rest.
    held: Vec<HostMessage>,
    deadline: Option<(Instant, Due)>,
    /// In [`Stage::Closing`]: when the data disk was written to last.
    disk_written: Option<(i64, i64)>,
    escalation: Option<(Instant, Escalation)>,
    streams: Streams,
    watch: health::Watch,
    /// Who waits for the agent to set limits.
    updating: Option<ClientId>,
    /// Further processes that were asked for and are not over.
    execs: Vec<Exec>,
    next_process: ProcessId,
    clients: Vec<Client>,
    next_client: u64,
    tied: Option<ClientId>,
    listener: Option<OwnedFd>,
    signals: Option<Signals>,
    console: Tail,
    log: log::Writer,
    log_error: Option<String>,
    record: Box<dyn Record>,
    /// The process was started at some time.
    started: bool,
    stopping: bool,
    /// See [`Outcome`].
    stopped: bool,
    ending: Option<Ending>,
    announced: bool,
    /// Why the agent says that the VM ends.
    farewell: Option<String>,
    /// See [`Outcome`].
    killed: bool,
    /// The VMM was ended by SIGKILL, by this keeper.
    gave_up: bool,
    timings: Timings,
}

impl Keeper {
    /// A keeper of this VMM, which was just started. `keeper_ns` is when this process's `main` began.
    pub fn new(
        task: Task,
        limits: Limits,
        vmm: Vmm,
        doors: Doors,
        log: log::Writer,
        record: Box<dyn Record>,
        keeper_ns: u64,
    ) -> Self {
        let terminal = task.process.terminal.is_some();
        let input = Input::new(task.stdin, task.stdin_once && !terminal);
        let mut keeper = Self {
            streams: Streams::new(input, outputs(terminal)),
            watch: health::Watch::new(task.check.clone()),
            updating: None,
            execs: Vec::new(),
            next_process: PROCESS + 1,
            task,
            limits,
            vmm,
            control_open: true,
            console_open: true,
            exit_reason: None,
            agent: doors.agent,
            stage: Stage::Booting,
            pause: Pause::No,
            rest: None,
            networks: Networks::new(doors.network),
            held: Vec::new(),
            deadline: None,
            disk_written: None,
            escalation: None,
            clients: Vec::new(),
            next_client: 0,
            tied: None,
            listener: doors.listener,
            signals: doors.signals,
            console: Tail::default(),
            log,
            log_error: None,
            record,
            started: false,
            stopping: false,
            stopped: false,
            ending: None,
            announced: false,
            farewell: None,
            killed: false,
            gave_up: false,
            timings: Timings { keeper_ns, ..Timings::default() },
        };
        keeper.enter(Stage::Booting);
        keeper.connect_network(0);
        if let Some(first) = doors.first {
            let id = keeper.admit(Channel::from(first));
            keeper.tied = id.filter(|_| keeper.task.tied);
        }
        for other in doors.others {
            keeper.admit(other);
        }
        keeper
    }

    /// Runs until the VM is gone and the record written.
    pub fn run(mut self) -> Outcome {
        let mut buffer = vec![0; CHUNK];
        if self.agent.is_some() {
            // The clock that it was given then may have been set since.
            self.wake_agent();
            self.start();
        }
        while self.stage != Stage::Gone || !self.is_all_delivered() {
            for (source, flags) in self.wait() {
                self.handle(source, flags, &mut buffer);
            }
            self.tick();
        }
        self.settle_execs();
        let ending = self.ending.take().unwrap_or_else(|| Ending::Broken {
            code: 125,
            error: "the VM ended without a reason".to_owned(),
        });
        let outcome = Outcome {
            ending,
            killed: self.killed,
            stopped: self.stopped,
            console: self.console.text(),
            timings: self.timings,
        };
        self.record.ended(&outcome);
        let error = outcome.ending.error().map(str::to_owned);
        self.tell_all(&KeeperMessage::Gone { timings: self.timings, error });
        outcome
    }

    /// Goes to a stage, whose time limit starts now.
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        let (limit, due) = match stage {
            Stage::Booting => (self.limits.boot, Due::Hello),
            Stage::Starting => (self.limits.start, Due::Start),
            Stage::Resting => (self.limits.start, Due::Rest),
            Stage::Draining | Stage::Gone => (self.limits.drain, Due::Drain),
            Stage::Closing => (self.limits.shutdown, Due::Shutdown),
            Stage::Ending => (self.limits.exit, Due::Exit),
            Stage::Running => {
                self.deadline = None;
                return;
            }
        };
        self.deadline = Some((Instant::now() + limit, due));
    }

    /// The soonest time limit.
    fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.deadline.map(|(at, _)| at);
        let escalation = self.escalation.map(|(at, _)| at);
        deadline
            .into_iter()
            .chain(escalation)
            .chain(self.networks.deadline())
            .chain(self.watch.deadline())
            .min()
    }

    /// Acts on time limits that are over, and on what became complete.
    fn tick(&mut self) {
        self.check_health();
        self.start_exec();
        self.settle_execs();
        self.look_for_networks();
        self.check_change();
        // Whoever does not read what another process prints does not keep the container from its end.
        let blocked = self.streams.are_blocked();
        match self.deadline {
            Some((_, Due::Drain)) if blocked => self.enter(self.stage),
            Some((at, due)) if at <= Instant::now() => self.overdue(due),
            _ => {}
        }
        if let Some((at, step)) = self.escalation
            && at <= Instant::now()
        {
            self.escalate(step);
        }
        if self.stage == Stage::Draining && self.is_all_delivered() {
            self.drained();
        }
    }

    fn overdue(&mut self, due: Due) {
        let seconds = |limit: Duration| limit.as_secs_f32();
        match due {
            Due::Hello => self.fail(&format!(
                "the guest did not come up within {} s: nothing was heard from its agent",
                seconds(self.limits.boot)
            )),
            Due::Start => self.fail(&format!(
                "the agent did not start the process within {} s",
                seconds(self.limits.start)
            )),
            Due::Rest => self.rest_overdue(),
            Due::Drain => {
                self.note("the last of the output did not arrive in time");
                self.drained();
            }
            Due::Shutdown if self.disk_progresses() => self.enter(Stage::Closing),
            Due::Shutdown => {
                self.note("the writable layer was not written to its end in time");
                self.end_vm();
            }
            Due::Exit if self.stage == Stage::Ending => {
                self.kill_vmm();
                self.deadline = Some((Instant::now() + self.limits.exit, Due::Never));
            }
            Due::Exit => self.fail("the agent closed its connection"),
            Due::Never => self.deadline = None,
        }
    }

    /// The process is to end but does not.
    fn escalate(&mut self, step: Escalation) {
        match step {
            Escalation::Kill => self.kill(),
            Escalation::DropFrontEnds => {
                // The process may be blocked in the guest by a front end that does not read.
                self.all_streams().for_each(Streams::drop_blocked);
                self.escalation = Some((Instant::now() + self.limits.kill, Escalation::EndVm));
            }
            Escalation::EndVm => {
                self.escalation = None;
                if self.stage < Stage::Draining {
                    self.ending.get_or_insert(Ending::Exited {
                        code: 128 + KILL,
                        oom_killed: false,
                        error: Some("the process did not end by SIGKILL: its VM was ended".to_owned()),
                    });
                    self.end_vm();
                }
            }
        }
    }

    /// Sends SIGKILL, and sees to it that it helps.
    fn kill(&mut self) {
        self.signal(KILL);
        match self.stage {
            Stage::Draining | Stage::Gone => self.all_streams().for_each(Streams::drop_blocked),
            // Whoever does not want to wait until everything is written.
            Stage::Closing => {
                if self.task.keep_disk {
                    self.note("killed before the writable layer was written to its end");
                }
                self.end_vm();
            }
            _ => {}
        }
        self.escalation = Some((Instant::now() + self.limits.kill, Escalation::DropFrontEnds));
    }

    /// Passes a signal on. Before the process runs, one that would end it ends the VM.
    fn signal(&mut self, signal: Signal) {
        // As with Docker: it would hear nothing.
        self.unpause();
        match self.stage {
            Stage::Booting | Stage::Starting if ends_a_process(signal) => {
                self.ending.get_or_insert(Ending::NotStarted {
                    code: 128u8.saturating_add(signal),
                    error: format!("ended by signal {signal} before the container's process ran"),
                });
                self.end_vm();
            }
            Stage::Running | Stage::Resting => {
                self.record.signalled(signal);
                self.tell_agent_at_last(HostMessage::Signal { process_id: PROCESS, signal });
            }
            _ => {}
        }
    }

    /// Asks the process to end.
    fn stop(&mut self, signal: Option<Signal>, timeout: Option<i64>) {
        self.stopped = true;
        let timeout = timeout.unwrap_or(self.task.stop_timeout);
        let up = matches!(self.stage, Stage::Running | Stage::Resting);
        if !self.stopping && up {
            self.stopping = true;
            self.record.stopping();
        }
        match self.stage {
            Stage::Booting | Stage::Starting => self.signal(KILL),
            Stage::Draining | Stage::Gone => {
                let at = Instant::now() + self.limits.reader;
                self.escalation.get_or_insert((at, Escalation::DropFrontEnds));
            }
            _ => self.signal(signal.unwrap_or(self.task.stop_signal)),
        }
        if let Ok(seconds) = u64::try_from(timeout)
            && up
        {
            self.escalation = Some((Instant::now() + Duration::from_secs(seconds), Escalation::Kill));
        }
    }

    /// All output is delivered, or given up.
    fn drained(&mut self) {
        for streams in self.all_streams() {
            streams.outputs.iter_mut().for_each(Output::close);
            streams.drop_blocked();
        }
        self.settle_execs();
        if self.stage == Stage::Draining {
            self.close();
        }
    }

    /// The process is over: lets the agent write the data disk if anybody wants it.
    fn close(&mut self) {
        self.announce();
        if self.task.keep_disk && self.agent.is_some() {
            self.enter(Stage::Closing);
            self.disk_progresses();
            self.tell_agent(&HostMessage::Shutdown);
        } else {
            self.end_vm();
        }
    }

    /// Whether the data disk was written to since this was asked last.
    fn disk_progresses(&mut self) -> bool {
        let stat = self.task.data_disk.as_ref().and_then(|disk| rustix::fs::fstat(disk).ok());
        let written = stat.map(|stat| (stat.st_mtime, stat.st_mtime_nsec as i64));
        std::mem::replace(&mut self.disk_written, written) != written
    }

    /// Ends the VM; what the ending is must be decided, or else the VMM's own reason becomes it.
    fn end_vm(&mut self) {
        self.escalation = None;
        if self.stage < Stage::Ending {
            self.enter(Stage::Ending);
            if self.control_open && self.vmm.control.send(&ToVmm::Stop, None).is_err() {
                self.kill_vmm();
            }
        }
    }

    /// Ends a VMM that does not end.
    fn kill_vmm(&mut self) {
        self.gave_up = true;
        self.vmm.process.kill();
    }

    /// The container cannot go on.
    fn fail(&mut self, error: &str) {
        let error = error.to_owned();
        let ending = if self.started {
            Ending::Broken { code: 125, error }
        } else {
            Ending::NotStarted { code: 125, error }
        };
        self.ending.get_or_insert(ending);
        self.end_vm();
    }

    /// Something went wrong that does not change the ending.
    fn note(&mut self, problem: &str) {
        if let Some(Ending::Exited { error, .. }) = &mut self.ending {
            error.get_or_insert_with(|| problem.to_owned());
        }
    }

    /// Tells every front end how it ended, once.
    fn announce(&mut self) {
        let Some(ending) = &self.ending else { return };
        if !std::mem::replace(&mut self.announced, true) {
            let message = ending.message(&self.console.text());
            self.tell_all(&message);
        }
    }

    /// Tells every front end of the container.
    fn tell_all(&self, message: &KeeperMessage) {
        let all = self.clients.iter().filter(|client| client.exec.is_none());
        all.for_each(|client| client.tell(message));
    }

    /// The streams of all processes.
    fn all_streams(&mut self) -> impl Iterator<Item = &mut Streams> {
        std::iter::once(&mut self.streams).chain(self.execs.iter_mut().map(|exec| &mut exec.streams))
    }

    /// Whether all output there was is delivered.
    fn is_all_delivered(&mut self) -> bool {
        self.all_streams().all(|streams| streams.are_done())
    }

    /// The VMM has ended: what it still said is read.
    fn gone(&mut self, how: &Exit) {
        self.timings.gone_ns = monotonic_ns();
        let error = match (self.exit_reason.take(), self.farewell.take()) {
            (_, Some(reason)) => format!("the guest ended: {reason}"),
            (Some(ExitReason::Reset), None) => {
                "the guest reset itself unannounced: its kernel crashed".to_owned()
            }
            (Some(ExitReason::Panic), None) => "the guest's kernel panicked".to_owned(),
            (Some(ExitReason::PowerOff), None) => "the guest powered itself off".to_owned(),
            (Some(ExitReason::Stopped), None) => "the VM was stopped".to_owned(),
            (Some(ExitReason::Crash { detail }), None) => format!("the guest crashed: {detail}"),
            (Some(ExitReason::Failed { detail }), None) => format!("the VMM failed: {detail}"),
            (None, None) => format!("the VMM {how}"),
        };
        let killed = *how == Exit::Killed;
        self.killed = killed && !self.gave_up;
        match self.stage {
            Stage::Closing => self.note(&format!("the writable layer was not written to its end: {error}")),
            Stage::Booting | Stage::Starting | Stage::Running | Stage::Resting if killed => {
                let code = if self.started { 128 + KILL } else { 125 };
                self.fail(&error);
                if let Some(Ending::Broken { code: recorded, .. }) = &mut self.ending {
                    *recorded = code;
                }
            }
            _ => self.fail(&error),
        }
        self.streams.end();
        self.end_execs();
        self.enter(Stage::Gone);
        self.announce();
    }
}

/// The outputs of a process. All of a terminal's output is one.
fn outputs(terminal: bool) -> &'static [Stream] {
    if terminal { &[Stream::Stdout] } else { &[Stream::Stdout, Stream::Stderr] }
}

/// Whether the default action of a signal ends a process that has not set anything else.
fn ends_a_process(signal: Signal) -> bool {
    const { assert!(libc::SIGCHLD == 17 && libc::SIGCONT == 18 && libc::SIGURG == 23) };
    !matches!(i32::from(signal), 17..=23 | libc::SIGWINCH)
}

#[cfg(test)]
#[path = "closing_test.rs"]
mod closing_tests;

#[cfg(test)]
#[path = "keeper_test.rs"]
mod tests;

#[cfg(test)]
#[path = "rest_test.rs"]
mod rest_tests;
