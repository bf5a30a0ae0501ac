//! A pause: the container's VM stands still, until somebody lets it go on or sends its process a signal.

use super::{ClientId, Keeper, Stage};
use crate::{vm::control::KeeperMessage, vmm::control::KeeperMessage as ToVmm};

impl Keeper {
    /// Has the VM stand still.
    pub(super) fn pause(&mut self, client: ClientId) {
        match self.stage {
            Stage::Running if self.paused => self.refuse(client, "is already paused"),
            Stage::Running => {
                if self.tell_vmm(&ToVmm::Pause) {
                    self.paused = true;
                    self.record.paused(true);
                    self.answer(client, &KeeperMessage::Paused);
                }
            }
            Stage::Resting => self.refuse(client, "is being written down; try again when that is done"),
            _ => self.refuse(client, "is not running"),
        }
    }

    /// A front end lets the VM go on.
    pub(super) fn end_pause(&mut self, client: ClientId) {
        if self.paused {
            self.unpause();
            self.answer(client, &KeeperMessage::GoesOn);
        } else {
            self.refuse(client, "is not paused");
        }
    }

    /// Lets the VM go on, if it stands still.
    pub(super) fn unpause(&mut self) {
        if std::mem::take(&mut self.paused) && self.tell_vmm(&ToVmm::Resume) {
            self.record.paused(false);
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
