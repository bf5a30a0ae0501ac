//! Several containers in one guest: what is said once for all of them, and what keeps each from the others.
//!
//! Each has its own namespaces anyway. What a guest with one container need not do is here: a network namespace of its own for each, its
//! card on top of the guest's; and one cgroup around all, where it is said which devices they reach and how much memory
//! they may have together before the guest asks for more.

use hull_protocol::{AgentMessage, Container, Image, Process, ProcessId, Stdio as Ports};
use rustix::{
    fd::{AsFd, AsRawFd, RawFd},
    fs::Uid,
    process::{PidfdFlags, getpid, pidfd_open},
};

use super::{Agent, MEMORY, Preparation};
use crate::{
    cgroup::Cgroups,
    child::Child,
    container::check_id,
    devices::{self, Reach},
    failure::Failure,
    network::Card,
    parked::Parked,
    skeleton::Skeleton,
    spare::SpareRoot,
    stdio::Stdio,
    step::Step,
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

    /// Has the writable layer removed of a container that is no more.
    pub(super) fn forget_container(&mut self, id: ProcessId, container: &str) -> Result<(), Failure> {
        check_id(container)?;
        if self.containers.iter().any(|known| known.id == container) {
            return Err(Failure::invalid(format!("container {container} is running")));
        }
        self.data.mount()?;
        self.trash.take(id, container, sys::monotonic())
    }

    /// When to look after what is in the trash: it is the turn of everything else first, unless there is nothing else.
    pub(super) fn trash_deadline(&self) -> Option<u64> {
        let due = self.trash.deadline(self.prepare_at)?;
        // Without containers the VM waits for this before it ends.
        Some(if self.containers.is_empty() { 0 } else { due }).filter(|_| self.stopping.is_none())
    }

    /// Has a child empty the trash if it is time.
    pub(super) fn empty_trash(&mut self) {
        if self.trash_deadline().is_none_or(|due| sys::monotonic() < due) {
            return;
        }
        let Some(id) = self.trash.begin() else { return };
        let started = Stdio::open(&self.host, Ports::default(), false, Uid::ROOT).and_then(|(stdio, _)| {
            let child = Child::start(0, Cgroups::top()?.as_fd(), vec![Step::EmptyTrash], &[]);
            let fail = |error| Failure::internal("cannot start what removes writable layers", error);
            child.map(|(child, pidfd)| (stdio, child, pidfd)).map_err(fail)
        });
        match started {
            Ok((stdio, child, pidfd)) => {
                self.admit(Task::new(id, String::new(), Box::default(), stdio, child, pidfd));
            }
            Err(Failure { kind, message }) => {
                let failed = AgentMessage::Failed { process_id: id, kind, message };
                self.trash_emptied(&failed);
                self.control.send(&failed);
            }
        }
    }

    /// Tells everybody else who has asked for it what the first is told.
    pub(super) fn trash_emptied(&mut self, first: &AgentMessage) {
        for other in self.trash.end().into_iter().skip(1) {
            let mut message = first.clone();
            if let AgentMessage::Exited { process_id, .. } | AgentMessage::Failed { process_id, .. } =
                &mut message
            {
                *process_id = other;
            }
            self.control.send(&message);
        }
    }
}
