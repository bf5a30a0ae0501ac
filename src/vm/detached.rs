//! Starts a keeper as a process of its own, which outlives the command that wanted it.

use std::{
    ffi::OsStr,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    process::{Command, Stdio},
};

use super::folder::Lock;
use crate::vmm::channel::Channel;

/// Starts `hull internal VERB NAME FRONT-END LOCK OPTIONS…` and gives the connection to it. FRONT-END and LOCK are numbers of
/// descriptors that it [inherits](inherit).
///
/// # Errors
/// When the process is out of descriptors, or this program cannot be executed again.
pub fn spawn(verb: &str, name: &str, lock: Lock, options: &[impl AsRef<OsStr>]) -> io::Result<Channel> {
    let (near, far) = Channel::pair()?;
    let far = OwnedFd::from(far);
    // Between here and the spawn nothing else is executed, so nobody else inherits them.
    for descriptor in [&far, &lock.0] {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
    }
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["internal", verb, name])
        .args([far.as_raw_fd().to_string(), lock.0.as_raw_fd().to_string()])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    // It outlives this process, or ends with it and is reaped by the system: nobody waits for it here.
    command.spawn()?;
    Ok(near)
}

/// In a keeper, first of all: takes it into a session of its own, and gives the connection to the front end and the folder's lock, by
/// the numbers on the command line.
///
/// # Errors
/// When a number is not that of a descriptor that was left open for this.
pub fn inherit(front_end: RawFd, lock: RawFd) -> io::Result<(OwnedFd, Lock)> {
    // A Ctrl-C in the front end's terminal, or the terminal's end, is not the keeper's business. Done here and not before it is
    // executed, so that the front end need not be copied for that. It fails for one that leads its group, which a person started.
    let _ = rustix::process::setsid();
    close_others([front_end, lock]);
    Ok((take(front_end)?, Lock(take(lock)?)))
}

/// Closes what whoever ran the front end left open in it: a keeper that holds a pipe of theirs keeps them waiting.
fn close_others(mut kept: [RawFd; 2]) {
    kept.sort_unstable();
    let mut first = libc::STDERR_FILENO + 1;
    for last in kept.into_iter().map(|kept| kept - 1).chain([RawFd::MAX]) {
        if first <= last {
            // SAFETY: at the start of the program nobody owns a descriptor yet, but for those that are kept.
            unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), 0) };
        }
        first = first.max(last.saturating_add(2));
    }
}

/// Takes a descriptor that the front end left open.
fn take(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only tested here; a number that is not open is an error.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, as was just seen, and the front end left it for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
