//! Other networks and ports for a container that runs. One thing is changed at a time, and whoever asked for it is told when it is done:
//!
//! ```text
//! connect:     network says what the VM has there ─▶ guest has that, too
//! disconnect:  guest gives it up ─▶ (network gives the ports up ─▶ the next one publishes them) ─▶ the VM parts
//! publish:     the first network does
//! ```

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

/// What is being changed.
#[derive(Debug)]
pub struct Change {
    client: ClientId,
    step: Step,
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
        let first = self.networks.attachments.first();
        let mac = first.and_then(|first| first.lease.as_ref()).map(|lease| lease.mac);
        match self.record.ask_network(wanted, mac) {
            Ok(membership) => {
                let place = self.networks.add(membership);
                self.networks.change = Some(Change { client, step: Step::Joining(place) });
            }
            Err(message) => self.refuse(client, &format!("cannot be connected: {message}")),
        }
    }

    /// A front end wants the container to be in this network no longer.
    pub(super) fn detach_network(&mut self, client: ClientId, network: &str) {
        if !self.may_change(client) {
            return;
        }
        let Some(one) = self.networks.attachments.iter().find(|one| one.network == network) else {
            return self.refuse(client, &format!("is not connected to network {network}"));
        };
        let place = one.place;
        self.networks.change = Some(Change { client, step: Step::Parting(place) });
        self.tell_guest(&self.networks.leases_but(None), &self.networks.leases_but(Some(place)));
    }

    /// A front end wants ports to be reached from outside, and others not to be any more.
    pub(super) fn publish(&mut self, client: ClientId, wanted: &Republish) {
        if !self.may_change(client) {
            return;
        }
        let Some(first) = self.networks.attachments.first() else {
            return self.refuse(client, "is in no network that its ports could be reached by");
        };
        let place = first.place;
        if !self.republish(client, place, wanted) {
            self.refuse(client, "cannot be reached: its network was lost; try again in a moment");
        }
    }

    fn republish(&mut self, client: ClientId, place: u32, wanted: &Republish) -> bool {
        let Some(one) = self.networks.at(place) else { return false };
        let told = one.republish(wanted);
        if told {
            self.networks.change = Some(Change { client, step: Step::Publishing(place) });
        }
        told
    }

    /// Whether something can be changed now; the front end is told if not.
    fn may_change(&self, client: ClientId) -> bool {
        let why = match self.stage {
            Stage::Running if self.is_paused() => "is paused, unpause it first",
            Stage::Running if self.networks.change.is_some() => {
                "is being changed by somebody else, try again"
            }
            Stage::Running => return true,
            Stage::Resting => "is being written down; try again when that is done",
            _ => "is not running",
        };
        self.refuse(client, why);
        false
    }

    fn tell_guest(&mut self, before: &[Lease], after: &[Lease]) {
        let networks = after.iter().map(hull_protocol::Network::from).collect();
        let files = self.record.rewrites(before, after);
        self.tell_agent_at_last(HostMessage::Networks { process_id: PROCESS, networks, files });
    }

    fn step(&self) -> Option<Step> {
        self.networks.change.as_ref().map(|change| change.step)
    }

    fn go_on_with(&mut self, step: Step) {
        if let Some(change) = &mut self.networks.change {
            change.step = step;
        }
    }

    /// A network that the VM comes into has said what it has there.
    pub(super) fn lease_came(&mut self, place: u32) {
        if self.step() != Some(Step::Joining(place)) {
            return self.part(place);
        }
        if let Some(one) = self.networks.at(place) {
            one.address = one.lease.as_ref().map(|lease| lease.address);
        }
        self.connect_network(place);
        self.go_on_with(Step::Arriving(place));
        self.tell_guest(&self.networks.leases_but(Some(place)), &self.networks.leases_but(None));
    }

    /// The guest has done what it was told of its networks, or not.
    pub(super) fn guest_changed(&mut self, error: Option<String>) {
        match (self.step(), error) {
            (Some(Step::Arriving(_)), None) => {
                self.networks.tell_each_other();
                self.finish();
            }
            (Some(Step::Arriving(place)), Some(error)) => {
                self.part(place);
                self.give_up(&format!("cannot be connected: {error}"));
            }
            (Some(Step::Parting(place)), None) => self.release(place),
            (Some(Step::Parting(_)), Some(error)) => {
                self.give_up(&format!("cannot be disconnected: {error}"));
            }
            _ => {}
        }
    }

    /// The guest has given a network up. What is reached from outside is, from now on, by the next.
    fn release(&mut self, place: u32) {
        let is_first = self.networks.attachments.first().is_some_and(|one| one.place == place);
        let others = self.networks.attachments.len() > 1;
        if is_first
            && others
            && let Some(one) = self.networks.at(place)
            && !one.ports().is_empty()
        {
            let all = one.ports().iter().map(|port| (port.inside, port.protocol)).collect();
            if one.republish(&Republish { add: Vec::new(), remove: all }) {
                return self.go_on_with(Step::Releasing(place));
            }
        }
        self.part(place);
        self.finish();
    }

    /// A network has published what it was told to, or not.
    pub(super) fn changed(&mut self, place: u32, answer: Answer) {
        match (self.step(), answer) {
            (Some(Step::Releasing(of)), _) if of == place => self.released(place),
            (Some(Step::Publishing(of)), Answer::Published { ports }) if of == place => {
                if let Some(one) = self.networks.at(place) {
                    one.published(ports);
                }
                self.finish();
            }
            (Some(Step::Publishing(of)), Answer::Refused { message }) if of == place => {
                self.give_up(&format!("is not reached there: {message}"));
            }
            _ => {}
        }
    }

    /// A network that the VM is about to leave has given its ports up: they are for the one that is first from now on.
    fn released(&mut self, place: u32) {
        let ports = self.networks.at(place).map(|one| one.ports().to_vec()).unwrap_or_default();
        self.part(place);
        let client = self.networks.change.as_ref().map(|change| change.client);
        if let Some((client, first)) = client.zip(self.networks.attachments.first_mut()) {
            let place = first.place;
            if self.republish(client, place, &Republish { add: ports.clone(), remove: Vec::new() }) {
                return;
            }
            // It is lost, and publishes them when it is found again.
            if let Some(Attachment { again: Some(join), .. }) = self.networks.at(place) {
                join.ports = ports;
            }
        }
        self.finish();
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

    fn finish(&mut self) {
        self.record.networks(&self.networks.leases());
        if let Some(change) = self.networks.change.take() {
            self.answer(change.client, &KeeperMessage::Updated);
        }
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
        let Some(membership) = self.membership.as_ref().filter(|_| self.joined) else { return false };
        let Ok(file) = control::write(wanted) else { return false };
        let kept = self.ports().iter().filter(|port| !wanted.remove.contains(&(port.inside, port.protocol)));
        let ports = kept.chain(&wanted.add).cloned().collect();
        let told = membership.say_with(&Request::Publish, &file).is_ok();
        self.wanted = ports;
        told
    }

    /// It has: all that is reached from outside is this.
    fn published(&mut self, bound: Vec<control::Bound>) {
        if let (Some(join), Some(lease)) = (&mut self.again, &mut self.lease) {
            join.ports = control::bound_again(&self.wanted, &bound);
            lease.ports = bound;
        }
    }
}
