//! Starts a container: hands it to a new keeper.

use std::{ffi::OsStr, path::Path};

use super::{
    Description, Error, Result,
    pool::Pools,
    state::{Folder, Lock},
    template::Purpose,
};
use crate::{vm::detached, vmm::channel::Channel};

/// How a container's VM begins.
#[derive(Debug, Clone, Copy)]
pub enum Beginning<'a> {
    /// It boots.
    Boot,
    /// It may go on from a template for this purpose, or be one that has waited for containers of it.
    Template(&'a Purpose),
    /// It goes on from the checkpoint in this folder, an absolute path, and the container's processes with it.
    Checkpoint(&'a Path),
}

/// Starts a keeper for this container, which is in [`super::state::Status::Starting`], and gives the keeper's
/// connection. With `tied` the container ends when the connection does.
///
/// # Errors
/// When the process is out of descriptors, or this program cannot be executed again.
pub fn start(
    folder: &Folder,
    description: &Description,
    lock: Lock,
    tied: bool,
    beginning: Beginning<'_>,
) -> Result<Channel> {
    let mut options: Vec<&OsStr> = Vec::new();
    if tied {
        options.push("--tied".as_ref());
    }
    match beginning {
        Beginning::Boot => {}
        Beginning::Template(purpose) => {
            // A VM that sees something of the host is confined for that from its beginning.
            if description.mounts.is_empty()
                && description.host_config.vm.is_none()
                && let Some(keeper) = Pools::open().take(purpose, &folder.id, &lock, tied)
            {
                return Ok(keeper);
            }
            options.push("--template".as_ref());
        }
        Beginning::Checkpoint(path) => options.extend([OsStr::new("--checkpoint"), path.as_ref()]),
    }
    detached::spawn("keeper", folder.id.as_str(), lock, &options)
        .map_err(|error| Error::Keeper(format!("cannot be started: {error}")))
}
