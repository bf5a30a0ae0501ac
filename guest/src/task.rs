//! A process of the host's, from the request to its exit.

use std::mem;

use hull_protocol::{AgentMessage, ExitStatus, Process, ProcessId};
use rustix::{
    fd::{AsFd, OwnedFd},
    io::Errno,
    process::{WaitId, WaitIdOptions, waitid},
};

use crate::{
    child::{Child, News, Progress},
    failure::Failure,
    process,
    stdio::Stdio,
    sys,
};

/// How long the output of a process that ended may pause before nobody waits for more of it: another process holds the
/// pipe, and may do so for ever.
pub const LINGER_NS: u64 = 3_000_000_000;

/// A process.
pub struct Task {
    /// Its number.
    pub id: ProcessId,
    /// Id of its container.
    pub container: String,
    /// Its streams.
    pub stdio: Stdio,
    pid: u32,
    pidfd: OwnedFd,
    /// Until it has executed its program.
    child: Option<Child>,
    /// What it is to be; needed to explain failures, emptied when it runs.
    process: Box<Process>,
    /// Namespaces of a container that this is the first process of. While somebody holds them, the process does not have to
    /// wait for their end, which takes long, before its own is seen.
    namespaces: Vec<OwnedFd>,
    failure: Option<Failure>,
    /// How it ended, and when its output was last heard of.
    ended: Option<(ExitStatus, u64)>,
}

impl Task {
    /// A process that is being started.
    pub fn new(
        id: ProcessId,
        container: String,
        process: Box<Process>,
        stdio: Stdio,
        child: Child,
        pidfd: OwnedFd,
    ) -> Self {
        let pid = child.pid();
        let (namespaces, child) = (Vec::new(), Some(child));
        Self { id, container, stdio, pid, pidfd, child, process, namespaces, failure: None, ended: None }
    }

    /// Its number in the guest's PID namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Readable when there is news of its start, while it is being started.
    pub fn news(&self) -> Option<&OwnedFd> {
        self.child.as_ref().map(Child::socket)
    }

    /// Takes news of its start. True when the program was executed just now.
    pub fn follow_start(&mut self) -> bool {
        loop {
            let Some(child) = &self.child else { return false };
            match child.receive() {
                Err(_) => return false,
                Ok(News::Terminal(files)) => {
                    let terminal = files.into_iter().next().ok_or(Errno::BADF);
                    if let Err(error) = terminal.and_then(|terminal| self.stdio.set_terminal(terminal)) {
                        self.failure = Some(Failure::internal("cannot take the terminal", error));
                        self.signal(libc::SIGKILL as u8);
                    }
                }
                Ok(News::Namespaces(files)) => self.namespaces = files,
                Ok(News::Left) => break,
            }
        }
        let Some(child) = self.child.take() else { return false };
        let failure = match child.progress() {
            Progress::Executing => None,
            Progress::Underway => {
                Some(Failure::internal("the process was killed before it was started", Errno::SRCH))
            }
            Progress::Failed { part, step, fault } => Some(match child.step(part, step) {
                Some(step) => process::explain(step, &self.process, fault),
                None => Failure::internal("cannot prepare the process", fault.error),
            }),
        };
        // SAFETY: the end of its socket was seen, so it has executed its program or is gone.
        unsafe { child.released() };
        *self.process = Process::default();
        self.failure = self.failure.take().or(failure);
        self.failure.is_none()
    }

    /// Sends it a signal; one that has ended does not mind.
    pub fn signal(&self, signal: u8) {
        let _ = sys::send_signal(self.pidfd.as_fd(), signal);
    }

    /// Reaps it if it has ended.
    pub fn reap(&mut self, now: u64) {
        if self.ended.is_some() {
            return;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if let Ok(Some(status)) = waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            let status = match (status.exit_status(), status.terminating_signal()) {
                (_, Some(signal)) => ExitStatus::Signal(signal as u8),
                (code, None) => ExitStatus::Code(code.unwrap_or_default() as u8),
            };
            self.ended = Some((status, now));
        }
    }

    /// How it ended.
    pub fn status(&self) -> Option<ExitStatus> {
        self.ended.map(|(status, _)| status)
    }

    /// Has it ended otherwise than the kernel says.
    pub fn judge(&mut self, judge: impl Fn(ExitStatus) -> ExitStatus) {
        if let Some((status, _)) = &mut self.ended {
            *status = judge(*status);
        }
    }

    /// The network namespace that it is the first process of, to be closed later than the rest.
    pub fn take_network(&mut self) -> Option<OwnedFd> {
        // The first is of mounts.
        if self.namespaces.len() > 1 { self.namespaces.pop() } else { None }
    }

    /// Notes that output came after the end.
    pub fn heard(&mut self, now: u64) {
        if let Some((_, heard)) = &mut self.ended {
            *heard = now;
        }
    }

    /// When to stop waiting for output, if it has ended and there may be more.
    pub fn deadline(&self) -> Option<u64> {
        self.ended.filter(|_| !self.stdio.is_severed()).map(|(_, heard)| heard + LINGER_NS)
    }

    /// Whether nothing more is to come of it.
    pub fn is_over(&self, now: u64) -> bool {
        let waited = || self.deadline().is_some_and(|deadline| now >= deadline);
        self.ended.is_some()
            && self.child.is_none()
            && !self.stdio.is_severed()
            && (self.failure.is_some() || self.stdio.is_drained() || waited())
    }

    /// What the host is told when it is over.
    pub fn last_message(&mut self, oom_killed: bool) -> AgentMessage {
        let process_id = self.id;
        match mem::take(&mut self.failure) {
            Some(Failure { kind, message }) => AgentMessage::Failed { process_id, kind, message },
            None => {
                let status = self.status().unwrap_or(ExitStatus::Code(0));
                AgentMessage::Exited { process_id, status, oom_killed }
            }
        }
    }

    /// What the host is told when it has been started.
    pub fn started_message(&self) -> AgentMessage {
        AgentMessage::Started { process_id: self.id, pid: self.pid }
    }
}
