//! VMs that several containers share (`hull run --vm NAME`).
//!
//! ```text
//! container's keeper ─┐  messages of a VMM and an agent,      ┌───────────┐ control socket ┌─────┐
//! container's keeper ─┼── each about its own container only ─►│ VM keeper │───────────────►│ VMM │
//! container's keeper ─┘                                       └───────────┘ agent, frames  └─────┘
//! ```
//! Each container keeps its keeper, which does all that a keeper does: log, record, restarts, health, streams. Where it would have a VMM
//! for a child it is a guest of the VM's keeper ([`keeper`]), which plays a VMM with one container to each. So nothing of what containers
//! are is said twice, and what is said of one never reaches another.
//!
//! The first container's keeper starts the VM's, which ends when it has no more guests. What it leaves is the data disk with the
//! writable layers of its containers (see [`store`]); the disk goes with the last of them.

mod choice;
mod guest;
pub mod keeper;
mod plan;
pub mod store;

pub use choice::{check, choose};
pub use guest::join;
pub use plan::Plan;

use serde::{Deserialize, Serialize};

/// What is said first on a connection to a VM's keeper; those that join go on with what is said to a VMM ([`crate::vmm::control`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Hail {
    /// A container's keeper comes. Beside it is the end of a pipe that is closed when nothing of the container runs any more; a byte is
    /// written before, so that the VM keeper's own end is not taken for that.
    Join {
        /// The container's id.
        container: String,
    },
    /// A container was removed: its writable layer can go.
    Sweep,
}
