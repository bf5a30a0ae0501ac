//! A keeper's side of a network: starts its process where there is none, and brings a VM in.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
};

use anyhow::Context;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{
    control::{self, Answer, Join, Lease, Request},
    store::Store,
};
use crate::{
    vm::folder::{self, Lock},
    vmm::channel::{Channel, Received},
};

/// The lock of who opens a network's door, in its folder.
pub const LOCK: &str = "door.lock";

/// A VM that is in a network, or about to be. It parts when this is dropped.
#[derive(Debug)]
pub struct Membership {
    network: String,
    join: Join,
    channel: Channel,
    /// The VM's end of its frame socket.
    pub frames: OwnedFd,
}

impl Membership {
    /// Brings a VM into the network of this name. Does not wait for its answer.
    ///
    /// # Errors
    /// When there is no such network, or its process cannot be started.
    pub fn ask(network: &str, join: Join) -> anyhow::Result<Self> {
        let store = Store::open();
        let network = store.get(network)?.name;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (frames, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let channel = Channel::from(connect(&store, &network)?);
        let kept = join.clone();
        let mut join = join;
        if let Some(ports) = control::unload(&mut join.ports)? {
            channel.send(&Request::Ports, Some(ports.as_fd()))?;
        }
        channel.send(&Request::Join(join), Some(theirs.as_fd()))?;
        channel.set_nonblocking(true)?;
        Ok(Self { network, join: kept, channel, frames })
    }

    /// One in a network that a test plays.
    #[cfg(test)]
    pub fn played(network: &str, join: Join, channel: Channel, frames: OwnedFd) -> Self {
        Self { network: network.to_owned(), join, channel, frames }
    }

    /// The network.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// What is to be asked for so that the VM has all that it has by this lease, if its network is lost.
    pub fn to_have_again(&self, lease: &Lease) -> Join {
        Join {
            address: Some(lease.address),
            any_address: false,
            mac: Some(lease.mac),
            ports: control::bound_again(&self.join.ports, &lease.ports),
            ..self.join.clone()
        }
    }

    /// Says something of a VM that is in the network.
    ///
    /// # Errors
    /// When its process is gone.
    pub fn say(&self, request: &Request) -> io::Result<()> {
        self.channel.send(request, None)
    }

    /// The same with a file beside it.
    ///
    /// # Errors
    /// When its process is gone.
    pub fn say_with(&self, request: &Request, file: &OwnedFd) -> io::Result<()> {
        self.channel.send(request, Some(file.as_fd()))
    }

    /// What the network has said, if it has; its ports are in it.
    ///
    /// # Errors
    /// When its process is gone, or makes no sense.
    pub fn answer(&self) -> Result<Option<Answer>, String> {
        let unread = |error| format!("the network's process is not understood: {error}");
        match self.channel.receive() {
            Ok(Received::Nothing) => Ok(None),
            Ok(Received::Message(mut answer, file)) => {
                if let (Some(file), Answer::Joined(Lease { ports, .. }) | Answer::Published { ports }) =
                    (file, &mut answer)
                {
                    *ports = control::read(file).map_err(unread)?;
                }
                Ok(Some(answer))
            }
            Ok(Received::Closed) => Err("the network's process has ended".to_owned()),
            Err(error) => Err(unread(error)),
        }
    }
}

impl AsFd for Membership {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Connects to a network's process, which is started if there is none.
fn connect(store: &Store, network: &str) -> anyhow::Result<OwnedFd> {
    let folder = store.folder(network);
    // Until it has connected: a network without members ends, but not while somebody holds this.
    let lock = Lock::take(&folder.join(LOCK), true)?;
    let connection = match folder::connect(&folder) {
        Ok(connection) => connection,
        // Nobody is there any more, or never was.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            let door = folder::listen(&folder)?;
            start(network, &door)?;
            folder::connect(&folder)?
        }
        Err(error) => return Err(error).with_context(|| format!("cannot reach network {network}")),
    };
    drop(lock);
    Ok(connection)
}

/// Starts the process of a network, as nobody's child: it outlives who needed it first.
fn start(network: &str, door: &OwnedFd) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["internal", "net", network])
        .arg(door.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    let number = door.as_raw_fd();
    // SAFETY: between fork and exec the closure makes system calls only, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            match libc::fork() {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                _ => libc::_exit(0),
            }
            libc::setsid();
            if libc::fcntl(number, libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    // What has parted from it just now.
    command.spawn()?.wait().map(drop)
}
