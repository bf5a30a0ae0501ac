//! Starts a container: hands it to a new keeper.

use std::{
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
};

use super::{
    Error, Result,
    state::{Folder, Lock},
};
use crate::vmm::channel::Channel;

/// Starts a keeper for this container, which is in [`super::state::Status::Starting`], and gives the keeper's
/// connection. With `tied` the container ends when the connection does; with `template` its VM may go on from one.
///
/// # Errors
/// When the process is out of descriptors, or this program cannot be executed again.
pub fn start(folder: &Folder, lock: Lock, tied: bool, template: bool) -> Result<Channel> {
    let failed = |error: std::io::Error| Error::Keeper(format!("cannot be started: {error}"));
    let (near, far) = Channel::pair().map_err(failed)?;
    let far = OwnedFd::from(far);
    // Between here and the spawn nothing else is executed, so nobody else inherits them.
    for descriptor in [&far, &lock.0] {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())
            .map_err(|error| failed(error.into()))?;
    }
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["internal", "keeper", folder.id.as_str()])
        .args([far.as_raw_fd().to_string(), lock.0.as_raw_fd().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    // SAFETY: between fork and exec one system call is made, and nothing is allocated.
    unsafe {
        // Out of the front end's session: a Ctrl-C in its terminal, or the terminal's end, is not the keeper's business.
        command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
    }
    command.args(tied.then_some("--tied")).args(template.then_some("--template"));
    // It outlives this process, or ends with it and is reaped by the system: nobody waits for it here.
    command.spawn().map_err(failed)?;
    Ok(near)
}
