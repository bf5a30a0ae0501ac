//! Starts a VMM process: its descriptors at the numbers it expects, its configuration, its end tied to ours.

use std::{
    fmt,
    fs::File,
    io::{self, Seek, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::MemfdFlags,
    io::fcntl_dupfd_cloexec,
    process::{Pid, PidfdFlags, Signal},
};

use crate::vmm::{
    channel::Channel,
    config::{CONFIG_FD, CONTROL_FD, FIRST_FD, Fd, VmmConfig},
};

/// A running VMM, as its keeper sees it.
pub struct Vmm {
    /// The control socket, non-blocking.
    pub control: Channel,
    /// The read end of the guest's console and the VMM's own complaints, non-blocking.
    pub console: OwnedFd,
    /// The process.
    pub process: Box<dyn Process>,
}

/// A VMM's process. A trait, so that tests can play a VMM.
pub trait Process {
    /// Becomes readable when the process has ended.
    fn exit(&self) -> BorrowedFd<'_>;
    /// How the process ended. Waits for it.
    fn reap(&mut self) -> Exit;
    /// Ends the process at once.
    fn kill(&mut self);
}

/// How a VMM's process ended. Displayed, it follows "the VMM".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By SIGKILL: somebody meant it, or the host was out of memory. It says nothing of what the VMM did.
    Killed,
    /// In another way.
    Other(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Killed => f.write_str("was killed by signal 9"),
            Self::Other(how) => f.write_str(how),
        }
    }
}

/// The descriptors that a VMM inherits, beyond its fixed ones.
#[derive(Debug, Default)]
pub struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    /// Adds a descriptor, and gives the number that the VMM knows it by.
    pub fn add(&mut self, descriptor: impl Into<OwnedFd>) -> Fd {
        self.0.push(descriptor.into());
        Fd(FIRST_FD + self.0.len() as i32 - 1)
    }
}

/// This program again, as a VMM.
pub fn vmm_program() -> Command {
    let mut program = Command::new("/proc/self/exe");
    program.args(["internal", "vmm"]);
    program
}

/// The pipe for a guest's console: the keeper's end, which never blocks it, and the VMM's.
///
/// # Errors
/// When the process is out of descriptors.
pub fn console() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// Starts a VMM. `program` is given its arguments and nothing else.
///
/// The VMM is killed when this thread ends, however it ends.
///
/// # Errors
/// When the program cannot be executed, or the process is out of descriptors.
pub fn spawn(
    mut program: Command,
    config: &VmmConfig,
    descriptors: Descriptors,
    console: (OwnedFd, OwnedFd),
) -> io::Result<Vmm> {
    let (control, far_control) = Channel::pair()?;
    control.set_nonblocking(true)?;
    let mut config_file = File::from(rustix::fs::memfd_create("hull-config", MemfdFlags::CLOEXEC)?);
    config_file.write_all(&serde_json::to_vec(config)?)?;
    config_file.rewind()?;

    let mut inherited: Vec<OwnedFd> = vec![config_file.into(), far_control.into()];
    inherited.extend(descriptors.0);
    let numbers = Numbers::assign(&inherited)?;
    drop(inherited);

    let parent = rustix::process::getpid();
    program.stdin(Stdio::null()).stdout(console.1.try_clone()?).stderr(console.1);
    let sources: Vec<i32> = numbers.sources.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: between fork and exec the closure makes system calls only, and allocates nothing.
    unsafe {
        program.pre_exec(move || prepare(parent, &sources));
    }
    let child = program.spawn()?;
    let pid = Pid::from_child(&child);
    let exit = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Vmm { control, console: console.0, process: Box::new(ChildProcess { child, exit }) })
}

/// The descriptors to inherit, out of the way of the numbers that they are to have.
struct Numbers {
    /// In order: the first is to be [`CONFIG_FD`].
    sources: Vec<OwnedFd>,
    /// Hold every target number, so that no descriptor that `Command` makes for itself is overwritten.
    _targets: Vec<OwnedFd>,
}

impl Numbers {
    fn assign(inherited: &[OwnedFd]) -> io::Result<Self> {
        const { assert!(CONTROL_FD == CONFIG_FD + 1 && FIRST_FD == CONTROL_FD + 1) };
        let end = CONFIG_FD + inherited.len() as i32;
        let sources =
            inherited.iter().map(|fd| fcntl_dupfd_cloexec(fd, end)).collect::<Result<Vec<_>, _>>()?;
        let mut targets = Vec::new();
        loop {
            let target = fcntl_dupfd_cloexec(&inherited[0], CONFIG_FD)?;
            if target.as_raw_fd() >= end {
                return Ok(Self { sources, _targets: targets });
            }
            targets.push(target);
        }
    }
}

/// In the child, before the VMM is executed.
fn prepare(parent: Pid, sources: &[i32]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The keeper may have died before the line above: then no signal comes any more.
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::from(rustix::io::Errno::SRCH));
    }
    for (target, &source) in (CONFIG_FD..).zip(sources) {
        // SAFETY: `dup2` of a descriptor that the parent holds open; the targets are held for this purpose.
        if unsafe { libc::dup2(source, target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A child of ours.
struct ChildProcess {
    child: Child,
    exit: OwnedFd,
}

impl Process for ChildProcess {
    fn exit(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    fn reap(&mut self) -> Exit {
        match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(libc::SIGKILL)) => Exit::Killed,
                (None, Some(signal)) => Exit::Other(format!("was killed by signal {signal}")),
                (None, None) => Exit::Other(status.to_string()),
            },
            Err(error) => Exit::Other(format!("cannot be waited for: {error}")),
        }
    }

    fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
    }
}
