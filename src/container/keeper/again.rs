//! Starting a container again when it has ended, for as long as its restart policy says so.
//!
//! The keeper stays, and with it the container's lock: nobody takes it for one that does not run. Between two runs it listens
//! to front ends, of which one may have it stopped.

use std::{
    cell::RefCell,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::SocketFlags,
};

use super::{Recorder, Visitors};
use crate::{
    container::{
        ContainerId, Error, Result,
        restart::{Restarts, When},
        signal,
        state::{Folder, Lock, Status, Store},
    },
    vm::{
        control::{ClientMessage, ExecNews, KeeperMessage, Timings},
        signals::Signals,
        timestamp, wait,
    },
    vmm::{
        channel::{Channel, Received},
        monotonic_ns,
    },
};

/// Front ends that are heard at once.
const MOST: usize = 64;

/// What is needed to start a container again.
pub(super) struct Again {
    lock: Lock,
    pub restarts: Rc<RefCell<Restarts>>,
}

impl Again {
    /// For a container whose lock this is.
    pub fn new(lock: &Lock) -> Result<Self> {
        let lock = lock.0.try_clone().map_err(|error| Error::Keeper(format!("cannot prepare: {error}")))?;
        Ok(Self { lock: Lock(lock), restarts: Rc::default() })
    }

    /// Starts it again and again, until it is not to be. `template` is that its VM may go on from one.
    pub fn go_on(self, id: &ContainerId, template: bool) {
        // A decision is made at each end, and taken here.
        loop {
            let next = self.restarts.borrow_mut().next.take();
            let Some(wait) = next else { return };
            let Ok(store) = Store::open() else { return };
            let folder = Folder::new(&store.containers(), id.clone());
            let (visitors, listener) = match pause(&folder, wait) {
                Ok(Pause { visitors, listener, stopped: false }) => (visitors, listener),
                Ok(Pause { visitors, stopped: true, .. }) => return over(&folder, visitors),
                Err(_) => return over(&folder, Visitors::default()),
            };
            // The policy may have been changed meanwhile.
            if folder
                .description()
                .ok()
                .flatten()
                .is_none_or(|it| it.host_config.restart_policy.name == When::No)
            {
                return over(&folder, visitors);
            }
            let Ok(lock) = self.lock.0.try_clone() else { return over(&folder, visitors) };
            let Ok(record) = Recorder::open(id.clone(), Lock(lock), &self) else {
                return over(&folder, visitors);
            };
            let keeper_ns = monotonic_ns();
            match record.prepare(false, template, None, Some(listener)) {
                Ok(prepared) => prepared.run(record, visitors, keeper_ns),
                Err(error) => record.not_started(&error, visitors, keeper_ns),
            }
        }
    }
}

/// How the time between two runs went.
struct Pause {
    visitors: Visitors,
    listener: OwnedFd,
    /// It is not to be started again.
    stopped: bool,
}

/// Waits before the next run, and listens meanwhile.
fn pause(folder: &Folder, wait: Duration) -> std::io::Result<Pause> {
    let end = Instant::now() + wait;
    let signals = Signals::take(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])?;
    let listener = folder.listen()?;
    let mut others: Vec<Channel> = Vec::new();
    let mut stopped = false;
    loop {
        if Instant::now() >= end || stopped {
            return Ok(Pause { visitors: Visitors { first: None, others }, listener, stopped });
        }
        let mut set = vec![PollFd::new(&signals, PollFlags::IN)];
        if others.len() < MOST {
            set.push(PollFd::new(&listener, PollFlags::IN));
        }
        set.extend(others.iter().map(|other| PollFd::from_borrowed_fd(other.as_fd(), PollFlags::IN)));
        let _ = poll(&mut set, Some(&wait::left(end)));
        stopped = signals.next().is_some();
        others.retain(|other| hear(other, &mut stopped));
        if others.len() < MOST
            && let Ok(other) = accept(&listener)
        {
            others.push(other);
        }
    }
}

fn accept(listener: &OwnedFd) -> std::io::Result<Channel> {
    let channel = Channel::from(rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?);
    channel.set_nonblocking(true)?;
    Ok(channel)
}

/// Hears a front end; returns whether it is still there.
fn hear(channel: &Channel, stopped: &mut bool) -> bool {
    let refusal = || "is restarting, wait until the container is running".to_owned();
    loop {
        let answer = match channel.receive::<ClientMessage>() {
            Ok(Received::Message(ClientMessage::Stop { .. }, _)) => {
                *stopped = true;
                continue;
            }
            Ok(Received::Message(ClientMessage::Signal { signal }, _)) => {
                *stopped |= matches!(signal, signal::KILL | signal::TERM);
                continue;
            }
            Ok(Received::Message(ClientMessage::Exec { .. }, _)) => {
                let message = format!("the container {}", refusal());
                KeeperMessage::Exec { news: ExecNews::Refused { message } }
            }
            Ok(Received::Message(
                ClientMessage::Pause
                | ClientMessage::Unpause
                | ClientMessage::Freeze
                | ClientMessage::Update { .. }
                | ClientMessage::Connect { .. }
                | ClientMessage::Disconnect { .. }
                | ClientMessage::Publish,
                _,
            )) => KeeperMessage::Refused { message: refusal() },
            // It waits for what comes, and is told by the next run.
            Ok(Received::Message(
                ClientMessage::Attach { .. }
                | ClientMessage::Terminal
                | ClientMessage::Detach
                | ClientMessage::Resize { .. }
                | ClientMessage::Begin
                | ClientMessage::Discard
                | ClientMessage::Thaw
                | ClientMessage::Halt,
                _,
            )) => continue,
            Ok(Received::Nothing) => return true,
            Ok(Received::Closed) | Err(_) => return false,
        };
        if channel.send(&answer, None).is_err() {
            return false;
        }
    }
}

/// It is not started again: says so to everybody.
fn over(folder: &Folder, visitors: Visitors) {
    let Ok(mut state) = folder.state() else { return };
    if state.status == Status::Restarting {
        (state.status, state.keeper_pid) = (Status::Exited, 0);
        if state.finished_at == timestamp::NEVER {
            state.finished_at = timestamp::now();
        }
        let _ = folder.write_state(&state);
    }
    let _ = std::fs::remove_file(folder.file("ctl"));
    let timings = Timings::default();
    for other in visitors.others {
        let (code, oom_killed) = (state.exit_code, state.oom_killed);
        let _ = other.send(&KeeperMessage::Exited { code, oom_killed, error: None }, None);
        let _ = other.send(&KeeperMessage::Gone { timings, error: None }, None);
    }
}

#[cfg(test)]
#[path = "again_test.rs"]
mod tests;
