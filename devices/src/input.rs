//! Reading a guest's input from a descriptor without ever blocking, until it ends.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use vmm_sys_util::epoll::EventSet;

use crate::output::make_nonblocking;
use crate::poll_set::PollSet;

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// This many bytes.
    Data(usize),
    /// Nothing yet.
    Nothing,
    /// Nothing ever again.
    End,
}

/// A descriptor that gives input.
pub(crate) struct Input {
    fd: OwnedFd,
    watched: bool,
}

impl Input {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        make_nonblocking(&fd)?;
        Ok(Self { fd, watched: false })
    }

    /// Reads into `buffer`, which must not be empty.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Read {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(0) => return Read::End,
                Ok(length) => return Read::Data(length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Read::Nothing,
                // A terminal that hung up says EIO.
                Err(_) => return Read::End,
            }
        }
    }

    /// Watches for input, or stops doing so while there is no room for it; returns whether it is watched.
    pub(crate) fn watch(&mut self, poll: &PollSet, token: u64, wanted: bool) -> bool {
        if wanted && !self.watched {
            // What cannot be watched (a file on disk) is read to its end whenever there is room.
            self.watched = poll.add(&self.fd, token, EventSet::IN).is_ok();
        } else if !wanted && self.watched {
            poll.remove(&self.fd);
            self.watched = false;
        }
        self.watched
    }
}

#[cfg(test)]
#[path = "input_test.rs"]
mod tests;
