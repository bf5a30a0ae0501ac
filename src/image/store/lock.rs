//! Locks between hull's processes: `flock` on files of the store, so that a dead process holds none.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::image::{Error, Result};

/// How long to wait for another process. What is done under a lock takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// With others that hold it so.
    Shared,
    /// With nobody.
    Exclusive,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock on the file at `path`, which is made if absent.
    pub(super) fn wait(path: &Path, mode: Mode) -> Result<Lock> {
        let started = Instant::now();
        loop {
            match Self::attempt(path, mode)? {
                Some(lock) => return Ok(lock),
                None if started.elapsed() > PATIENCE => return Err(Error::Locked(path.to_owned())),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// The lock, or `None` if another process has it.
    pub(super) fn attempt(path: &Path, mode: Mode) -> Result<Option<Lock>> {
        let error = || Error::file("cannot lock", path);
        let file = File::options().create(true).append(true).open(path).map_err(error())?;
        let result = match mode {
            Mode::Shared => file.try_lock_shared(),
            Mode::Exclusive => file.try_lock(),
        };
        match result {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(failed)) => Err(error()(failed)),
        }
    }
}
