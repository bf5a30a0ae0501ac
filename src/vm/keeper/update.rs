//! Other limits for a container that runs (`hull update`).

use hull_protocol::{HostMessage, Limits};

use super::{ClientId, Keeper, PROCESS, Stage};
use crate::vm::control::KeeperMessage;

impl Keeper {
    /// A front end wants the container to have these limits, and its VM to have up to so much memory.
    pub(super) fn update(&mut self, client: ClientId, limits: Limits, most_memory: u64) {
        match self.stage {
            Stage::Running if self.is_paused() => self.refuse(client, "is paused, unpause it first"),
            Stage::Running if self.updating.is_some() => {
                self.refuse(client, "is being updated by somebody else, try again");
            }
            Stage::Running => {
                self.updating = Some(client);
                self.task.most_memory = most_memory;
                self.tell_agent(&HostMessage::Limit { process_id: PROCESS, limits });
            }
            Stage::Resting => self.refuse(client, "is being written down; try again when that is done"),
            _ => self.refuse(client, "is not running"),
        }
    }

    /// The agent has set them, or not.
    pub(super) fn updated(&mut self, error: Option<String>) {
        let Some(client) = self.updating.take() else { return };
        match error {
            None => self.answer(client, &KeeperMessage::Updated { warning: None }),
            Some(error) => self.refuse(client, &format!("cannot be updated: {error}")),
        }
    }
}
