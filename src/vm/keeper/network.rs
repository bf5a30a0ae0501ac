//! The keeper's part in its VM's networks: it brings the VM in when it starts, beside everything else, and has the container wait for what it
//! is given there. If a network's process is lost it brings the VM in again, as it was. What is changed while the container runs is in
//! [`super::attach`].

use std::{
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use super::{Ending, Keeper, Stage, attach::Change};
use crate::{
    network::{
        client::Membership,
        control::{Answer, Join, Lease, Publication, Request},
    },
    vmm::control::KeeperMessage as ToVmm,
};

/// How long it waits before it tries to bring the VM in again, the first time and at most.
const PATIENCE: Duration = Duration::from_millis(100);
const MOST_PATIENCE: Duration = Duration::from_secs(10);

/// Where a VM is with its networks, the first of which leads to everybody else.
#[derive(Debug, Default)]
pub struct Networks {
    pub attachments: Vec<Attachment>,
    pub next_place: u32,
    /// Everything else is ready for the start.
    awaited: bool,
    /// What is being changed while the container runs.
    pub change: Option<Change>,
    /// How often the guest was told of its networks and has not answered.
    pub unanswered: u32,
}

/// A VM's connection to one network.
#[derive(Debug)]
pub struct Attachment {
    /// The network.
    pub network: String,
    /// Which of the card's connections it is.
    pub place: u32,
    /// The VM's addresses, where the card has to know which frames go there; the first that a VM starts with has all.
    pub addresses: Vec<IpAddr>,
    /// Absent while the network is lost.
    pub membership: Option<Membership>,
    /// It has said that the VM is in it.
    pub joined: bool,
    /// What the VM has there.
    pub lease: Option<Lease>,
    /// What it asks for when the network was lost.
    pub again: Option<Join>,
    /// Ports that it was last told to publish.
    pub wanted: Vec<Publication>,
    /// When that is tried next.
    at: Option<Instant>,
    patience: Duration,
}

impl Attachment {
    /// One that has asked for a network.
    pub fn new(membership: Membership, place: u32) -> Self {
        Self {
            network: membership.network().to_owned(),
            place,
            addresses: Vec::new(),
            membership: Some(membership),
            joined: false,
            wanted: Vec::new(),
            lease: None,
            again: None,
            at: None,
            patience: PATIENCE,
        }
    }

    /// It is tried again after a time, which gets longer.
    fn wait(&mut self) {
        self.at = Some(Instant::now() + self.patience);
        self.patience = (2 * self.patience).min(MOST_PATIENCE);
    }

    /// The VM has this there.
    fn settle(&mut self, lease: Lease) {
        self.again = self.membership.as_ref().map(|membership| membership.to_have_again(&lease));
        (self.lease, self.joined, self.patience) = (Some(lease), true, PATIENCE);
    }
}

impl Networks {
    /// Those of a VM that is about to be in this one, or in none.
    pub fn new(membership: Option<Membership>) -> Self {
        let mut networks = Self::default();
        if let Some(membership) = membership {
            networks.add(membership);
        }
        networks
    }

    /// The VM is about to be in another; gives its place.
    pub fn add(&mut self, membership: Membership) -> u32 {
        let place = self.next_place;
        self.next_place += 1;
        self.attachments.push(Attachment::new(membership, place));
        place
    }

    /// The connections to the networks, and their places.
    pub fn descriptors(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.attachments.iter().filter_map(|one| Some((one.place, one.membership.as_ref()?.as_fd())))
    }

    /// Whether the container can be started as far as its networks are concerned; if not it is when they have answered.
    pub fn is_ready(&mut self) -> bool {
        let ready = self.attachments.iter().all(|one| one.lease.is_some());
        self.awaited = !ready;
        ready
    }

    /// When a network is to be looked for again, or a change to be over.
    pub fn deadline(&self) -> Option<Instant> {
        let change = self.change.as_ref().map(|change| change.until);
        self.attachments.iter().filter_map(|one| one.at).chain(change).min()
    }

    /// The one at this place.
    pub fn at(&mut self, place: u32) -> Option<&mut Attachment> {
        self.attachments.iter_mut().find(|one| one.place == place)
    }

    /// What the VM has, and where.
    pub fn leases(&self) -> Vec<(String, Lease)> {
        self.attachments.iter().filter_map(|one| Some((one.network.clone(), one.lease.clone()?))).collect()
    }

    /// Tells each network in which others the VM is, if it is, or was a moment ago, in several: names are looked for there, too.
    pub fn tell_each_other(&self) {
        for one in &self.attachments {
            let others = self.attachments.iter().filter(|other| other.place != one.place);
            let networks = others.map(|other| other.network.clone()).collect();
            if let Some(membership) = &one.membership {
                // Whose process is gone is told when it is there again.
                let _ = membership.say(&Request::Elsewhere { networks });
            }
        }
    }
}

impl Keeper {
    /// Gives the VM its end of the network at this place.
    pub(super) fn connect_network(&mut self, place: u32) {
        let Some(one) = self.networks.at(place) else { return };
        if let Some(membership) = &one.membership {
            // It looks at no checksum: frames have been in this host's memory only. A VMM that does not hear is about to end.
            let message = ToVmm::Network { place, addresses: one.addresses.clone(), checksums: false };
            let _ = self.vmm.control.send(&message, Some(membership.frames.as_fd()));
        }
    }

    /// A network has said something, or is gone.
    pub(super) fn read_network(&mut self, place: u32) {
        let Some(one) = self.networks.at(place) else { return };
        let Some(membership) = &one.membership else { return };
        match membership.answer() {
            Ok(None) => {}
            Ok(Some(Answer::Joined(lease))) => self.joined(place, lease),
            Ok(Some(answer)) if one.joined => self.changed(place, answer),
            // The guest finds its card without a link until then.
            Ok(Some(_)) | Err(_) if one.lease.is_some() => {
                self.lose_network(place);
            }
            Ok(Some(Answer::Published { .. })) => {}
            Ok(Some(Answer::Refused { message })) | Err(message) => {
                one.membership = None;
                if self.change_refused(place, &message) {
                    return;
                }
                if self.stage < Stage::Running {
                    let error = format!("cannot connect the container to its network: {message}");
                    self.ending.get_or_insert(Ending::NotStarted { code: 125, error });
                    self.end_vm();
                }
            }
        }
    }

    /// The process of a network that the VM is in is gone, or as good as gone.
    pub(super) fn lose_network(&mut self, place: u32) {
        let Some(one) = self.networks.at(place) else { return };
        (one.membership, one.joined) = (None, false);
        one.wait();
        self.change_lost(place);
    }

    /// The VM is in a network: for the first time, or again.
    fn joined(&mut self, place: u32, lease: Lease) {
        let Some(one) = self.networks.at(place) else { return };
        let (mac, addresses) = (lease.mac, lease.addresses());
        let known = one.lease.is_some();
        one.settle(lease);
        if known {
            // As before: the guest finds its link up again.
            self.connect_network(place);
            return self.networks.tell_each_other();
        }
        if self.started {
            return self.lease_came(place);
        }
        if place == 0 {
            // The others are to be had at the same card.
            match self.record.more_networks(mac) {
                Ok(more) => more.into_iter().for_each(|membership| {
                    self.networks.add(membership);
                }),
                Err(message) => {
                    let error = format!("cannot connect the container to its network: {message}");
                    self.ending.get_or_insert(Ending::NotStarted { code: 125, error });
                    return self.end_vm();
                }
            }
        } else {
            if let Some(one) = self.networks.at(place) {
                one.addresses = addresses;
            }
            self.connect_network(place);
        }
        if self.networks.attachments.iter().any(|one| one.lease.is_none()) {
            return;
        }
        if self.networks.attachments.len() > 1 {
            self.networks.tell_each_other();
        }
        self.record.joined(&self.networks.leases(), &mut self.task);
        if std::mem::take(&mut self.networks.awaited) {
            self.start();
        }
    }

    /// Brings the VM into networks that were lost, if it is time for that.
    pub(super) fn look_for_networks(&mut self) {
        for one in &mut self.networks.attachments {
            if one.at.is_none_or(|at| at > Instant::now()) {
                continue;
            }
            let Some(join) = one.again.clone().filter(|_| self.stage < Stage::Ending) else {
                one.at = None;
                continue;
            };
            // What is in its way may end: another VM that has one of the ports meanwhile.
            match Membership::ask(&one.network, join) {
                Ok(membership) => {
                    one.at = None;
                    one.membership = Some(membership);
                }
                Err(_) => one.wait(),
            }
        }
    }
}
