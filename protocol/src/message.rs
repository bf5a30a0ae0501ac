//! What the host and the agent say to each other.

use serde::{Deserialize, Serialize};

use crate::{Container, Image, Limits, Network, Process, Renaming, Rewrite, SEED, Stdio, WindowSize};

/// A process as the host numbers it: unique for the life of a VM, never reused.
pub type ProcessId = u32;
/// A signal number as Linux on x86_64 counts them, 1 to 64.
pub type Signal = u8;

/// From the host to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HostMessage {
    /// The answer to the agent's hello.
    Hello {
        /// Protocol version of the host.
        version: u32,
        /// Largest frame body the host accepts, in bytes.
        max_frame: u32,
    },
    /// Builds a container and starts its first process in it.
    Run {
        /// Number of the container's first process.
        process_id: ProcessId,
        /// The container.
        container: Box<Container>,
        /// Its first process, PID 1 of its PID namespace.
        process: Box<Process>,
        /// Where the streams of the process go.
        stdio: Stdio,
    },
    /// Starts a further process in a running container.
    Exec {
        /// Number of the new process.
        process_id: ProcessId,
        /// Number of the container's first process: a container that goes on from a checkpoint may have another id by now.
        first: ProcessId,
        /// What to run.
        process: Box<Process>,
        /// Where its streams go.
        stdio: Stdio,
    },
    /// Sends a signal to a process; to one that has ended it is not an error.
    Signal {
        /// The process.
        process_id: ProcessId,
        /// The signal.
        signal: Signal,
    },
    /// Gives a container other limits; those that are absent stay. Answered by [`AgentMessage::Limited`].
    Limit {
        /// Its first process.
        process_id: ProcessId,
        /// The limits.
        limits: Limits,
    },
    /// The terminal of a process changed its size.
    Resize {
        /// The process.
        process_id: ProcessId,
        /// The new size.
        size: WindowSize,
    },
    /// Prepares what a container will need, listens on [`crate::AGENT_PORT`] of the guest, says [`AgentMessage::Resting`] and waits: here a
    /// snapshot is taken. The next connection is to that port, and begins as the first did.
    Rest {
        /// What the next container will be made of, if that is known.
        #[serde(default)]
        image: Option<Image>,
    },
    /// Rests as for [`Self::Rest`], but with containers that run. Streams are closed at a clean point: what was sent is followed by the
    /// end of its connection, what was not stays in the guest. The agent answers with [`AgentMessage::Suspending`]; the host then
    /// half-closes the connections of inputs, and the agent takes what is on its way there. [`AgentMessage::Resting`] follows.
    Suspend,
    /// The first request after a rest: the guest may be a copy of another, and some time has passed.
    Wake {
        /// Random bytes that no other copy is given.
        seed: [u8; SEED],
        /// The host's `CLOCK_REALTIME`, in nanoseconds.
        realtime_ns: u64,
    },
    /// After a rest with [`Self::Suspend`]: connects the streams of a process again, those that are not over. Answered by
    /// [`AgentMessage::Reopened`], also when the process has ended.
    Reopen {
        /// The process.
        process_id: ProcessId,
        /// Where its streams go now.
        stdio: Stdio,
        /// What its container is called from now on, if that is something else.
        #[serde(default)]
        renaming: Option<Renaming>,
        /// The networks that it is in from now on, if it is in one.
        #[serde(default)]
        networks: Vec<Network>,
    },
    /// Has a container that runs be in these networks, and in no others; the card is the container's from then on. Answered by
    /// [`AgentMessage::Connected`].
    Networks {
        /// Its first process.
        process_id: ProcessId,
        /// The networks, the first of which leads to everybody else.
        networks: Vec<Network>,
        /// Files that the host provided and that say so, too.
        files: Vec<Rewrite>,
    },
    /// Has the processes of a container stand still, or go on. Answered by [`AgentMessage::Frozen`].
    Freeze {
        /// Its first process.
        process_id: ProcessId,
        /// They are to stand still.
        frozen: bool,
    },
    /// Removes the writable layer of a container that is no more, when there is time for that. Answered as a process that does so would be.
    Forget {
        /// A number that no process has.
        process_id: ProcessId,
        /// The container's id.
        container: String,
    },
    /// Ends every process, writes everything to the data disk and unmounts it; answered by [`AgentMessage::Stopped`].
    Shutdown,
}

