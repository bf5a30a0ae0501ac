//! Where containers are kept between commands: a folder for each, and the names.
//!
//! ```text
//! $XDG_STATE_HOME/hull/           (or $HULL_STATE, or ~/.local/state/hull)
//!   lock                          held while containers and names are made or removed
//!   events                        what happened, a line of JSON each
//!   names/<name>                  a symbolic link whose target is the container's id
//!   containers/<id>/
//!     config.json                 what was asked; last to be made: without it there is no container
//!     state.json                  what became of it
//!     lock                        held by its keeper: it runs for as long as the lock is held
//!     ctl                         the keeper's socket
//!     log, console                output of the container, and the last words of a guest that failed
//!     data.img                    the disk with the writable layer
//!     checkpoints/                see [`super::checkpoint`]
//! ```
//! Files are replaced whole, by renaming. A container whose state says that it runs and whose lock is free was
//! killed: whoever sees it first writes that down.

mod folder;
mod journal;
mod status;
mod store;

pub use folder::{Folder, Lock};
pub use journal::{Event, Journal};
pub use status::{State, Status};
pub use store::{Claim, Store};
