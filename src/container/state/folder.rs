//! A container's folder.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use serde::{Serialize, de::DeserializeOwned};

use super::State;
use crate::container::{
    ContainerId, Description,
    error::{Error, Result},
};

/// The folder of one container.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The container.
    pub id: ContainerId,
    path: PathBuf,
}

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
        let file =
            rustix::fs::open(path, OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from(0o600))?;
        let how = if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        match rustix::io::retry_on_intr(|| flock(&file, how)) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Folder {
    /// The folder of this container below `containers`.
    pub fn new(containers: &Path, id: ContainerId) -> Self {
        Self { path: containers.join(id.as_str()), id }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The lock, if no keeper holds it.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn try_lock(&self) -> io::Result<Option<Lock>> {
        Lock::take(&self.file("lock"), false)
    }

    /// What was asked. `None` when the container is half made or half removed.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn description(&self) -> Result<Option<Description>> {
        self.read("config.json")
    }

    /// What became of it.
    ///
    /// # Errors
    /// When the file cannot be read. A damaged one, after a power failure, reads as a crash.
    pub fn state(&self) -> Result<State> {
        match self.read("state.json") {
            Ok(state) => Ok(state.unwrap_or_default()),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                Ok(State { exit_code: 137, error: "its record was damaged".to_owned(), ..State::default() })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what was asked.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write_description(&self, description: &Description) -> Result<()> {
        self.write("config.json", description)
    }

    /// Writes what became of it.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write_state(&self, state: &State) -> Result<()> {
        self.write("state.json", state)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.file(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("cannot read", &path)(error)),
        };
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            Error::file("cannot read", &path)(io::Error::new(io::ErrorKind::InvalidData, error))
        })?;
        Ok(Some(value))
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let (path, new) = (self.file(name), self.file(&format!("{name}.new")));
        let bytes =
            serde_json::to_vec(value).map_err(|error| Error::file("cannot write", &path)(error.into()))?;
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(Error::file("cannot write", &path))
    }

    /// The log, opened for appending.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open_log(&self) -> Result<File> {
        let path = self.file("log");
        File::options().append(true).create(true).open(&path).map_err(Error::file("cannot open", &path))
    }

    /// Keeps the last words of a guest.
    pub fn write_console(&self, text: &str) {
        // Nothing depends on it: the error is recorded elsewhere.
        let _ = File::create(self.file("console")).and_then(|mut file| file.write_all(text.as_bytes()));
    }

    /// The keeper's socket, listening. One that a killed keeper left is replaced.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub fn listen(&self) -> io::Result<OwnedFd> {
        let _ = fs::remove_file(self.file("ctl"));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let (_folder, address) = self.address()?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 16)?;
        Ok(socket)
    }

    /// Connects to the keeper.
    ///
    /// # Errors
    /// As `connect(2)`: no keeper is there.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let (_folder, address) = self.address()?;
        rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
        Ok(socket)
    }

    /// The socket's address through the open folder: a path of its own may be longer than the 108 bytes allowed.
    fn address(&self) -> io::Result<(OwnedFd, SocketAddrUnix)> {
        let folder =
            rustix::fs::open(&self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/ctl", folder.as_raw_fd()))?;
        Ok((folder, address))
    }
}