/// From the agent to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentMessage {
    /// The agent is up: the first message of a connection.
    Hello {
        /// Protocol version of the agent.
        version: u32,
        /// Largest frame body the agent accepts, in bytes.
        max_frame: u32,
        /// What the agent can do beyond version 1, by name.
        #[serde(default)]
        features: Vec<String>,
        /// The guest kernel's release, as `uname -r` prints it.
        kernel: String,
        /// Guest `CLOCK_MONOTONIC` at the agent's first instruction, in nanoseconds.
        #[serde(default)]
        first_instruction_ns: u64,
        /// The same clock when this message was made.
        #[serde(default)]
        ready_ns: u64,
    },
    /// The answer to [`HostMessage::Suspend`]: from here on the end of an input's connection is not the end of the input.
    Suspending,
    /// The answer to [`HostMessage::Rest`], and the second to [`HostMessage::Suspend`]: the last message of its connection.
    Resting,
    /// The answer to [`HostMessage::Reopen`]: a stream that is not connected by now never will be.
    Reopened {
        /// The process.
        process_id: ProcessId,
    },
    /// The process was executed (`execve` succeeded).
    Started {
        /// The process.
        process_id: ProcessId,
        /// Its PID in the guest's first PID namespace.
        pid: u32,
    },
    /// The process could not be started. Nothing of it is left.
    Failed {
        /// The process.
        process_id: ProcessId,
        /// What kind of failure, which decides the exit code.
        kind: FailureKind,
        /// For the user: names the thing.
        message: String,
    },
    /// The process ended, and its streams are drained and closed.
    Exited {
        /// The process.
        process_id: ProcessId,
        /// How.
        status: ExitStatus,
        /// Whether the kernel killed a process of this container for want of memory.
        #[serde(default)]
        oom_killed: bool,
    },
    /// The answer to [`HostMessage::Limit`].
    Limited {
        /// Why not all of them are set.
        #[serde(default)]
        error: Option<String>,
    },
    /// The answer to [`HostMessage::Freeze`].
    Frozen {
        /// The container's first process.
        process_id: ProcessId,
        /// Why they do not stand still, or go on.
        #[serde(default)]
        error: Option<String>,
    },
    /// The answer to [`HostMessage::Networks`].
    Connected {
        /// Why it is not.
        #[serde(default)]
        error: Option<String>,
    },
    /// The guest wants to have this much memory. It is given as much of it as it may have ([`crate::Limits::guest_memory`]), and
    /// sees when it is there.
    Memory {
        /// Bytes, with those it has.
        wanted: u64,
    },
    /// The data disk is written and unmounted; the VM may be ended now. Also sent unasked, before the agent resets the VM.
    Stopped {
        /// Why, for the record.
        reason: String,
    },
    /// The agent cannot go on (for example: the guest rootfs is damaged). It resets the VM after this.
    Fatal {
        /// For the user: names the thing.
        message: String,
    },
}

/// Why a process could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The command does not exist: exit code 127.
    NotFound,
    /// The command exists and cannot be executed: exit code 126.
    NotExecutable,
    /// The user, the working directory or another part of the request is wrong: exit code 125 or 126, as Docker has it.
    Invalid,
    /// The guest failed: exit code 125.
    Internal,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// By `exit`, with this code.
    Code(u8),
    /// By this signal.
    Signal(Signal),
}

impl ExitStatus {
    /// The code a shell and Docker show: the exit code, or 128 plus the signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}
