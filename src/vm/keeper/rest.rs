//! A rest: the container's VM stands still while somebody writes it down, and goes on, or ends.
//!
//! ```text
//!              Suspend ▶         ◀ Suspending           ◀ Resting        ◀ snapshot written
//! Running ──────────────▶ Parting ──────────▶ Settling ──────────▶ Writing ──────────▶ Frozen
//!    ▲                                                     │ not wanted any more          │ Thaw, or whoever froze it left
//!    └───────────────────────── Reopened ────────── Returning ◀───────────────────────────┤
//!                                                                                         └─ Halt ─▶ the end
//! ```
//! *Parting*: the agent closes the outputs behind what it has sent. *Settling*: it takes the last of the input. So no byte is on
//! its way when the VM is written, and each is either with the host or in the guest. An output's connection may still have bytes to
//! deliver when the next one is there already (see [`super::streams`]). What a front end asks of the process meanwhile is
//! held until the agent is back.

use std::os::fd::{AsFd, OwnedFd};

use hull_protocol::{ExitStatus, HostMessage, MAX_FRAME, Renaming, VERSION};

use super::{ClientId, Ending, KILL, Keeper, Output, PROCESS, Stage, events::stdio};
use crate::{
    vm::control::KeeperMessage,
    vmm::{control::KeeperMessage as ToVmm, monotonic_ns},
};

/// How far a rest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Parting,
    Settling,
    Writing,
    Frozen,
    Returning,
}

/// A rest.
#[derive(Debug)]
pub struct Rest {
    /// Who wants it.
    client: ClientId,
    /// Where the VM is written to.
    file: OwnedFd,
    phase: Phase,
    /// It is not wanted any more: everything goes on as soon as it can.
    abandoned: bool,
    /// The process ended before it could rest.
    exited: Option<(ExitStatus, bool)>,
}

impl Keeper {
    /// A front end wants the VM to stand still, written to this file.
    pub(super) fn freeze(&mut self, client: ClientId, file: OwnedFd) {
        let refusal = match self.stage {
            Stage::Resting => "another command makes a checkpoint of it; try again when that is done",
            Stage::Booting | Stage::Starting => "it is being started; try again when it runs",
            Stage::Running if self.is_paused() => "it is paused; let it go on first",
            Stage::Running if !self.execs.is_empty() => {
                "a process that `hull exec` started runs in it; try again when that has ended"
            }
            Stage::Running if self.agent.is_some() => {
                self.streams.outputs.iter_mut().for_each(Output::rest);
                self.rest =
                    Some(Rest { client, file, phase: Phase::Parting, abandoned: false, exited: None });
                self.enter(Stage::Resting);
                return self.tell_agent(&HostMessage::Suspend);
            }
            _ => "it has ended",
        };
        self.refuse(client, refusal);
    }

    pub(super) fn refuse(&self, client: ClientId, message: &str) {
        self.answer(client, &KeeperMessage::Refused { message: message.to_owned() });
    }

    pub(super) fn answer(&self, client: ClientId, message: &KeeperMessage) {
        if let Some(client) = self.clients.iter().find(|known| known.id == client) {
            client.tell(message);
        }
    }

    /// The rest comes to nothing: whoever wanted it is told why, and everything goes on when it can.
    pub(super) fn abandon_rest(&mut self, why: &str) {
        let Some(rest) = self.rest.as_mut().filter(|rest| rest.phase != Phase::Returning) else { return };
        let client = rest.client;
        if !std::mem::replace(&mut rest.abandoned, true) {
            self.refuse(client, why);
        }
    }

    /// The agent has closed the outputs, and knows that the input's connection will end.
    pub(super) fn agent_suspends(&mut self) {
        if let Some(rest) = self.rest.as_mut().filter(|rest| rest.phase == Phase::Parting) {
            rest.phase = Phase::Settling;
            self.streams.input.rest();
        }
    }

    /// The agent has gone to rest; its connection is of no more use.
    pub(super) fn agent_rests(&mut self) {
        let Some(rest) = self.rest.as_mut().filter(|rest| rest.phase == Phase::Settling) else {
            return self.fail("the agent broke its protocol: it rests and was not told to");
        };
        self.deadline = None;
        if rest.abandoned {
            return self.call_back();
        }
        rest.phase = Phase::Writing;
        if let Err(error) = self.vmm.control.send(&ToVmm::Snapshot, Some(rest.file.as_fd())) {
            self.fail(&format!("the VMM cannot be told anything: {error}"));
        }
    }

