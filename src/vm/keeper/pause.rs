//! A pause: the container's VM stands still, until somebody lets it go on or sends its process a signal.

use super::{ClientId, Keeper, Stage};
use crate::{vm::control::KeeperMessage, vmm::control::KeeperMessage as ToVmm};

/// Whether the VM stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It does not.
    No,
    /// The VMM was asked for it by this front end.
    Asked(ClientId),
    /// It does.
    Yes,
}

impl Keeper {
    /// Whether the VM stands still, or is about to.
    pub(super) fn is_paused(&self) -> bool {
        self.pause != Pause::No
    }

    /// Has the VM stand still.
    pub(super) fn pause(&mut self, client: ClientId) {
        match self.stage {
            Stage::Running if self.is_paused() => self.refuse(client, "is already paused"),
            Stage::Running => {
                if self.tell_vmm(&ToVmm::Pause) {
                    self.pause = Pause::Asked(client);
                }
            }
            Stage::Resting => self.refuse(client, "is being written down; try again when that is done"),
            _ => self.refuse(client, "is not running"),
        }
    }

    /// The VM stands still, or cannot.
    pub(super) fn paused(&mut self, error: Option<String>) {
        // Somebody may have let it go on meanwhile.
        let Pause::Asked(client) = self.pause else { return };
        match error {
            None => {
                self.pause = Pause::Yes;
                self.record.paused(true);
                self.answer(client, &KeeperMessage::Paused);
            }
            Some(error) => {
                self.pause = Pause::No;
                self.refuse(client, &format!("cannot be paused: {error}"));
            }
        }
    }

    /// A front end lets the VM go on.
    pub(super) fn end_pause(&mut self, client: ClientId) {
        if self.is_paused() {
            self.unpause();
            self.answer(client, &KeeperMessage::GoesOn);
        } else {
            self.refuse(client, "is not paused");
        }
    }

    /// Lets the VM go on, if it stands still.
    pub(super) fn unpause(&mut self) {
        let before = std::mem::replace(&mut self.pause, Pause::No);
        if before == Pause::No || !self.tell_vmm(&ToVmm::Resume) {
            return;
        }
        match before {
            Pause::Asked(client) => self.refuse(client, "was let go on at once"),
            _ => self.record.paused(false),
        }
    }

    fn tell_vmm(&mut self, message: &ToVmm) -> bool {
        let told = self.vmm.control.send(message, None);
        if let Err(error) = &told {
            self.fail(&format!("the VMM cannot be told anything: {error}"));
        }
        told.is_ok()
    }
}
