//! Plain VMs: described by a file, known by a name, without an agent in them.
//!
//! ```text
//! $XDG_STATE_HOME/hull/vms/      (or $HULL_STATE/vms, or ~/.local/state/hull/vms)
//!   .lock                        held while VMs are made or removed
//!   NAME/
//!     vm.json                    what was asked
//!     state.json                 what became of it
//!     lock                       held by its keeper: it runs for as long as the lock is held
//!     ctl                        the keeper's socket
//!     console                    the last of what its console said, once it has ended
//!     disk0.img, …               writable disks of a VM that goes on from a snapshot
//! ```
//! As a container's, a VM's keeper is a process of its own and the parent of the VMM; every command is a client of the
//! keeper's socket. A VM started in the foreground is one whose keeper ends with its first client, and of which nothing is kept.

pub mod client;
mod console;
pub mod control;
pub mod keeper;
mod prepare;
pub mod snapshot;
mod store;

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use prepare::Stamp;
pub use store::{Claim, Folder, Store};

use crate::{config::VmFile, vmm::control::ExitReason};

/// What was asked of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// When it was made (RFC 3339).
    pub created: String,
    /// What it is, its paths absolute.
    pub vm: VmFile,
    /// The file of the snapshot that it goes on from; it boots if there is none.
    pub snapshot: Option<PathBuf>,
    /// Those of the snapshots that it differs from, the nearest first.
    #[serde(default)]
    pub below: Vec<PathBuf>,
    /// The socket of the page fault handler that serves its memory, if the snapshot's file does not.
    #[serde(default)]
    pub fault_handler: Option<PathBuf>,
    /// What the guest expects of disks, by their place: a snapshot's memory and its disks belong together.
    pub stamps: BTreeMap<usize, Stamp>,
    /// Disks that were made for it elsewhere than in its folder; removed if its guest never runs.
    pub made: Vec<PathBuf>,
    /// A record of it is kept when it has ended.
    pub keep: bool,
}

impl Description {
    /// Its guest will never run: removes what was made for it.
    fn discard(&self, folder: &Folder) {
        // What cannot be removed now makes way for the next VM of this name.
        let _ = std::fs::remove_dir_all(folder.path());
        for path in &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Where a VM is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its keeper was started.
    #[default]
    Starting,
    /// Its guest runs.
    Running,
    /// It is over.
    Exited,
}

impl Status {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }
}

/// What became of a VM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Where it is.
    pub status: Status,
    /// When it was started (RFC 3339), empty if it was not.
    pub started_at: String,
    /// When it ended, empty if it has not.
    pub finished_at: String,
    /// Why it ended; `None` when its keeper could not say.
    pub reason: Option<ExitReason>,
}

/// Why a VM ended, in words; and whether that is as it should be.
pub fn ending(reason: Option<&ExitReason>) -> (String, bool) {
    match reason {
        Some(ExitReason::Stopped) => ("stopped".to_owned(), true),
        Some(ExitReason::PowerOff) => ("its guest powered itself off".to_owned(), true),
        Some(ExitReason::Reset) => ("its guest reset itself".to_owned(), true),
        Some(ExitReason::Panic) => {
            ("its kernel panicked; its console's last lines say why".to_owned(), false)
        }
        Some(ExitReason::Crash { detail }) => (format!("its guest crashed: {detail}"), false),
        Some(ExitReason::Failed { detail }) => (detail.clone(), false),
        None => ("its keeper was killed".to_owned(), false),
    }
}
