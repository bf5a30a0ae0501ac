//! What a keeper and its VMM say to each other over the control socket.
//!
//! A message is one packet of JSON on a `SOCK_SEQPACKET` pair, at most [`MAX_PACKET`] bytes, with at most one
//! descriptor beside it (`SCM_RIGHTS`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Largest packet, in bytes.
pub const MAX_PACKET: usize = 16 << 10;

/// From the keeper to the VMM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum KeeperMessage {
    /// Opens a vsock connection to this port of the guest; the stream socket beside the message is its host end.
    Connect {
        /// The guest's port.
        port: u32,
    },
    /// Appends a layer to the layer disk; its file is beside the message.
    AppendLayer,
    /// The guest is to have this much memory beside what it began with, and is told so. It takes its time, and need not obey.
    Memory {
        /// Bytes; what is over the size of the VM's memory device is not to be had.
        size: u64,
    },
    /// Connects the network card to a network, in place of the one there; the socket for frames is beside the message (see
    /// [`hull_devices::net`]).
    Network {
        /// The connection's number.
        place: u32,
        /// The guest's addresses there: frames from them go there. Without any, all those that go nowhere else.
        addresses: Vec<IpAddr>,
        /// The network looks at the checksums of frames.
        checksums: bool,
    },
    /// Takes the network card's connection of this number away.
    NoNetwork {
        /// The number.
        place: u32,
    },
    /// Writes a snapshot to the empty file beside the message; answered by [`VmmMessage::Snapshot`]. The VM stands still
    /// from then on, unless that failed.
    Snapshot,
    /// The same of what has changed since the last snapshot, be it one that was taken or the one that the VM goes on from.
    Difference,
    /// Has the VM stand still; answered by [`VmmMessage::Paused`].
    Pause,
    /// Lets a VM that stands still go on.
    Resume,
    /// Ends the VM at once.
    Stop,
}

/// From the VMM to the keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum VmmMessage {
    /// The first `KVM_RUN` is about to be called. Times are `CLOCK_MONOTONIC` nanoseconds.
    Running {
        /// When the VMM's `main` began.
        started_ns: u64,
        /// When the VM was ready to run.
        first_run_ns: u64,
    },
    /// The guest connected to this port of the host; the stream socket beside the message is the connection.
    /// A keeper that does not want it closes it, which resets the connection in the guest.
    Connection {
        /// The host's port.
        port: u32,
    },
    /// The snapshot that was asked for is written, or why it is not.
    Snapshot {
        /// What went wrong.
        error: Option<String>,
    },
    /// The VM stands still, or why it does not.
    Paused {
        /// What went wrong.
        error: Option<String>,
    },
    /// The VM has ended; the VMM exits after this.
    Exit(ExitReason),
}

/// Why a VM ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ExitReason {
    /// The keeper asked for it.
    Stopped,
    /// The guest reset itself: a reboot, or a panic (the keeper knows whether it was announced).
    Reset,
    /// The guest powered itself off.
    PowerOff,
    /// The guest's kernel said that it panicked.
    Panic,
    /// The guest cannot go on: triple fault, or an instruction KVM cannot run.
    Crash {
        /// What happened, with the instruction pointer.
        detail: String,
    },
    /// The VMM cannot go on.
    Failed {
        /// What happened.
        detail: String,
    },
}
