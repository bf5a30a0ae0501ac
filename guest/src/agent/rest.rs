//! Rests: the agent stands still while a snapshot is taken of its guest, and goes on in every VM that is made of it.
//!
//! ```text
//! Rest, before there is a container:     prepare ─────────────────────────▶ Resting … a new connection … Wake
//! Suspend, with containers that run:     sever outputs ▶ Suspending ▶
//!                                        sever inputs ────────────────────▶ Resting … a new connection … Wake, Reopen
//! ```

use hull_protocol::{AGENT_PORT, AgentMessage, Image, Network, ProcessId, Renaming, Rewrite, Stdio as Ports};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, Mode, OFlags, ResolveFlags},
    io, system, thread,
    time::Timespec,
};

use super::{Agent, MEMORY, token, watch};
use crate::{control::Control, failure::Failure, parked::Parked, spare::SpareRoot, sys, task::Task};

/// How long before a rest the kernel is left alone with what it does in the background.
const PUT_OFF: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

impl Agent {
    /// Does what can be done before it is known for which container, and rests.
    pub(super) fn rest(&mut self, image: Option<&Image>) {
        while !self.preparations.is_empty() {
            self.prepare();
        }
        if let Some(parked) = &self.parked {
            parked.settle();
        }
        if let Some(group) = self.parked.as_ref().and_then(Parked::cgroup) {
            // If it fails, so will the container that needs it.
            let _ = self.cgroups.switch_on("memory");
            let _ = self.memory.watch(group, &self.epoll, MEMORY);
        }
        if image.is_none() {
            // Nothing is kept of its disk: what goes on from here may have another.
            if !self.data.unmount() {
                self.control.fatal("the data disk is still in use");
            }
        }
        self.spare = image.and_then(|image| SpareRoot::make(0, image, &mut self.layers, &mut self.data).ok());
        if let Some((spare, image)) = self.spare.as_ref().zip(image) {
            spare.read_ahead(image);
        }
        // What the kernel has put off, each copy would do again.
        fs::sync();
        let _ = thread::nanosleep(&PUT_OFF);
        self.await_host();
    }

    /// Parts processes from the host at a clean point, and rests.
    pub(super) fn suspend(&mut self) {
        let outputs = self.each_task(|task, epoll| task.stdio.sever_outputs(epoll));
        self.control.send(&AgentMessage::Suspending);
        let inputs = self.each_task(|task, epoll| task.stdio.sever_input(epoll));
        if let Err(error) = outputs.and(inputs) {
            self.control.fatal(&format!("cannot close a process's streams: {error}"));
        }
        // A container that ends here, and is started anew later, finds what it wrote.
        fs::sync();
        self.await_host();
    }

    fn each_task(&mut self, act: impl Fn(&mut Task, &OwnedFd) -> io::Result<()>) -> io::Result<()> {
        self.tasks.iter_mut().flatten().try_for_each(|task| act(task, &self.epoll))
    }

    /// Waits for the host to come back. A snapshot is taken meanwhile, and what goes on here goes on in each copy of this guest.
    fn await_host(&mut self) {
        self.asleep = true;
        let resumed = self.host.listen(AGENT_PORT).and_then(|listener| {
            self.control.send(&AgentMessage::Resting);
            Control::accept(&listener)
        });
        match resumed {
            // The old connection goes, and with it its place in the epoll set.
            Ok(control) => self.control = control,
            Err(error) => self.control.fatal(&format!("cannot listen for the host: {error}")),
        }
        if let Err(error) = watch(&self.epoll, &self.control) {
            self.control.fatal(&format!("cannot wait for events: {error}"));
        }
    }

    /// Connects a process's streams again. One that has ended has none.
    pub(super) fn reopen(
        &mut self,
        id: ProcessId,
        ports: Ports,
        renaming: Option<&Renaming>,
        networks: &[Network],
    ) {
        if let Err(Failure { message, .. }) = self.try_reopen(id, ports, renaming, networks) {
            self.control.fatal(&format!("the container cannot go on: {message}"));
        }
        self.control.send(&AgentMessage::Reopened { process_id: id });
    }

    fn try_reopen(
        &mut self,
        id: ProcessId,
        ports: Ports,
        renaming: Option<&Renaming>,
        networks: &[Network],
    ) -> Result<(), Failure> {
        if !networks.is_empty() {
            self.card.join(networks)?;
        }
        let found = |task: &Option<Task>| task.as_ref().is_some_and(|task| task.id == id);
        let Some(slot) = self.tasks.iter().position(found) else { return Ok(()) };
        if let Some(renaming) = renaming {
            self.rename(slot, renaming)?;
        }
        let Some(task) = &mut self.tasks[slot] else { return Ok(()) };
        task.stdio.mend(&self.host, ports, &self.epoll, |stream| token(slot, stream as u64))?;
        // Whatever is left of an ended process's output has had no chance to be heard.
        task.heard(sys::monotonic());
        Ok(())
    }

    /// Gives the container of a process, which is there or was just now, another host name.
    fn rename(&mut self, slot: usize, renaming: &Renaming) -> Result<(), Failure> {
        let Some(task) = self.tasks[slot].as_ref().filter(|task| task.status().is_none()) else {
            return Ok(());
        };
        let (pid, pidfd) = (task.pid(), task.pidfd().as_raw_fd());
        let fail = |error| Failure::internal("cannot name the container", error);
        self.views.need_proc()?;
        let open = |path: &str, flags| fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let own = open("/proc/self/ns/uts", OFlags::RDONLY).map_err(fail)?;
        if sys::enter_namespaces(pidfd, libc::CLONE_NEWUTS).is_err() {
            // It has ended a moment ago.
            return Ok(());
        }
        let named = system::sethostname(renaming.hostname.as_bytes());
        if let Err(error) = sys::enter_namespaces(own.as_raw_fd(), libc::CLONE_NEWUTS) {
            self.control.fatal(&format!("cannot leave a container's UTS namespace: {error}"));
        }
        named.map_err(fail)?;
        rewrite_all(pid, &renaming.files);
        Ok(())
    }
}

/// Replaces the contents of files of the container that this process is of.
pub(super) fn rewrite_all(pid: u32, files: &[Rewrite]) {
    let path = format!("/proc/{pid}/root");
    let Ok(root) = fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { return };
    for file in files {
        // What the container has put in its place since, or made read-only, is its own affair.
        let _ = rewrite(root.as_fd(), file);
    }
}

/// Replaces the content of a small file of a container, wherever its links lead inside, unless somebody has changed it.
fn rewrite(root: BorrowedFd<'_>, Rewrite { path, old, new }: &Rewrite) -> io::Result<()> {
    let open = |flags| {
        let flags = flags | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        fs::openat2(root, path.as_str(), flags, Mode::empty(), within)
    };
    let kind = fs::fstat(open(OFlags::PATH)?)?.st_mode;
    if fs::FileType::from_raw_mode(kind) != fs::FileType::RegularFile {
        return Err(io::Errno::INVAL);
    }
    let file = open(OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK)?;
    let mut found = vec![0; old.len() + 1];
    let count = io::pread(&file, &mut found, 0)?;
    if found[..count] == *old.as_bytes() {
        io::pwrite(&file, new.as_bytes(), 0)?;
        fs::ftruncate(&file, new.len() as u64)?;
    }
    Ok(())
}
