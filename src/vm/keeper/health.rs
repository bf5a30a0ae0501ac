//! Health checks: a command that is run in the container again and again, and what is made of its exit codes.
//!
//! It is a process like those of `hull exec`, whose front end is the keeper itself.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use hull_protocol::{HostMessage, Process, ProcessId};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::{
    ClientId, KILL, Keeper, Stage, exec::Exec, outcome::printable, outputs, streams::Input, streams::Streams,
};
use crate::vm::{
    backlog::read,
    control::{ExecNews, Stream},
    timestamp,
};

/// Who asks for health checks: no front end is called so.
pub(super) const KEEPER: ClientId = ClientId(u64::MAX);
/// Bytes of a check's output that are kept.
const MOST_OUTPUT: usize = 4096;
/// Results that are kept.
const MOST_RESULTS: usize = 5;
/// From the time limit of a check to giving it up, should it not end by SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a container's health is found out.
#[derive(Debug, Clone)]
pub struct Check {
    /// What is run.
    pub process: Process,
    /// From the end of one check to the next.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How long failures do not count, unless a check has succeeded.
    pub start_period: Duration,
    /// From the end of one check to the next in that time.
    pub start_interval: Duration,
    /// How many have to fail in a row.
    pub retries: u32,
}

/// What health checks say, with Docker's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// What it comes to.
    pub status: HealthStatus,
    /// How many checks failed in a row.
    pub failing_streak: u32,
    /// The last results, the oldest first.
    pub log: Vec<CheckResult>,
}

/// What health checks come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nothing is known yet.
    #[default]
    Starting,
    /// The last check succeeded, or not many have failed since.
    Healthy,
    /// Too many have failed.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckResult {
    /// When it began.
    pub start: String,
    /// When it ended.
    pub end: String,
    /// Its exit code; -1 when it took too long or could not be run.
    pub exit_code: i16,
    /// The beginning of what it printed.
    pub output: String,
}

impl Health {
    /// Takes a result; `early` is in the start period.
    fn take(&mut self, result: CheckResult, retries: u32, early: bool) {
        if result.exit_code == 0 {
            (self.status, self.failing_streak) = (HealthStatus::Healthy, 0);
        } else if !(early && self.status == HealthStatus::Starting) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(result);
        let surplus = self.log.len().saturating_sub(MOST_RESULTS);
        self.log.drain(..surplus);
    }
}

/// The keeper's watch over its container's health.
#[derive(Debug)]
pub(super) struct Watch {
    check: Option<Check>,
    health: Health,
    begun: Option<Instant>,
    next: Option<Instant>,
    running: Option<Running>,
}

/// A check that runs.
#[derive(Debug)]
struct Running {
    process: ProcessId,
    start: String,
    limit: Instant,
    /// It took too long and was killed.
    overdue: bool,
    output: Option<OwnedFd>,
    text: Vec<u8>,
}

impl Running {
    /// Takes what was printed. What is over the limit is read all the same: nobody is to be held up by it.
    fn hear(&mut self) {
        let mut buffer = [0; MOST_OUTPUT];
        while let Some(pipe) = &self.output {
            match read(pipe.as_fd(), &mut buffer) {
                None => return,
                Some(0) => self.output = None,
                Some(count) => {
                    let room = MOST_OUTPUT - self.text.len();
                    self.text.extend_from_slice(&buffer[..count.min(room)]);
                }
            }
        }
    }
}

impl Watch {
    pub(super) fn new(check: Option<Check>) -> Self {
        Self { check, health: Health::default(), begun: None, next: None, running: None }
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.limit).or(self.next)
    }

    /// What the check that runs prints.
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref()?.output.as_ref().map(AsFd::as_fd)
    }

    fn is_early(&self) -> bool {
        let period = self.check.as_ref().map_or(Duration::ZERO, |check| check.start_period);
        self.begun.is_some_and(|begun| begun.elapsed() < period)
    }

    /// The next check is an interval from now.
    fn rest(&mut self) {
        let starting = self.is_early() && self.health.status == HealthStatus::Starting;
        let interval = |check: &Check| if starting { check.start_interval } else { check.interval };
        self.next = self.check.as_ref().map(|check| Instant::now() + interval(check));
    }
}

impl Keeper {
    /// The container runs: its health is watched from now on.
    pub(super) fn watch_health(&mut self) {
        self.watch.begun = Some(Instant::now());
        self.watch.rest();
    }

    /// The check that runs has printed something.
    pub(super) fn hear_check(&mut self) {
        if let Some(running) = &mut self.watch.running {
            running.hear();
        }
    }

    /// Begins a check that is due, and ends one that takes too long.
    pub(super) fn check_health(&mut self) {
        if self.watch.deadline().is_none_or(|at| at > Instant::now()) {
            return;
        }
        let Some(running) = &mut self.watch.running else { return self.begin_check() };
        let process_id = running.process;
        if running.overdue {
            // The guest does not end it. It is left to itself, and the container's end is its end.
            return self.checked(process_id, None);
        }
        (running.overdue, running.limit) = (true, Instant::now() + PATIENCE);
        self.tell_agent_at_last(HostMessage::Signal { process_id, signal: KILL });
    }

    fn begin_check(&mut self) {
        self.watch.rest();
        let Some(check) = &self.watch.check else { return };
        // Who stands still is not ill; and nothing is asked of a container that is being written down.
        if self.stage != Stage::Running || self.is_paused() {
            return;
        }
        let pipes = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .and_then(|(near, far)| Ok((near, rustix::io::fcntl_dupfd_cloexec(&far, 0)?, far)));
        // Out of descriptors: the next may do better.
        let Ok((output, stdout, stderr)) = pipes else { return };
        let (process, limit) = (Box::new(check.process.clone()), Instant::now() + check.timeout);
        let mut streams = Streams::new(Input::new(false, true), outputs(false));
        streams.attach(Stream::Stdout, KEEPER, stdout);
        streams.attach(Stream::Stderr, KEEPER, stderr);
        let id = self.next_process;
        self.next_process += 1;
        self.execs.push(Exec::begun(id, streams, KEEPER, process));
        let (start, text) = (timestamp::now(), Vec::new());
        self.watch.running =
            Some(Running { process: id, start, limit, overdue: false, output: Some(output), text });
    }

    /// A check is over, and all that it printed is there; `None` is that it does not end.
    pub(super) fn checked(&mut self, process: ProcessId, news: Option<&ExecNews>) {
        let Some(mut running) = self.watch.running.take_if(|running| running.process == process) else {
            return;
        };
        let Some(check) = &self.watch.check else { return };
        running.hear();
        let timeout = check.timeout.as_secs_f64();
        let (exit_code, output) = match news {
            _ if running.overdue => (-1, format!("Health check exceeded timeout ({timeout}s)")),
            Some(ExecNews::Exited { code }) => (i16::from(*code), printable(&running.text)),
            Some(ExecNews::Failed { message, .. } | ExecNews::Refused { message }) => (-1, message.clone()),
            Some(ExecNews::Started) | None => return,
        };
        // What ended with its container says nothing.
        if self.stage > Stage::Resting {
            return;
        }
        let retries = check.retries;
        let result = CheckResult { start: running.start, end: timestamp::now(), exit_code, output };
        let early = self.watch.is_early();
        self.watch.health.take(result, retries, early);
        self.watch.rest();
        self.record.health(&self.watch.health);
    }
}

#[cfg(test)]
#[path = "health_test.rs"]
mod tests;
