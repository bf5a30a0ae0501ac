//! Other networks and ports for a container that runs. One thing is changed at a time, and whoever asked for it is told when it is done:
//!
//! ```text
//! connect:     network says what the VM has there ─▶ guest has that, too
//! disconnect:  guest gives it up ─▶ (network gives the ports up ─▶ the next one publishes them) ─▶ the VM parts
//! publish:     the first network does
//! ```
//!
//! What is done on this side is: a guest that refuses to leave a network, or says nothing, is not in it any more all the same. Every step has
//! a time limit.

use std::time::Instant;

use hull_protocol::HostMessage;

use super::{
    ClientId, Keeper, PROCESS, Stage,
    network::{Attachment, Networks},
};
use crate::{
    network::control::{self, Answer, Lease, Publication, Republish, Request},
    vm::control::KeeperMessage,
    vmm::control::KeeperMessage as ToVmm,
};

/// Answers of the guest that may be due: one that says nothing is told nothing more.
const MOST_UNANSWERED: u32 = 16;

/// What is being changed.
#[derive(Debug)]
pub struct Change {
    client: ClientId,
    what: What,
    step: Step,
    /// When the step is to be over.
    pub until: Instant,
}

/// What a container has from now on, also at its next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is in a network, too.
    Connected(Wanted),
    /// It is in this one no longer.
    Disconnected(String),
    /// Other ports of it are reached from outside.
    Published(Republish),
}

/// What is waited for; each is about the network at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is to say what the VM has there.
    Joining(u32),
    /// The guest is to have that.
    Arriving(u32),
    /// The guest is to give it up.
    Parting(u32),
    /// It is to give up ports, which another is to have.
    Releasing(u32),
    /// It is to publish what another has given up.
    Inheriting(u32),
    /// It is to publish ports, or not to any more.
    Publishing(u32),
}

/// A network that a container is to be in, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The network.
    pub network: String,
    /// What others there call the container, beside its name.
    pub aliases: Vec<String>,
    /// The address that it wants.
    pub address: Option<std::net::Ipv4Addr>,
}

impl Networks {
    fn leases_but(&self, place: Option<u32>) -> Vec<Lease> {
        let others = self.attachments.iter().filter(|one| Some(one.place) != place);
        others.filter_map(|one| one.lease.clone()).collect()
    }
}

impl Keeper {
    /// A front end wants the container to be in another network, too.
    pub(super) fn attach(&mut self, client: ClientId, wanted: &Wanted) {
        if !self.may_change(client) {
            return;
        }
        if self.networks.attachments.iter().any(|one| one.network == wanted.network) {
            return self.refuse(client, &format!("is in network {} already", wanted.network));
        }
        if self.networks.unanswered >= MOST_UNANSWERED {
            return self.refuse(client, "cannot be connected: its guest does not answer");
        }
        let first = self.networks.attachments.first();
        let mac = first.and_then(|first| first.lease.as_ref()).map(|lease| lease.mac);
        match self.record.ask_network(wanted, mac) {
            Ok(membership) => {
                let place = self.networks.add(membership);
                self.begin(client, What::Connected(wanted.clone()), Step::Joining(place));
            }
            Err(message) => self.refuse(client, &format!("cannot be connected: {message}")),
        }
    }

    /// A front end wants the container to be in this network no longer.
    pub(super) fn detach_network(&mut self, client: ClientId, network: &str) {
        // A guest that stands still finds out when it goes on.
        let paused = self.stage == Stage::Running && self.is_paused();
        if !self.may_change_if(client, true) {
            return;
        }
        let Some(one) = self.networks.attachments.iter().find(|one| one.network == network) else {
            return self.refuse(client, &format!("is not connected to network {network}"));
        };
        let place = one.place;
        self.begin(client, What::Disconnected(network.to_owned()), Step::Parting(place));
        self.tell_guest(&self.networks.leases_but(None), &self.networks.leases_but(Some(place)));
        if paused {
            self.release(place);
        }
    }

    /// A front end wants ports to be reached from outside, and others not to be any more.
    pub(super) fn publish(&mut self, client: ClientId, wanted: &Republish) {
        if !self.may_change(client) {
            return;
        }
        let Some(first) = self.networks.attachments.first_mut() else {
            return self.refuse(client, "is in no network that its ports could be reached by");
        };
        let place = first.place;
        if first.republish(wanted) {
            self.begin(client, What::Published(wanted.clone()), Step::Publishing(place));
        } else {
            self.refuse(client, "cannot be reached: its network was lost; try again in a moment");
        }
    }

