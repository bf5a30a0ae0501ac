//! The control socket: JSON packets on `SOCK_SEQPACKET`, each with at most one descriptor beside it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};

use super::control::MAX_PACKET;

/// One end of a control socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What a receive gave.
#[derive(Debug)]
pub enum Received<T> {
    /// A message, and the descriptor beside it.
    Message(T, Option<OwnedFd>),
    /// Nothing has arrived (on a nonblocking channel).
    Nothing,
    /// The peer has closed its end.
    Closed,
}

impl Channel {
    /// A connected pair; both ends are closed on exec until told otherwise.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(a), Self(b)))
    }

    /// Makes receives return [`Received::Nothing`] where they would wait.
    ///
    /// # Errors
    /// Those of `ioctl(FIONBIO)`.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.0, on)?)
    }

    /// Sends a message, with a descriptor beside it if there is one; waits while the socket is full.
    ///
    /// # Errors
    /// `EPIPE` when the peer is gone; `EMSGSIZE` when the message is over [`MAX_PACKET`]; `EAGAIN` on a full
    /// nonblocking channel.
    pub fn send<T: Serialize>(&self, message: &T, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let packet = serde_json::to_vec(message)?;
        if packet.len() > MAX_PACKET {
            return Err(Errno::MSGSIZE.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.as_slice();
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        loop {
            match sendmsg(&self.0, &[io::IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives a message.
    ///
    /// # Errors
    /// Those of `recvmsg`; `InvalidData` for a packet that is too long or not a message.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Received<T>> {
        let mut packet = [0; MAX_PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut buffers = [io::IoSliceMut::new(&mut packet)];
            match recvmsg(&self.0, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                // A reset says, once, that the peer left something unread; what it said before is still here.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(error) => return Err(error.into()),
            }
        };
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        if received.bytes == 0 {
            return Ok(Received::Closed);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a control packet is too long"));
        }
        let message = serde_json::from_slice(&packet[..received.bytes])?;
        Ok(Received::Message(message, descriptor))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

#[cfg(test)]
#[path = "channel_test.rs"]
mod tests;
