//! The keeper's connection to the agent: frames in, frames out, neither without bound.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hull_protocol::{
    AGENT_PORT, AgentMessage, HostMessage, MAX_FRAME, SEED,
    frame::{self, Decoder},
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::vmm::{channel::Channel, control::KeeperMessage as ToVmm};

/// Most bytes that may wait for an agent that does not read.
const MAX_UNSENT: usize = 2 * MAX_FRAME as usize;

/// A connected agent.
pub type Agent = Peer<HostMessage, AgentMessage>;

/// One end of a connection between a host and an agent, which is told and heard these messages.
#[derive(Debug)]
pub struct Peer<Told, Heard> {
    connection: OwnedFd,
    decoder: Decoder,
    unsent: Vec<u8>,
    messages: PhantomData<(Told, Heard)>,
}

impl<Told: Serialize, Heard: DeserializeOwned> Peer<Told, Heard> {
    /// The one at the other end of this non-blocking connection.
    pub fn new(connection: OwnedFd) -> Self {
        Self { connection, decoder: Decoder::default(), unsent: Vec::new(), messages: PhantomData }
    }

    /// The connection, and whether something waits to be written.
    pub fn descriptor(&self) -> (BorrowedFd<'_>, bool) {
        (self.connection.as_fd(), !self.unsent.is_empty())
    }

    /// Sends a message, now or when the other reads.
    ///
    /// # Errors
    /// When it is gone or reads nothing.
    pub fn send(&mut self, message: &Told) -> io::Result<()> {
        self.unsent.extend(frame::encode(message).map_err(io::Error::other)?);
        if self.unsent.len() > MAX_UNSENT {
            return Err(io::Error::other("the agent reads nothing"));
        }
        self.flush()
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// When the other is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match rustix::io::write(&self.connection, &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there, at most a frame or so. `false` is the end of the connection.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut taken = 0;
        while taken <= MAX_FRAME as usize {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.connection, &mut *buffer)) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.decoder.push(&buffer[..count]);
                    taken += count;
                }
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// The next whole message that was read.
    ///
    /// # Errors
    /// When the other sent what none sends.
    pub fn next(&mut self) -> Result<Option<Heard>, frame::FrameError> {
        self.decoder.next()
    }
}

/// Connects to the agent of a VM that was not booted.
///
/// # Errors
/// When there are no descriptors left, or no VMM.
pub fn call(vmm: &Channel) -> io::Result<Agent> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    vmm.send(&ToVmm::Connect { port: AGENT_PORT }, Some(far.as_fd()))?;
    Ok(Agent::new(near))
}

/// What a copy of a guest is to have of its own.
///
/// # Errors
/// When the host has no random bytes.
pub fn wake() -> rustix::io::Result<HostMessage> {
    let mut seed = [0; SEED];
    // All of them: fewer come only when more than 256 are asked for.
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let realtime_ns = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
    Ok(HostMessage::Wake { seed, realtime_ns })
}
