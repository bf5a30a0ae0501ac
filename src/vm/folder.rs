//! What a folder of something that runs has in it: a lock that its keeper holds, the keeper's socket, records in JSON.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use anyhow::Context;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use serde::{Serialize, de::DeserializeOwned};

/// The keeper's socket, in its folder.
const SOCKET: &str = "ctl";

/// A file lock, held for as long as this or an inherited copy of it is open.
#[derive(Debug)]
pub struct Lock(pub OwnedFd);

impl Lock {
    /// Takes the lock on this file, which is made when absent; `None` when another process holds it and `wait` is
    /// false.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn take(path: &Path, wait: bool) -> io::Result<Option<Self>> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        Self::on(rustix::fs::open(path, flags, Mode::from(0o600))?, wait)
    }

    /// Takes the lock on an open file or folder, as [`take`](Self::take) does.
    ///
    /// # Errors
    /// As `flock(2)`.
    pub fn on(file: OwnedFd, wait: bool) -> io::Result<Option<Self>> {
        let how = if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        match rustix::io::retry_on_intr(|| flock(&file, how)) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits until nobody else makes or removes anything in this folder, and keeps them from it.
///
/// # Errors
/// As `open(2)`.
pub fn lock(folder: &Path) -> anyhow::Result<Lock> {
    let path = folder.join(".lock");
    let lock = Lock::take(&path, true).with_context(|| format!("cannot lock {}", path.display()))?;
    lock.with_context(|| format!("cannot lock {}", path.display()))
}

/// The same, unless somebody holds it.
///
/// # Errors
/// As `open(2)` and `flock(2)`.
pub fn try_lock(folder: &Path) -> io::Result<Option<Lock>> {
    Lock::take(&folder.join(".lock"), false)
}

/// Reads a record; `None` when it is not there.
///
/// # Errors
/// As `read(2)`; `InvalidData` when it is damaged.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a record, in whole or not at all.
///
/// # Errors
/// When the disk is full.
pub fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, serde_json::to_vec(value)?)?;
    fs::rename(&new, path)
}

/// The socket of the keeper of this folder, listening. One that a killed keeper left is replaced.
///
/// # Errors
/// As `bind(2)`.
pub fn listen(folder: &Path) -> io::Result<OwnedFd> {
    stop_listening(folder);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let (_folder, address) = address(folder)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// Removes the socket.
pub fn stop_listening(folder: &Path) {
    let _ = fs::remove_file(folder.join(SOCKET));
}

/// Whether there is a keeper's socket, of one that lives or one that was killed.
pub fn listens(folder: &Path) -> bool {
    folder.join(SOCKET).exists()
}

/// Connects to the keeper of this folder.
///
/// # Errors
/// As `connect(2)`: no keeper is there.
pub fn connect(folder: &Path) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let (_folder, address) = address(folder)?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
    Ok(socket)
}

/// The socket's address through the open folder: a path of its own may be longer than the 108 bytes allowed.
fn address(folder: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let folder: OwnedFd =
        rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?;
    Ok((folder, address))
}
