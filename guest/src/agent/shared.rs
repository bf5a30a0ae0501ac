//! Several containers in one guest: what is said once for all of them, and what keeps each from the others.
//!
//! Each has its own namespaces anyway. What a guest with one container need not do is here: a network namespace of its own for each, its
//! card on top of the guest's; and one cgroup around all, where it is said which devices they reach and how much memory
//! they may have together before the guest asks for more.

use hull_protocol::{AgentMessage, Container, Image, Process, ProcessId, Stdio as Ports, Tool};
use rustix::{
    fd::{AsFd, AsRawFd, RawFd},
    process::{PidfdFlags, getpid, pidfd_open},
};

use super::{Agent, MEMORY, Preparation, open_program};
use crate::{
    cgroup::Cgroups,
    child::Child,
    container::{check_id, tool_beside},
    devices::{self, Reach},
    failure::Failure,
    network::Card,
    parked::Parked,
    rootfs,
    skeleton::Skeleton,
    spare::SpareRoot,
    stdio::Stdio,
    step::Handed,
    sys,
    task::Task,
};

/// What a container of this image is made of.
pub(super) fn image(request: &Container, process: &Process) -> Image {
    let path = process.env.iter().find_map(|variable| variable.strip_prefix("PATH="));
    Image {
        layers: request.layers.clone(),
        command: process.args.first().cloned().unwrap_or_default(),
        path: path.map(str::to_owned),
    }
}

impl Agent {
    /// There will be several containers, if nobody has said so before.
    pub(super) fn share(&mut self, most: Option<u64>) -> Result<(), Failure> {
        if self.is_shared {
            return Ok(());
        }
        // What is ready was made for a guest with one.
        self.parked = None;
        let common = self.cgroups.common()?.directory();
        devices::allow(common, Reach::Dockers)
            .map_err(|error| Failure::internal("cannot say which devices containers reach", error))?;
        if let Some(most) = most {
            self.cgroups.switch_on("memory")?;
            self.memory.allow(most);
            let watched = self.memory.watch(self.cgroups.common()?, &self.epoll, MEMORY);
            watched.map_err(|error| Failure::internal("cannot watch the containers' memory", error))?;
        }
        // Last: what failed is tried again by the next container, which does not run without it.
        self.is_shared = true;
        Ok(())
    }

    /// What kind of container this is.
    pub(super) fn skeleton(&self, request: &Container) -> Result<Skeleton, Failure> {
        let mut skeleton = Skeleton::from(request);
        if let Some(other) = &request.network_of {
            let found = self.containers.iter().find(|container| container.id == *other);
            let first = found.and_then(|container| self.task(container.init));
            let first = first.filter(|first| first.status().is_none() && first.news().is_none());
            let first = first.ok_or_else(|| {
                Failure::invalid(format!("cannot join network of a non running container: {other}"))
            })?;
            skeleton.enter_network(first.pidfd().as_raw_fd());
        }
        Ok(skeleton)
    }

    /// Makes an empty container whose network namespace is that of the process behind a pidfd: the agent is there for a moment.
    pub(super) fn park_in_network(&mut self, pidfd: RawFd, skeleton: Skeleton) -> Result<Parked, Failure> {
        let fail = |error| Failure::internal("cannot enter a container's network", error);
        let own = pidfd_open(getpid(), PidfdFlags::empty()).map_err(fail)?;
        sys::enter_namespaces(pidfd, libc::CLONE_NEWNET).map_err(fail)?;
        let parked = Parked::make(skeleton, &mut self.cgroups, &mut self.views);
        if let Err(error) = sys::enter_namespaces(own.as_raw_fd(), libc::CLONE_NEWNET) {
            self.control.fatal(&format!("cannot leave a container's network: {error}"));
        }
        parked
    }

    /// The card of a container that is to be, in its network if it is in one.
    pub(super) fn own_card(
        &mut self,
        parked: &mut Parked,
        request: &Container,
    ) -> Result<Option<Card>, Failure> {
        if request.networks.is_empty() {
            parked.take_card().into_iter().for_each(Card::remove);
            return Ok(None);
        }
        parked.branch(&mut self.card)?;
        let mut card = parked.take_card();
        if let Some(card) = &mut card {
            card.join(&request.networks)?;
        }
        Ok(card)
    }

    /// A container was started: another may be, most likely of the same image.
    pub(super) fn foresee(&mut self, next: Option<Image>) {
        if next.is_some() {
            self.next_image = next;
            self.preparations = &[Preparation::Namespaces, Preparation::Card, Preparation::Root];
        }
    }

    /// Gives a privileged container the devices that the others do not reach.
    pub(super) fn give_devices(&self, parked: &Parked, request: &Container) -> Result<(), Failure> {
        match parked.cgroup() {
            Some(group) if request.privileged => devices::allow(group.directory(), Reach::All)
                .map_err(|error| Failure::internal("cannot give the container all devices", error)),
            _ => Ok(()),
        }
    }

    /// Gives the next container its card.
    pub(super) fn prepare_card(&mut self) {
        if let Some(parked) = &mut self.parked
            && parked.branch(&mut self.card).is_err()
        {
            // The request that needs one will say why it cannot have it.
            self.parked = None;
        }
    }

    /// Puts the next container's root together.
    pub(super) fn prepare_root(&mut self) {
        if self.spare.is_none()
            && let Some(image) = self.next_image.take()
        {
            if self.layers.crowded(image.layers.len()) {
                return;
            }
            self.spare = SpareRoot::make(&image, &mut self.layers, &mut self.data).ok();
        }
    }

    /// Has the processes of a container stand still, or go on.
    pub(super) fn freeze(&mut self, process_id: ProcessId, frozen: bool) {
        let found = self.containers.iter().find(|container| container.init == process_id);
        let done = match found {
            Some(container) => container.cgroup().freeze(frozen).map_err(|error| error.to_string()),
            None => Err("the container is not running".to_owned()),
        };
        self.control.send(&AgentMessage::Frozen { process_id, error: done.err() });
    }

    /// Removes the writable layer of a container that is no more.
    pub(super) fn forget_container(&mut self, id: ProcessId, container: &str) -> Result<(), Failure> {
        let args = ["hull-tool".to_owned(), "remove".to_owned(), rootfs::directory(container)].to_vec();
        let process = Box::new(Process { args, tool: Some(Tool::Beside), ..Process::default() });
        self.check_start(id, &process)?;
        check_id(container)?;
        if self.containers.iter().any(|known| known.id == container) {
            return Err(Failure::invalid(format!("container {container} is running")));
        }
        self.data.mount()?;
        let (stdio, ends) = Stdio::open(&self.host, Ports::default(), false, rustix::fs::Uid::ROOT)?;
        let program = open_program(&process)?;
        let mut files = ends.files();
        files.extend(program.as_ref().map(|file| (Handed::Init, file.as_fd())));
        let started = Child::start(0, Cgroups::top()?.as_fd(), tool_beside(&process)?, &files);
        let (child, pidfd) = started.map_err(|error| Failure::internal("cannot start a tool", error))?;
        self.admit(Task::new(id, String::new(), process, stdio, child, pidfd));
        Ok(())
    }
}
