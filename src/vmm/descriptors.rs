//! The descriptors that a VMM was handed, each taken once.

use std::{cell::RefCell, fs::File, os::fd::OwnedFd};

use anyhow::Context;

use super::config::Fd;

/// Hands out what the configuration names.
pub struct Descriptors(RefCell<Vec<Option<OwnedFd>>>);

impl Descriptors {
    /// These, in the order in which the configuration counts them.
    pub fn new(handed: impl Iterator<Item = OwnedFd>) -> Self {
        Self(RefCell::new(handed.map(Some).collect()))
    }

    /// Takes a descriptor.
    ///
    /// # Errors
    /// When it was not handed over, or was taken before.
    pub fn take(&self, Fd(number): Fd) -> anyhow::Result<OwnedFd> {
        let mut handed = self.0.borrow_mut();
        let descriptor = handed
            .get_mut(number as usize)
            .with_context(|| format!("descriptor {number} was not handed over"))?;
        descriptor.take().with_context(|| format!("descriptor {number} is named twice"))
    }

    /// Takes a descriptor as a file.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn file(&self, fd: Fd) -> anyhow::Result<File> {
        self.take(fd).map(File::from)
    }
}
