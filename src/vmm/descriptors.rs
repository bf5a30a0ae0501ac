//! The descriptors a VMM inherits, each taken once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use anyhow::Context;

use super::config::{CONFIG_FD, Fd};

/// Hands out inherited descriptors as owned ones, and closes them on exec.
pub struct Descriptors(RefCell<BTreeSet<i32>>);

impl Descriptors {
    /// All that this process inherited from [`CONFIG_FD`] up. To be made once, before anything else is opened.
    pub fn new() -> Self {
        Self(RefCell::new(BTreeSet::new()))
    }

    /// Takes a descriptor.
    ///
    /// # Errors
    /// When it is a standard stream, was taken before, or is not open.
    pub fn take(&self, Fd(number): Fd) -> anyhow::Result<OwnedFd> {
        anyhow::ensure!(number >= CONFIG_FD, "descriptor {number} is not one that a VMM inherits");
        anyhow::ensure!(self.0.borrow_mut().insert(number), "descriptor {number} is named twice");
        // SAFETY: borrowed for one call, which fails when it is not open.
        let inherited = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_setfd(inherited, rustix::io::FdFlags::CLOEXEC)
            .with_context(|| format!("descriptor {number} was not inherited"))?;
        // SAFETY: it is open, and the set above gives it out once.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Takes a descriptor as a file.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn file(&self, fd: Fd) -> anyhow::Result<File> {
        self.take(fd).map(File::from)
    }
}
