//! The keeper's part in its VM's network: it brings the VM in when it starts, beside everything else, and has the container wait for what it
//! is given there. If the network's process is lost it brings the VM in again, as it was.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use super::{Ending, Keeper, Stage};
use crate::{
    network::{client::Membership, control::Join},
    vmm::control::KeeperMessage as ToVmm,
};

/// How long it waits before it tries to bring the VM in again, the first time and at most.
const PATIENCE: Duration = Duration::from_millis(100);
const MOST_PATIENCE: Duration = Duration::from_secs(10);

/// Where a VM is with its network.
#[derive(Debug, Default)]
pub struct Network {
    membership: Option<Membership>,
    /// The network has said what the VM has there.
    joined: bool,
    /// Everything else is ready for the start.
    awaited: bool,
    /// The network was lost.
    lost: Option<Lost>,
}

/// A network that the VM is to be in again.
#[derive(Debug)]
struct Lost {
    /// What it is called, and what the VM had there.
    network: String,
    join: Join,
    /// When that is tried next.
    at: Option<Instant>,
    patience: Duration,
}

impl Network {
    /// A VM that is about to be in a network, or in none.
    pub fn new(membership: Option<Membership>) -> Self {
        Self { joined: membership.is_none(), awaited: false, membership, lost: None }
    }

    /// The connection to the network.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.membership.as_ref().map(AsFd::as_fd)
    }

    /// Whether the container can be started as far as its network is concerned; if not it is when that has answered.
    pub fn is_ready(&mut self) -> bool {
        self.awaited = !self.joined;
        self.joined
    }

    /// When the network is to be looked for again.
    pub fn deadline(&self) -> Option<Instant> {
        self.lost.as_ref()?.at
    }
}

impl Lost {
    /// It is tried again after a time, which gets longer.
    fn wait(&mut self) {
        self.at = Some(Instant::now() + self.patience);
        self.patience = (2 * self.patience).min(MOST_PATIENCE);
    }
}

impl Keeper {
    /// Gives the VM its end of the network.
    pub(super) fn connect_network(&mut self) {
        if let Some(membership) = &self.network.membership {
            // It looks at no checksum: frames have been in this host's memory only. A VMM that does not hear is about to end.
            let message = ToVmm::Network { checksums: false };
            let _ = self.vmm.control.send(&message, Some(membership.frames.as_fd()));
        }
    }

    /// The network has said something, or is gone.
    pub(super) fn read_network(&mut self) {
        let Some(membership) = &self.network.membership else { return };
        match membership.answer() {
            Ok(None) => {}
            Ok(Some(lease)) => {
                let (network, join) = membership.to_have_again(&lease);
                self.network.lost = Some(Lost { network, join, at: None, patience: PATIENCE });
                if std::mem::replace(&mut self.network.joined, true) {
                    // As before: the guest finds its link up again.
                    return self.connect_network();
                }
                self.record.joined(&lease, &mut self.task);
                if std::mem::take(&mut self.network.awaited) {
                    self.start();
                }
            }
            // The guest finds its card without a link until then.
            Err(_) if self.network.joined => {
                self.network.membership = None;
                if let Some(lost) = &mut self.network.lost {
                    lost.wait();
                }
            }
            Err(message) => {
                self.network.membership = None;
                if self.stage < Stage::Running {
                    let error = format!("cannot connect the container to its network: {message}");
                    self.ending.get_or_insert(Ending::NotStarted { code: 125, error });
                    self.end_vm();
                }
            }
        }
    }

    /// Brings the VM into a network that was lost, if it is time for that.
    pub(super) fn look_for_network(&mut self) {
        let Some(lost) = &mut self.network.lost else { return };
        if lost.at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        if self.stage >= Stage::Ending {
            lost.at = None;
            return;
        }
        // What is in its way may end: another VM that has one of the ports meanwhile.
        match Membership::ask(&lost.network, lost.join.clone()) {
            Ok(membership) => {
                lost.at = None;
                self.network.membership = Some(membership);
            }
            Err(_) => lost.wait(),
        }
    }
}
