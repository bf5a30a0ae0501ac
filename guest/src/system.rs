//! Containers that are whole systems: how their init is asked to shut down, how that ends, and where in their cgroup tree, which is
//! theirs to divide, a further process is put.

use std::{borrow::Cow, fmt::Write as _};

use hull_protocol::{ExitStatus, Signal};
use rustix::{
    fd::OwnedFd,
    fs::{self, CWD, Mode, OFlags},
    io,
};

use crate::{cgroup, failure::Failure};

/// By this systemd is asked to shut down (systemd(1), "Signals"): `SIGRTMIN+3`.
const SHUT_DOWN: Signal = 37;
/// What a kernel sends its init for Ctrl-Alt-Del, for which each has something orderly to do.
const CTRL_ALT_DEL: Signal = libc::SIGINT as Signal;
/// By these the kernel ends the init of a PID namespace in which `reboot(2)` was called, to halt and to start again.
const HALTED: Signal = libc::SIGINT as Signal;
const RESTARTED: Signal = libc::SIGHUP as Signal;

/// What is to be known of a system.
#[derive(Debug, Default)]
pub struct System {
    /// Its init was asked to shut down.
    asked: bool,
}

impl System {
    /// The signal that this init understands; `name` is the name of its program.
    pub fn translate(&mut self, signal: Signal, name: &str) -> Signal {
        if signal != SHUT_DOWN {
            return signal;
        }
        self.asked = true;
        if name == "systemd" { SHUT_DOWN } else { CTRL_ALT_DEL }
    }

    /// How a system has ended whose init ended like this: one that was halted, or shut down as it was asked, has ended well.
    pub fn ending(&self, status: ExitStatus) -> ExitStatus {
        match status {
            ExitStatus::Signal(HALTED) => ExitStatus::Code(0),
            ExitStatus::Signal(RESTARTED) if self.asked => ExitStatus::Code(0),
            other => other,
        }
    }
}

/// The name of the program that a process runs, as `/proc` has it. Empty if there is no such process.
pub fn program(pid: u32) -> String {
    read(pid, "comm").map_or_else(|_| String::new(), |name| name.trim_end().to_owned())
}

/// The cgroup of a container's first process, to make others in it: the container's own has no processes any more once it was divided.
///
/// # Errors
/// When it has none that can be opened, or is not in the container's any more.
pub fn cgroup_of(pid: u32, container: &cgroup::Cgroup) -> Result<OwnedFd, Failure> {
    let fail = |error| Failure::internal("cannot find the cgroup of the container's first process", error);
    let told = read(pid, "cgroup").map_err(fail)?;
    let path = path_in(&told, container.name()).ok_or_else(|| fail(io::Errno::XDEV))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(CWD, &*path, flags, Mode::empty()).map_err(fail)
}

/// The directory of the cgroup that `/proc/PID/cgroup` tells of, if it is a container's own or lies in that.
fn path_in<'a>(told: &str, container: &'a str) -> Option<Cow<'a, str>> {
    let path = told.lines().find_map(|line| line.strip_prefix("0::"))?;
    let rest = path.strip_prefix(container.strip_prefix(cgroup::TREE)?)?;
    match rest {
        "" => Some(Cow::Borrowed(container)),
        // The kernel makes no cgroup of this name; it is here for whoever reads this.
        _ if !rest.starts_with('/') || rest.split('/').any(|part| part == "..") => None,
        _ => Some(Cow::Owned(format!("{container}{rest}"))),
    }
}

fn read(pid: u32, what: &str) -> io::Result<String> {
    let mut path = String::with_capacity(32);
    let _ = write!(path, "/proc/{pid}/{what}");
    cgroup::read(CWD, &path)
}

#[cfg(test)]
#[path = "system_test.rs"]
mod tests;
