//! Starts a container: hands it to a new keeper.

use super::{
    Error, Result,
    pool::Pools,
    state::{Folder, Lock},
    template::Purpose,
};
use crate::{vm::detached, vmm::channel::Channel};

/// Starts a keeper for this container, which is in [`super::state::Status::Starting`], and gives the keeper's
/// connection. With `tied` the container ends when the connection does; with `template` its VM may go on from one, or be one
/// that has waited for containers of this purpose.
///
/// # Errors
/// When the process is out of descriptors, or this program cannot be executed again.
pub fn start(folder: &Folder, lock: Lock, tied: bool, template: Option<&Purpose>) -> Result<Channel> {
    let pools = Pools::open();
    if let Some(keeper) = template.and_then(|purpose| pools.take(purpose, &folder.id, &lock, tied)) {
        return Ok(keeper);
    }
    let options: Vec<_> = [(tied, "--tied"), (template.is_some(), "--template")]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| *name)
        .collect();
    detached::spawn("keeper", folder.id.as_str(), lock, &options)
        .map_err(|error| Error::Keeper(format!("cannot be started: {error}")))
}