    /// Whether something can be changed now; the front end is told if not.
    fn may_change(&self, client: ClientId) -> bool {
        let paused = self.is_paused();
        self.may_change_if(client, !paused)
    }

    fn may_change_if(&self, client: ClientId, goes: bool) -> bool {
        let why = match self.stage {
            Stage::Running if self.networks.change.is_some() => {
                "is being changed by somebody else, try again"
            }
            Stage::Running if goes => return true,
            Stage::Running => "is paused, unpause it first",
            Stage::Resting => "is being written down; try again when that is done",
            Stage::Booting | Stage::Starting => "is about to start; try again when it runs",
            _ => "is not running",
        };
        self.refuse(client, why);
        false
    }

    fn tell_guest(&mut self, before: &[Lease], after: &[Lease]) {
        let networks = after.iter().map(hull_protocol::Network::from).collect();
        let files = self.record.rewrites(before, after);
        self.networks.unanswered += 1;
        self.tell_agent_at_last(HostMessage::Networks { process_id: PROCESS, networks, files });
    }

    fn begin(&mut self, client: ClientId, what: What, step: Step) {
        let until = Instant::now() + self.limits.change;
        self.networks.change = Some(Change { client, what, step, until });
    }

    fn step(&self) -> Option<Step> {
        self.networks.change.as_ref().map(|change| change.step)
    }

    fn go_on_with(&mut self, step: Step) {
        if let Some(change) = &mut self.networks.change {
            (change.step, change.until) = (step, Instant::now() + self.limits.change);
        }
    }

    /// A network that the VM comes into has said what it has there.
    pub(super) fn lease_came(&mut self, place: u32) {
        if self.step() != Some(Step::Joining(place)) {
            return self.part(place);
        }
        if let Some(one) = self.networks.at(place) {
            one.addresses = one.lease.as_ref().map(Lease::addresses).unwrap_or_default();
        }
        self.connect_network(place);
        self.go_on_with(Step::Arriving(place));
        self.tell_guest(&self.networks.leases_but(Some(place)), &self.networks.leases_but(None));
    }

    /// The guest has done what it was told of its networks, or not.
    pub(super) fn guest_changed(&mut self, error: Option<String>) {
        // It answers in turn: only the last answer is to what it was told last.
        self.networks.unanswered = self.networks.unanswered.saturating_sub(1);
        if self.networks.unanswered > 0 {
            return;
        }
        match (self.step(), error) {
            (Some(Step::Arriving(_)), None) => {
                self.networks.tell_each_other();
                self.finish(None);
            }
            (Some(Step::Arriving(place)), Some(error)) => {
                self.part(place);
                self.give_up(&format!("cannot be connected: {error}"));
            }
            // It is asked for its own sake only.
            (Some(Step::Parting(place)), _) => self.release(place),
            _ => {}
        }
    }

    /// Goes on without whom nothing was heard of in time.
    pub(super) fn check_change(&mut self) {
        let Some(Change { step, until, .. }) = self.networks.change else { return };
        if until > Instant::now() {
            return;
        }
        if self.stage == Stage::Resting {
            // It says nothing until it is back.
            return self.go_on_with(step);
        }
        match step {
            Step::Joining(place) => {
                self.part(place);
                self.give_up("cannot be connected: the network's process does not answer");
            }
            Step::Arriving(place) => {
                self.tell_guest(&self.networks.leases_but(None), &self.networks.leases_but(Some(place)));
                self.part(place);
                self.give_up("cannot be connected: its guest does not answer");
            }
            Step::Parting(place) => self.release(place),
            // Asked again it has what it had before.
            Step::Releasing(place) | Step::Inheriting(place) | Step::Publishing(place) => {
                self.lose_network(place);
            }
        }
    }

    /// The guest has given a network up. What is reached from outside is, from now on, by the next.
    fn release(&mut self, place: u32) {
        let is_first = self.networks.attachments.first().is_some_and(|one| one.place == place);
        let others = self.networks.attachments.len() > 1;
        if is_first
            && others
            && let Some(one) = self.networks.at(place)
        {
            let remove = one.ports().iter().map(|port| (port.inside, port.protocol)).collect();
            if one.ports().is_empty() || !one.republish(&Republish { add: Vec::new(), remove }) {
                // There is none, or nobody who has them: it is lost.
                return self.released(place);
            }
            return self.go_on_with(Step::Releasing(place));
        }
        self.part(place);
        self.finish(None);
    }

