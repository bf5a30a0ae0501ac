//! A container's keeper as the guest of its VM's keeper: what it has instead of a VMM of its own.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{net::Shutdown, pipe::PipeFlags};

use super::{Hail, store::Vms};
use crate::{
    config::Name,
    container::{
        ContainerId,
        error::{Error, Result},
    },
    vm::launch::{Exit, Process, Vmm},
    vmm::control::KeeperMessage as ToVmm,
};

/// Brings a container, with the files of its layers, lowest first, into the VM of this name, which is started if need be.
///
/// # Errors
/// When no VM can be started, or the process is out of descriptors.
pub fn join(name: &Name, container: &ContainerId, layers: Vec<File>, template: bool) -> Result<Vmm> {
    let channel = Vms::open().enter(name, template)?;
    let failed = |error: io::Error| Error::Keeper(format!("cannot enter VM {name}: {error}"));
    let stay = || -> io::Result<Vmm> {
        let (exit, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        channel.send(&Hail::Join { container: container.to_string() }, Some(theirs.as_fd()))?;
        for layer in layers {
            channel.send(&ToVmm::AppendLayer, Some(layer.as_fd()))?;
        }
        channel.set_nonblocking(true)?;
        let control = channel.as_fd().try_clone_to_owned()?;
        // What the guest's kernel says is not about one container.
        let (console, _) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Vmm { control: channel, console, process: Box::new(Stay { exit, control, given_up: false }) })
    };
    stay().map_err(failed)
}

/// The container's stay in the VM.
struct Stay {
    exit: OwnedFd,
    control: OwnedFd,
    given_up: bool,
}

impl Process for Stay {
    fn exit(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    fn reap(&mut self) -> Exit {
        let mut word = [0];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.exit, &mut word)) {
            Ok(1) if !self.given_up => Exit::Code(0),
            // The VM's keeper was killed, and its VMM with it.
            _ => Exit::Killed,
        }
    }

    fn kill(&mut self) {
        // The VM's keeper ends what is left of the container. If it does not, nobody waits for it.
        let _ = rustix::net::shutdown(&self.control, Shutdown::Both);
        if let Ok((closed, _)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) {
            self.exit = closed;
        }
        self.given_up = true;
    }
}
