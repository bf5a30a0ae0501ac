//! Writable layers of containers that are no more, in a guest where others go on.
//!
//! One that is to go is moved out of the way at once, which is one request to the file system. All that have come together are
//! removed when the guest has nothing better to do, by one child at the lowest priority, which executes no program for that.
//!
//! A container may have made its tree as deep and as large as it liked. So no tree is walked: a directory that is not empty is moved up
//! to the trash, where its turn comes. That takes the same memory and the same few descriptors whatever there is, and what is
//! cut short by the end of the VM goes on in the next one.

use std::{ffi::CStr, mem, mem::MaybeUninit};

use hull_protocol::ProcessId;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, CWD, FileType, IFlags, Mode, OFlags, RawDir, SeekFrom},
    io::{self, Errno},
    path::DecInt,
    process,
};

use crate::{failure::Failure, rootfs, step::SOCKET, sys};

/// Where they are.
const TRASH: &CStr = c"/data/trash";

/// How long nothing is to have been started before they are removed.
const QUIET_NS: u64 = 1_000_000_000;
/// How long they wait for that.
const PATIENCE_NS: u64 = 20_000_000_000;

/// Bytes of names that are read at a time. A child's stack has room for a few of these.
const NAMES: usize = 4096;

/// Who waits for what is in the trash to be gone.
#[derive(Debug, Default)]
pub struct Trash {
    /// Requests whose layers are to be removed, and when the first came.
    waiting: Vec<ProcessId>,
    since: u64,
    /// Those whose layers are being removed. The child that does so has the number of the first.
    going: Vec<ProcessId>,
}

impl Trash {
    /// Moves the writable layer of a container, if it has one, out of the way. The data disk is mounted.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn take(&mut self, request: ProcessId, container: &str, now: u64) -> Result<(), Failure> {
        let fail = |error| Failure::internal("cannot throw a writable layer away", error);
        match fs::mkdirat(CWD, TRASH, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(error)),
        }
        let to = format!("{}/{container}", TRASH.to_string_lossy());
        match fs::renameat(CWD, rootfs::directory(container), CWD, to) {
            // It never had one, or this was asked for before.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(fail(error)),
        }
        if self.waiting.is_empty() {
            self.since = now;
        }
        self.waiting.push(request);
        Ok(())
    }

    /// When to remove what waits, if something was started last at `started`.
    pub fn deadline(&self, started: u64) -> Option<u64> {
        let due = (started.max(self.since) + QUIET_NS).min(self.since + PATIENCE_NS);
        (!self.waiting.is_empty() && self.going.is_empty()).then_some(due)
    }

    /// What waits is being removed from here on, by a child with this number.
    pub fn begin(&mut self) -> Option<ProcessId> {
        self.going = mem::take(&mut self.waiting);
        self.going.first().copied()
    }

    /// Whether this is the child that removes.
    pub fn is_emptied_by(&self, process: ProcessId) -> bool {
        self.going.first() == Some(&process)
    }

    /// That child has ended: so have these requests.
    pub fn end(&mut self) -> Vec<ProcessId> {
        mem::take(&mut self.going)
    }
}

/// Removes all that is in the trash, and sees to it that it stays so. A child does this: nothing is allocated.
///
/// # Errors
/// What keeps something from being removed.
pub fn empty() -> io::Result<()> {
    // These are copies of the agent's, and at their other ends somebody may wait for the last to be closed.
    sys::close_from(SOCKET + 1)?;
    process::setpriority_process(None, 19)?;
    let trash = open(CWD, TRASH)?;
    empty_flat(trash.as_fd())?;
    fs::fsync(trash)
}

/// Removes all that is in this directory, however deep.
fn empty_flat(trash: BorrowedFd<'_>) -> io::Result<()> {
    let mut number: u64 = 0;
    clear(trash, &mut |name| {
        let directory = open(trash, name)?;
        clear(directory.as_fd(), &mut |inner| {
            loop {
                number += 1;
                let moved = fs::renameat(&directory, inner, trash, DecInt::new(number).as_c_str());
                // One that is there from before; if it is empty it makes way.
                if !matches!(moved, Err(Errno::NOTEMPTY | Errno::EXIST)) {
                    return moved;
                }
            }
        })?;
        fs::unlinkat(trash, name, AtFlags::REMOVEDIR)
    })
}

/// Removes what is in a directory, but for directories that are not empty: they are for `full`.
fn clear(directory: BorrowedFd<'_>, full: &mut dyn FnMut(&CStr) -> io::Result<()>) -> io::Result<()> {
    let mut names = [MaybeUninit::uninit(); NAMES];
    loop {
        fs::seek(directory, SeekFrom::Start(0))?;
        let (mut progress, mut done) = (false, Ok(()));
        let mut entries = RawDir::new(directory, &mut names);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let is_directory = entry.file_type() == FileType::Directory;
            let mut remove = || match unlink(directory, name, is_directory) {
                Err(Errno::NOTEMPTY) => full(name),
                other => other,
            };
            let mut gone = remove();
            if gone == Err(Errno::PERM) {
                // A privileged container can have made it, or what it is in, immutable.
                gone = thaw(directory, name).and_then(|()| remove());
            }
            progress |= gone.is_ok();
            done = done.and(gone);
        }
        // Something may be passed over in a directory that changes while it is read.
        if !progress {
            return done;
        }
    }
}

fn unlink(directory: BorrowedFd<'_>, name: &CStr, is_directory: bool) -> io::Result<()> {
    let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    fs::unlinkat(directory, name, flags)
}

/// Takes what keeps a file from being removed off it and its directory.
fn thaw(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    clear_flags(directory)?;
    let kind = FileType::from_raw_mode(fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
    if matches!(kind, FileType::RegularFile | FileType::Directory) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        clear_flags(fs::openat(directory, name, flags, Mode::empty())?)?;
    }
    Ok(())
}

/// The others say how a file lies on the disk, and cannot all be taken off it.
fn clear_flags(file: impl AsFd) -> io::Result<()> {
    let flags = fs::ioctl_getflags(&file)?;
    let kept = flags - (IFlags::IMMUTABLE | IFlags::APPEND);
    if kept != flags {
        fs::ioctl_setflags(&file, kept)?;
    }
    Ok(())
}

fn open(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(directory, name, flags, Mode::empty())
}

#[cfg(test)]
#[path = "trash_test.rs"]
mod tests;