    /// A network has published what it was told to, or not.
    pub(super) fn changed(&mut self, place: u32, answer: Answer) {
        match (self.step(), answer) {
            (Some(Step::Releasing(of)), _) if of == place => self.released(place),
            (Some(Step::Publishing(of) | Step::Inheriting(of)), Answer::Published { ports })
                if of == place =>
            {
                if let Some(one) = self.networks.at(place) {
                    one.published(ports);
                }
                self.finish(None);
            }
            (Some(Step::Publishing(of)), Answer::Refused { message }) if of == place => {
                self.give_up(&format!("is not reached there: {message}"));
            }
            (Some(Step::Inheriting(of)), Answer::Refused { message }) if of == place => {
                self.finish(Some(format!(
                    "its ports are not reached from outside until its next start: {message}"
                )));
            }
            _ => {}
        }
    }

    /// A network that the VM is about to leave has given its ports up: they are for the one that is first from now on.
    fn released(&mut self, place: u32) {
        let ports = self.networks.at(place).map(|one| one.ports().to_vec()).unwrap_or_default();
        self.part(place);
        if let Some(first) = self.networks.attachments.first_mut().filter(|_| !ports.is_empty()) {
            let place = first.place;
            let told = first.republish(&Republish { add: ports, remove: Vec::new() });
            self.go_on_with(Step::Inheriting(place));
            if !told {
                self.change_lost(place);
            }
            return;
        }
        self.finish(None);
    }

    /// A network does not take the VM in; `false` when nobody has asked for that while the container runs.
    pub(super) fn change_refused(&mut self, place: u32, message: &str) -> bool {
        let refused = self.step() == Some(Step::Joining(place));
        if refused {
            self.part(place);
            self.give_up(&format!("cannot be connected: {message}"));
        }
        refused
    }

    /// The process of a network that the VM is in is gone.
    pub(super) fn change_lost(&mut self, place: u32) {
        match self.step() {
            Some(Step::Publishing(of)) if of == place => {
                self.give_up("lost its network meanwhile; try again in a moment");
            }
            Some(Step::Releasing(of)) if of == place => self.released(place),
            Some(Step::Inheriting(of)) if of == place => {
                // It publishes them when it is found again.
                if let Some(Attachment { again: Some(join), wanted, .. }) = self.networks.at(place) {
                    join.ports.clone_from(wanted);
                }
                self.finish(None);
            }
            _ => {}
        }
    }

    /// The VM leaves a network.
    fn part(&mut self, place: u32) {
        self.networks.attachments.retain(|one| one.place != place);
        // A VMM that does not hear is about to end.
        let _ = self.vmm.control.send(&ToVmm::NoNetwork { place }, None);
        self.networks.tell_each_other();
    }

    /// It is done, and written down before anybody is told.
    fn finish(&mut self, warning: Option<String>) {
        self.record.networks(&self.networks.leases());
        let Some(change) = self.networks.change.take() else { return };
        let unwritten = |error| format!("this is forgotten when it ends, do it again then: {error}");
        let warning = self.record.describe(&change.what).map_err(unwritten).err().or(warning);
        self.answer(change.client, &KeeperMessage::Updated { warning });
    }

    fn give_up(&mut self, why: &str) {
        self.record.networks(&self.networks.leases());
        if let Some(change) = self.networks.change.take() {
            self.refuse(change.client, why);
        }
    }
}

impl Attachment {
    /// Ports that are, or will be, reached from outside by this network.
    fn ports(&self) -> &[Publication] {
        self.again.as_ref().map_or(&[], |join| &join.ports)
    }

    /// Has the network publish other ports; `false` when it is lost.
    fn republish(&mut self, wanted: &Republish) -> bool {
        let kept = self.ports().iter().filter(|port| !wanted.remove.contains(&(port.inside, port.protocol)));
        self.wanted = kept.chain(&wanted.add).cloned().collect();
        let Some(membership) = self.membership.as_ref().filter(|_| self.joined) else { return false };
        control::write(wanted).and_then(|file| membership.say_with(&Request::Publish, &file)).is_ok()
    }

    /// It has: all that is reached from outside is this.
    fn published(&mut self, bound: Vec<control::Bound>) {
        if let (Some(join), Some(lease)) = (&mut self.again, &mut self.lease) {
            join.ports = control::bound_again(&self.wanted, &bound);
            lease.ports = bound;
        }
    }
}

#[cfg(test)]
#[path = "attach_test.rs"]
mod tests;
