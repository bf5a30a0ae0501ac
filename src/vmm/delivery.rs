//! Descriptors on their way from a keeper to its VMM, before anything else is said on the control socket.
//!
//! A VMM is started before its keeper knows what it is to be, and comes up while the VM's files are opened. It is sent `/dev/kvm`
//! ([`send`] of that alone) and then the rest: the file with its configuration, and what that names as [`Fd`](super::config::Fd).
//! A delivery is one packet or more, each with as many descriptors as a packet can carry and, as 4 bytes little-endian, how many are
//! still to come.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};

/// Descriptors in a packet; the kernel takes up to 253 (`SCM_MAX_FD`).
const AT_ONCE: usize = 250;
/// How long to wait for others to take what is on its way to them: all of a user's descriptors that are may be no more than a
/// process may have open.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Sends descriptors, at least one, on a blocking socket.
///
/// # Errors
/// `EPIPE` or `ECONNRESET` when the VMM is gone; others of `sendmsg`.
pub fn send(socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let (mut left, end) = (descriptors.len(), Instant::now() + PATIENCE);
    for some in descriptors.chunks(AT_ONCE) {
        left -= some.len();
        let body = u32::try_from(left).map_err(|_| Errno::TOOMANYREFS)?.to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(some));
        loop {
            match sendmsg(&socket, &[io::IoSlice::new(&body)], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(Errno::TOOMANYREFS) if Instant::now() < end => thread::sleep(PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Waits for what the other side sends at once.
///
/// # Errors
/// `UnexpectedEof` when it is gone; `InvalidData` for what is no delivery; `EMFILE` when this process may not have as many; those of
/// `recvmsg`.
pub fn receive(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut descriptors = Vec::new();
    let mut missing = None;
    loop {
        let mut body = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut buffers = [io::IoSliceMut::new(&mut body)];
            recvmsg(&socket, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })?;
        let before = descriptors.len();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Errno::MFILE.into());
        }
        let (here, left) = (descriptors.len() - before, u32::from_le_bytes(body) as usize);
        if received.bytes != body.len() || here == 0 || missing.is_some_and(|missing| missing != here + left)
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors were expected"));
        }
        if left == 0 {
            return Ok(descriptors);
        }
        missing = Some(left);
    }
}

#[cfg(test)]
#[path = "delivery_test.rs"]
mod tests;
