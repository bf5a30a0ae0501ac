//! A VM from outside: the keeper that owns it, and how commands speak to the keeper.
//!
//! Three processes stand around a VM. The *VMM* runs the guest. The *keeper* is its parent: it hands the VMM
//! every file as a descriptor, speaks to the agent in the guest, owns the log and the exit record, and ends with
//! its VM. A *front end* is a client of the keeper's socket and may come and go.

pub mod backlog;
pub mod control;
pub mod detached;
pub mod folder;
pub mod keeper;
pub mod launch;
pub mod log;
pub mod plain;
pub mod signals;
pub mod sparse;
mod spawn;
pub mod sums;
pub mod timestamp;
pub mod touched;
pub mod unfinished;
pub mod usage;
pub mod wait;
