//! Starts a VMM process, its end tied to ours, and tells it what it is to be once that is known.

use std::{
    ffi::CString,
    fmt,
    fs::File,
    io::{self, Seek, Write},
    iter,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::MemfdFlags,
    process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid},
};

use super::spawn::spawn;
use crate::vmm::{
    channel::Channel,
    config::{Fd, VmSize, VmmConfig},
    delivery,
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

/// The descriptors that a VMM is handed with its configuration.
#[derive(Debug, Default)]
pub struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    /// Adds a descriptor, and gives what the VMM knows it by.
    pub fn add(&mut self, descriptor: impl Into<OwnedFd>) -> Fd {
        self.0.push(descriptor.into());
        Fd(self.0.len() as u32 - 1)
    }
}

/// A VMM that waits to be told what it is to be. Dropped, it is no more.
pub struct Newborn {
    vmm: Vmm,
    /// The write end of the console.
    console: OwnedFd,
}

/// Starts the VMM of a VM of this size on `/dev/kvm`. It comes up while the VM's files are opened, so this is done first.
///
/// The VMM is killed when this thread ends, however it ends.
///
/// # Errors
/// When there can be no more processes or descriptors. A program that cannot be executed is a VMM that exits with 126.
pub fn start(kvm: File, size: VmSize) -> io::Result<Newborn> {
    let (control, far_control) = Channel::pair()?;
    let (console, far_console) = console()?;
    let numbers = [size.memory, size.growth, size.vcpus.into()].map(|number| number.to_string());
    let [memory, growth, vcpus] = numbers.map(|number| CString::new(number).unwrap_or_default());
    let arguments = [c"/proc/self/exe", c"internal", c"vmm", &memory, &growth, &vcpus];
    let far_control = OwnedFd::from(far_control);
    let (pid, exit) = spawn(&arguments, [far_control.as_fd(), far_console.as_fd(), far_console.as_fd()])?;
    let process = Box::new(ChildProcess { pid, exit, end: None });
    deliver(&control, &[kvm.as_fd()])?;
    Ok(Newborn { vmm: Vmm { control, console, process }, console: far_console })
}

impl Newborn {
    /// Where the VMM writes what it has to say, and the guest's console is to go.
    pub fn console(&self) -> &OwnedFd {
        &self.console
    }

    /// Tells it what it is, and hands it what its configuration names.
    ///
    /// # Errors
    /// When the process is out of descriptors or memory.
    pub fn configure(self, config: &VmmConfig, descriptors: Descriptors) -> io::Result<Vmm> {
        let mut file = File::from(rustix::fs::memfd_create("hull-config", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(config)?)?;
        file.rewind()?;
        let handed: Vec<_> = iter::once(file.as_fd()).chain(descriptors.0.iter().map(AsFd::as_fd)).collect();
        deliver(&self.vmm.control, &handed)?;
        self.vmm.control.set_nonblocking(true)?;
        Ok(self.vmm)
    }
}

/// Sends descriptors. A VMM that is over already says why as any other does: that is not for here.
fn deliver(control: &Channel, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    match delivery::send(control, descriptors) {
        Err(error) if [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind()) => {
            Ok(())
        }
        sent => sent,
    }
}

/// Opens `/dev/kvm`.
///
/// # Errors
/// With what to do about it.
pub fn open_kvm() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/kvm").map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => {
                "switch virtualization on in the firmware and load the module kvm_intel or kvm_amd"
            }
            io::ErrorKind::PermissionDenied => {
                "let your user into the group kvm, or `setfacl -m u:$USER:rw /dev/kvm`"
            }
            _ => "see `hull doctor`",
        };
        io::Error::new(error.kind(), format!("cannot open /dev/kvm: {error}; {remedy}"))
    })
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

/// A child of ours.
struct ChildProcess {
    pid: Pid,
    exit: OwnedFd,
    /// Once it was waited for.
    end: Option<Exit>,
}

impl Process for ChildProcess {
    fn exit(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    fn reap(&mut self) -> Exit {
        let wait = || match rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty())) {
            Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(libc::SIGKILL)) => Exit::Killed,
                (None, Some(signal)) => Exit::Other(format!("was killed by signal {signal}")),
                (None, None) => Exit::Other("ended".to_owned()),
            },
            Ok(None) => Exit::Other("ended".to_owned()),
            Err(error) => Exit::Other(format!("cannot be waited for: {error}")),
        };
        self.end.get_or_insert_with(wait).clone()
    }

    fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = pidfd_send_signal(&self.exit, Signal::KILL);
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        self.reap();
    }
}