    /// The VMM has written the VM, or not.
    pub(super) fn frozen(&mut self, error: Option<String>) {
        let Some(rest) = self.rest.as_mut().filter(|rest| rest.phase == Phase::Writing) else { return };
        rest.phase = Phase::Frozen;
        if let Some(error) = error {
            // The VM goes on by itself.
            self.abandon_rest(&error);
            self.call_back();
        } else if rest.abandoned {
            self.thaw();
        } else {
            let client = rest.client;
            if let Some(client) = self.clients.iter().find(|known| known.id == client) {
                let rootfs = self.task.rootfs.as_ref().map(AsFd::as_fd);
                // One that is gone is found out by its connection.
                let _ = client.channel.send(&KeeperMessage::Frozen, rootfs);
            }
        }
    }

    /// Whether this front end has the VM stand still.
    pub(super) fn is_frozen_by(&self, client: ClientId) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.client == client && rest.phase == Phase::Frozen)
    }

    /// A front end is gone: nobody waits for its rest.
    pub(super) fn lose_rest(&mut self, client: ClientId) {
        if self.is_frozen_by(client) {
            self.thaw();
        } else if let Some(rest) = self.rest.as_mut().filter(|rest| rest.client == client) {
            rest.abandoned = true;
        }
    }

    /// Lets the VM go on.
    pub(super) fn thaw(&mut self) {
        match self.vmm.control.send(&ToVmm::Resume, None) {
            Ok(()) => self.call_back(),
            Err(error) => self.fail(&format!("the VMM cannot be told anything: {error}")),
        }
    }

    /// The VM that stands still is not to go on.
    pub(super) fn halt(&mut self) {
        self.stopped = true;
        self.rest = None;
        self.timings.exited_ns = monotonic_ns();
        let error = self.log_error.take();
        // As if it was killed, which is what it comes to.
        self.ending.get_or_insert(Ending::Exited { code: 128 + KILL, oom_killed: false, error });
        self.escalation = None;
        self.streams.end();
        self.end_execs();
        self.enter(Stage::Draining);
    }

    /// Connects to the agent again.
    fn call_back(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.phase = Phase::Returning;
        }
        self.enter(Stage::Resting);
        self.call_agent();
    }

    /// Whether the agent is to say hello again.
    pub(super) fn is_returning(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.phase == Phase::Returning)
    }

    /// The agent is back after a rest.
    pub(super) fn greet_again(&mut self) {
        self.tell_agent(&HostMessage::Hello { version: VERSION, max_frame: MAX_FRAME });
        self.wake_agent();
        // Its network is as it was.
        self.reopen(None, Vec::new());
    }

    /// The agent was greeted, in the same VM or in one that goes on from a checkpoint: has it connect the process again.
    pub(super) fn reopen(&mut self, renaming: Option<Renaming>, networks: Vec<hull_protocol::Network>) {
        let stdio = stdio(PROCESS, &self.streams, self.task.stdin);
        self.tell_agent(&HostMessage::Reopen { process_id: PROCESS, stdio, renaming, networks });
    }

    /// The streams are connected again, those that are not over.
    pub(super) fn reopened(&mut self) {
        self.streams.outputs.iter_mut().for_each(Output::expect_no_connection);
        self.streams.input.expect_no_connection();
        let rest = self.rest.take();
        if !self.started {
            self.mark_started();
        }
        self.enter(Stage::Running);
        for message in std::mem::take(&mut self.held) {
            self.tell_agent(&message);
        }
        let Some(rest) = rest else { return };
        self.answer(rest.client, &KeeperMessage::GoesOn);
        if let Some((status, oom_killed)) = rest.exited {
            self.exited(status, oom_killed);
        }
    }

    /// The process ended while the agent was asked to rest.
    pub(super) fn exited_at_rest(&mut self, status: ExitStatus, oom_killed: bool) {
        self.abandon_rest("it has ended");
        if let Some(rest) = &mut self.rest {
            rest.exited = Some((status, oom_killed));
        }
    }

    /// Tells the agent now, or when it is back.
    pub(super) fn tell_agent_at_last(&mut self, message: HostMessage) {
        if self.stage == Stage::Resting { self.held.push(message) } else { self.tell_agent(&message) }
    }

    /// The time limit of a rest is over.
    pub(super) fn rest_overdue(&mut self) {
        if self.is_returning() {
            self.fail("the agent did not come back from the checkpoint");
        } else {
            self.deadline = None;
            self.abandon_rest("its guest does not answer; see whether it is busy, and try again");
        }
    }
}
