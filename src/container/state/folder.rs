//! A container's folder.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::State;
pub use crate::vm::folder::Lock;
use crate::{
    container::{
        ContainerId, Description,
        error::{Error, Result},
    },
    vm::folder,
};

/// The folder of one container.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The container.
    pub id: ContainerId,
    path: PathBuf,
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
        folder::read(&path).map_err(Error::file("cannot read", &path))
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.file(name);
        folder::write(&path, value).map_err(Error::file("cannot write", &path))
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
        folder::listen(&self.path)
    }

    /// Connects to the keeper.
    ///
    /// # Errors
    /// As `connect(2)`: no keeper is there.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        folder::connect(&self.path)
    }
}
