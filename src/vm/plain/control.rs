//! What a command and the keeper of a plain VM say to each other over the keeper's socket (see [`crate::vmm::channel`]).

use serde::{Deserialize, Serialize};

use crate::vmm::control::ExitReason;

/// From a command to the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Connects the guest's console with the stream socket beside the message, which becomes non-blocking.
    Console,
    /// Ends the VM at once.
    Stop,
    /// Stops time for the guest and writes the VM to the empty file beside the message. Answered by a [`KeeperMessage::Disk`]
    /// for each writable disk, then [`KeeperMessage::Frozen`]; or by [`KeeperMessage::Refused`].
    Freeze {
        /// Of memory only what has changed since the last snapshot.
        difference: bool,
    },
    /// Lets the guest go on. The end of the connection does, too.
    Thaw,
}

/// From the keeper to a command. A new connection is first told where the VM is by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum KeeperMessage {
    /// The guest runs.
    Started,
    /// It never did.
    Failed {
        /// Why.
        message: String,
    },
    /// A writable disk of the VM that stands still; its file is beside the message.
    Disk {
        /// Its place.
        index: usize,
    },
    /// The VM stands still and is written.
    Frozen,
    /// It is not, and goes on.
    Refused {
        /// Why.
        message: String,
    },
    /// The VM is gone, the record written, and all that its console said delivered.
    Ended {
        /// Why.
        reason: ExitReason,
    },
}
