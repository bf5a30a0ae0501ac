//! The messages between the host (the keeper) and the agent (PID 1 of the guest), and their framing.
//!
//! The agent connects to [`HOST_CID`]:[`AGENT_PORT`] over vsock and speaks first, with [`AgentMessage::Hello`].
//! The host answers with [`HostMessage::Hello`]; from then on both sides send when they have something to say.
//! A frame is a little-endian `u32` length followed by that many bytes of JSON. Unknown fields are ignored and
//! unknown message types are reported by [`frame::FrameError::Message`], because a VM outlives an upgrade of hull.
//!
//! Stdio never travels in frames: each stream is a vsock connection of its own, opened by the agent to the port
//! that the request names, carrying raw bytes with vsock's own flow control (see [`Stdio`]).

mod container;
pub mod defaults;
pub mod frame;
mod message;

pub use container::{
    Container, DiskCount, DiskLimit, Extent, File, Image, Limits, Mount, Network, NetworkV6, Process,
    Renaming, Rewrite, Rlimit, SHARE, Stdio, Tool, WindowSize,
};
pub use message::{AgentMessage, ExitStatus, FailureKind, HostMessage, ProcessId, Signal};

/// Version of the protocol; a peer refuses one it does not know, naming both versions.
pub const VERSION: u32 = 2;
/// The host's address on vsock (VIRTIO 1.3, 5.10.4: "well known" CID 2).
pub const HOST_CID: u32 = 2;
/// The host's port the agent connects to when it is up.
pub const AGENT_PORT: u32 = 1024;
/// Ports from here up are given out by the host for stdio streams, one a stream.
pub const FIRST_STREAM_PORT: u32 = 0x1_0000;
/// Largest frame body a peer may send, in bytes; a longer one ends the connection.
pub const MAX_FRAME: u32 = 1 << 20;
/// Kernel parameters of a container's IPC namespace, beside those below `fs.mqueue`; its others are below `net`.
pub const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
/// By what name a guest mounts its file share.
pub const SHARE_TAG: &str = "hull";
/// Bytes of randomness that a copy of a guest is given.
pub const SEED: usize = 32;
