//! What a front end and a keeper say to each other over the keeper's socket, `ctl`.
//!
//! Each message is a packet with at most one descriptor beside it (see [`crate::vmm::channel`]). The data of
//! attached streams never passes here: the front end makes pipes and sends their far ends.

use std::net::Ipv4Addr;

use hull_protocol::{Limits, Signal, WindowSize};
use serde::{Deserialize, Serialize};

/// From a front end to the keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Connects a stream of the container's process with the pipe beside the message. The keeper makes it
    /// non-blocking, so the front end must not share that end with anybody.
    Attach {
        /// Which.
        stream: Stream,
    },
    /// The front end's own terminal is beside the message: put back as it is now should the front end die without
    /// [`Self::Detach`]. Answered by [`KeeperMessage::TerminalKept`]; not to be changed before.
    Terminal,
    /// Leaves the streams open in the container and takes this client's away; the front end is about to leave.
    Detach,
    /// Sends a signal to the container's process.
    Signal {
        /// The signal.
        signal: Signal,
    },
    /// Nobody wants what the container has written: at its end its data disk is left as it is. Followed by SIGKILL, where it is
    /// to end now.
    Discard,
    /// Sends the stop signal, and SIGKILL if the process has not ended in time.
    Stop {
        /// Instead of the container's own stop signal.
        signal: Option<Signal>,
        /// Seconds before SIGKILL, instead of the container's own; negative waits for ever.
        timeout: Option<i64>,
    },
    /// The terminal has a new size.
    Resize {
        /// The new size.
        size: WindowSize,
    },
    /// Prepares another process in the container: [`hull_protocol::Process`], as JSON in the file beside the message. From here on this
    /// connection has to do with that process: what is attached is its, and the size of its terminal is told.
    Exec {
        /// It has an input.
        stdin: bool,
        /// Nobody is to see its output.
        detached: bool,
    },
    /// Starts the process that was prepared.
    Begin,
    /// Gives the container other limits; answered by [`KeeperMessage::Updated`] or [`KeeperMessage::Refused`].
    Update {
        /// The limits.
        limits: Limits,
        /// Most memory of the VM, in bytes.
        most_memory: u64,
    },
    /// Has the container be in another network, too; answered by [`KeeperMessage::Updated`] or [`KeeperMessage::Refused`].
    Connect {
        /// The network.
        network: String,
        /// What others there call it, beside its name.
        aliases: Vec<String>,
        /// The address that it wants.
        address: Option<Ipv4Addr>,
    },
    /// Has it be in that network no longer; answered likewise.
    Disconnect {
        /// The network.
        network: String,
    },
    /// Has other ports of it be reached from outside: [`crate::network::control::Republish`], as JSON in the file beside the message;
    /// answered likewise.
    Publish,
    /// Has the VM stand still; answered by [`KeeperMessage::Paused`] or [`KeeperMessage::Refused`].
    Pause,
    /// Lets it go on; answered by [`KeeperMessage::GoesOn`] or [`KeeperMessage::Refused`].
    Unpause,
    /// Brings the container to rest and writes its VM to the empty file beside the message, see [`crate::vmm::snapshot`]. Answered by
    /// [`KeeperMessage::Frozen`] or [`KeeperMessage::Refused`].
    Freeze,
    /// Lets the VM go on that this front end froze. The end of its connection does, too.
    Thaw,
    /// Ends the container whose VM this front end froze.
    Halt,
}

/// A stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Its input: the read end of a pipe.
    Stdin,
    /// Its output: the write end of a pipe. All of a terminal's output is here.
    Stdout,
    /// Its errors: the write end of a pipe.
    Stderr,
}

/// From the keeper to each front end. A new connection is first told where the container is by now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum KeeperMessage {
    /// The answer to [`ClientMessage::Terminal`].
    TerminalKept,
    /// The container's process runs.
    Started,
    /// It could not be started.
    Failed {
        /// Exit code of `hull run`: 125, 126 or 127.
        code: u8,
        /// Why.
        message: String,
    },
    /// The process ended and its output is delivered.
    Exited {
        /// Its exit code, as Docker counts it.
        code: u8,
        /// Whether the kernel killed something in the container for want of memory.
        oom_killed: bool,
        /// What went wrong around it, if anything did.
        error: Option<String>,
    },
    /// Of the process that this front end asked for with [`ClientMessage::Exec`].
    Exec {
        /// What is new.
        news: ExecNews,
    },
    /// The answer to [`ClientMessage::Freeze`]: the VM is written and stands still. Beside it is the guest rootfs
    /// that it has.
    Frozen,
    /// The other answer: it is not, and goes on.
    Refused {
        /// Why: the end of a sentence about the container.
        message: String,
    },
    /// The answer to [`ClientMessage::Update`] and other changes: it has.
    Updated {
        /// What else there is to know: the rest of a sentence about the container.
        warning: Option<String>,
    },
    /// The answer to [`ClientMessage::Pause`].
    Paused,
    /// To whoever had it stand still, or let it go on: it does.
    GoesOn,
    /// The VM is gone and the record written; the keeper closes the connection and ends.
    Gone {
        /// When things happened.
        timings: Timings,
        /// What went wrong in all, also after [`Exited`](Self::Exited) was said.
        error: Option<String>,
    },
}

/// What becomes of a process beside a container's first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecNews {
    /// It runs.
    Started,
    /// The keeper does not have it started.
    Refused {
        /// Why.
        message: String,
    },
    /// It could not be started.
    Failed {
        /// Exit code of `hull exec`: 126 or 127.
        code: u8,
        /// Why.
        message: String,
    },
    /// It ended and its output is delivered.
    Exited {
        /// Its exit code, as Docker counts it.
        code: u8,
    },
}

/// When the stages of a container's life were reached, in nanoseconds of the host's `CLOCK_MONOTONIC`;
/// 0 is not reached. The guest's own times are of the guest's clock, which starts with its kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// The keeper's `main`.
    pub keeper_ns: u64,
    /// The VMM's `main`.
    pub vmm_ns: u64,
    /// The first `KVM_RUN`.
    pub first_run_ns: u64,
    /// The agent's hello arrived.
    pub hello_ns: u64,
    /// Guest clock: the agent's first instruction.
    pub guest_first_instruction_ns: u64,
    /// Guest clock: the agent was ready.
    pub guest_ready_ns: u64,
    /// The process was executed.
    pub started_ns: u64,
    /// Its exit was seen.
    pub exited_ns: u64,
    /// The VM was gone.
    pub gone_ns: u64,
}
