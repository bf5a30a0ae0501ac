//! The keeper's part in its VM's network: it brings the VM in when it starts, beside everything else, and has the container wait for what it
//! is given there.

use std::os::fd::{AsFd, BorrowedFd};

use super::{Ending, Keeper, Stage};
use crate::{network::client::Membership, vmm::control::KeeperMessage as ToVmm};

/// Where a VM is with its network.
#[derive(Debug, Default)]
pub struct Network {
    membership: Option<Membership>,
    /// The network has said what the VM has there.
    joined: bool,
    /// Everything else is ready for the start.
    awaited: bool,
}

impl Network {
    /// A VM that is about to be in a network, or in none.
    pub fn new(membership: Option<Membership>) -> Self {
        Self { joined: membership.is_none(), awaited: false, membership }
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
                self.network.joined = true;
                self.record.joined(&lease, &mut self.task);
                if std::mem::take(&mut self.network.awaited) {
                    self.start();
                }
            }
            // The guest finds its card without a link.
            Err(_) if self.network.joined => self.network.membership = None,
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
}
