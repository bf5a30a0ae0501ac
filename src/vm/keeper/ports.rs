//! Which port of the host is whose: each process of a VM has some for its streams.

use hull_protocol::{FIRST_STREAM_PORT, ProcessId};

use super::PROCESS;
use crate::vm::control::Stream;

/// Ports that are set apart for each process.
const PORTS: u32 = 4;

/// The host's port of a stream of a process.
pub fn port(process: ProcessId, stream: Stream) -> u32 {
    FIRST_STREAM_PORT + (process - PROCESS) * PORTS + stream as u32
}

/// What the host's port is of.
pub fn stream_at(port: u32) -> Option<(ProcessId, Stream)> {
    let at = port.checked_sub(FIRST_STREAM_PORT)?;
    let all = [Stream::Stdin, Stream::Stdout, Stream::Stderr];
    let stream = all.into_iter().find(|stream| *stream as u32 == at % PORTS)?;
    Some((at / PORTS + PROCESS, stream))
}
