//! Connections to the host: vsock, or Unix sockets when the agent is tried without a VM.

use std::mem::size_of;

use hull_protocol::HOST_CID;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    io::{self, Errno},
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with,
        addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque},
        bind, connect, listen, socket_with,
    },
    time::Timespec,
};

/// How long the host may take to accept a connection.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Where the host is.
#[derive(Debug, Clone)]
pub enum Host {
    /// Beyond vsock.
    Vsock,
    /// Behind Unix sockets: port N is this path with `.N` appended.
    Unix(String),
}

/// A vsock address, `struct sockaddr_vm`.
#[repr(C)]
struct VsockAddress {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    zero: [u8; 4],
}

// SAFETY: `f` gets a pointer to a `sockaddr_vm` and its size.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f((&raw const *self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

impl Host {
    /// Starts to connect to a port. The socket does not block; [`await_connected`] before use.
    ///
    /// # Errors
    /// When there is no socket to be had, or the refusal comes at once.
    pub fn connect(&self, port: u32) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, connected) = match self {
            Self::Vsock => {
                let family = AddressFamily::VSOCK;
                let address =
                    VsockAddress { family: family.as_raw(), reserved: 0, port, cid: HOST_CID, zero: [0; 4] };
                let socket = socket_with(family, SocketType::STREAM, flags, None)?;
                let connected = connect(&socket, &address);
                (socket, connected)
            }
            Self::Unix(path) => {
                let address = SocketAddrUnix::new(format!("{path}.{port}"))?;
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                let connected = connect(&socket, &address);
                (socket, connected)
            }
        };
        match connected {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    /// Listens on a port of the guest; behind Unix sockets that is the path with `.guest.N` appended.
    ///
    /// # Errors
    /// When there is no socket to be had, or the port is taken.
    pub fn listen(&self, port: u32) -> io::Result<Listener> {
        let socket = match self {
            Self::Vsock => {
                let family = AddressFamily::VSOCK;
                let cid = u32::MAX; // VMADDR_CID_ANY
                let address = VsockAddress { family: family.as_raw(), reserved: 0, port, cid, zero: [0; 4] };
                let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
                bind(&socket, &address)?;
                socket
            }
            Self::Unix(path) => {
                let address = SocketAddrUnix::new(format!("{path}.guest.{port}"))?;
                let socket =
                    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
                bind(&socket, &address)?;
                socket
            }
        };
        listen(&socket, 1)?;
        Ok(Listener(socket))
    }
}

/// A place where the host connects to.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Waits for the host and takes its connection. The socket does not block.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        loop {
            match accept_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }
}

/// Waits until all of these are connected.
///
/// # Errors
/// The place of one that is not, and why.
pub fn await_connected(sockets: &[&OwnedFd]) -> Result<(), (usize, Errno)> {
    let mut rest: Vec<usize> = (0..sockets.len()).collect();
    while let Some(&first) = rest.first() {
        let mut wanted: Vec<_> =
            rest.iter().map(|place| PollFd::new(sockets[*place], PollFlags::OUT)).collect();
        match poll(&mut wanted, Some(&PATIENCE)) {
            Ok(0) => return Err((first, Errno::TIMEDOUT)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err((first, error)),
        }
        let mut still = Vec::new();
        for (place, socket) in rest.iter().zip(&wanted) {
            if socket.revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                return Err((*place, Errno::CONNREFUSED));
            }
            if !socket.revents().contains(PollFlags::OUT) {
                still.push(*place);
            }
        }
        rest = still;
    }
    Ok(())
}
