//! Several containers in one guest: what is said once for all of them, and what keeps each from the others.
//!
//! Each has its own namespaces anyway. What a guest with one container need not do is here: a network namespace of its own for each, its
//! card on top of the guest's; and one cgroup around all, where it is said which devices they reach and how much memory
//! they may have together before the guest asks for more.

use hull_protocol::{AgentMessage, Container, Image, Process, ProcessId, Stdio as Ports};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    fs::Uid,
    process::{PidfdFlags, getpid, pidfd_open},
};

use super::{Agent, MEMORY, Preparation};
use crate::{
    cgroup::{Cgroup, Cgroups},
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

/// What is prepared for one container of several.
const PREPARATIONS: &[Preparation] =
    &[Preparation::Namespaces, Preparation::Card, Preparation::Root, Preparation::Stock];

/// How many containers there may be something left of.
const MOST_REMAINS: usize = 8;
/// How long nothing is to have happened before what is left is parted with.
const QUIET_NS: u64 = 1_000_000_000;

/// Between two looks at whether an empty container's namespaces are there.
const LOOK_NS: u64 = 20_000_000;

/// What is ready for a container.
pub(super) struct Ready {
    parked: Parked,
    spare: Option<SpareRoot>,
}

/// How many containers are prepared for beside the next: they often come several at a time.
const STOCK: usize = 5;

/// What is left of a container that is over. The kernel takes long to part with these, and hardly longer for several network
/// namespaces at once: it is done for all, when there is time.
pub(super) struct Remains {
    /// A number that no other has: that of its first process.
    pub(super) number: ProcessId,
    pub(super) card: Option<Card>,
    /// Held, so that it is not taken apart yet.
    pub(super) network: Option<OwnedFd>,
    pub(super) cgroup: Cgroup,
}

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
        // Two cards cannot have the same address: it may be started again.
        for Remains { number, card, .. } in &mut self.remains {
            if let Some(like) = card.as_mut().filter(|card| card.is_like(&request.networks))
                && like.disguise(*number).is_err()
            {
                card.take().into_iter().for_each(Card::remove);
            }
        }
        parked.branch(&mut self.card)?;
        let mut card = parked.take_card();
        let joined = card.as_mut().map_or(Ok(()), |card| card.join(&request.networks));
        match joined {
            Ok(()) => Ok(card),
            Err(failure) => {
                card.into_iter().for_each(Card::remove);
                Err(failure)
            }
        }
    }

    /// A container was started: another may be, most likely of the same image.
    pub(super) fn foresee(&mut self, next: Option<Image>) {
        if next.is_some() {
            self.next_image = next;
            self.preparations = PREPARATIONS;
        }
    }

    /// Keeps what was prepared, and prepares more, until there is enough.
    pub(super) fn fill_stock(&mut self) {
        let crowded = self.next_image.as_ref().is_some_and(|image| self.layers.crowded(image.layers.len()));
        if self.stock.len() < STOCK
            && !crowded
            && let Some(parked) = self.parked.take()
        {
            self.stock.push(Ready { parked, spare: self.spare.take() });
            self.preparations = PREPARATIONS;
            self.prepare_at = sys::monotonic() + QUIET_NS;
        }
    }

    /// Gets ready what was prepared, unless something else is.
    pub(super) fn take_from_stock(&mut self) {
        if self.parked.is_none()
            && self.spare.is_none()
            && let Some(Ready { parked, spare }) = self.stock.pop()
        {
            (self.parked, self.spare) = (Some(parked), spare);
        }
    }

    /// Lets go of it.
    pub(super) fn clear_stock(&mut self) {
        let spares = self.stock.drain(..).filter_map(|ready| ready.spare);
        spares.for_each(|spare| spare.release(&mut self.layers));
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
        if self.parked.as_ref().is_some_and(|parked| !parked.is_settled()) {
            // Others are heard meanwhile.
            self.preparations = PREPARATIONS.get(1..).unwrap_or_default();
            self.prepare_at = sys::monotonic() + LOOK_NS;
            return;
        }
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
            && let Some(image) = &self.next_image
        {
            if self.layers.crowded(image.layers.len()) {
                return;
            }
            let is_used = |number: &usize| {
                self.stock
                    .iter()
                    .filter_map(|ready| ready.spare.as_ref())
                    .any(|spare| spare.number() == *number)
            };
            // The first is for a container that none was prepared for.
            let number = (1..).find(|number| !is_used(number)).unwrap_or(1);
            self.spare = SpareRoot::make(number, image, &mut self.layers, &mut self.data).ok();
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

    /// Keeps what is left of a container until there is time.
    pub(super) fn keep_remains(&mut self, remains: Remains) {
        self.remains.push(remains);
        if self.remains.len() > MOST_REMAINS {
            self.part_with_remains();
        }
    }

    fn part_with_remains(&mut self) {
        // The cards at once, so that others can have their addresses.
        for remains in &mut self.remains {
            remains.card.take().into_iter().for_each(Card::remove);
        }
        // The namespaces together.
        for Remains { network, cgroup, .. } in std::mem::take(&mut self.remains) {
            drop(network);
            cgroup.remove();
        }
    }

    /// When to tidy up: it is the turn of everything else first.
    pub(super) fn tidy_at(&self) -> Option<u64> {
        let remains = (!self.remains.is_empty()).then_some(self.prepare_at + QUIET_NS);
        // Without containers the VM waits for the trash to be empty before it ends.
        let trash = self.trash.deadline(self.prepare_at);
        let trash = trash.map(|due| if self.containers.is_empty() { 0 } else { due });
        remains.into_iter().chain(trash).min().filter(|_| self.stopping.is_none())
    }

    /// Tidies up if it is time.
    pub(super) fn tidy(&mut self) {
        if self.tidy_at().is_none_or(|due| sys::monotonic() < due) {
            return;
        }
        self.part_with_remains();
        if self.trash.deadline(0).is_none() {
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
