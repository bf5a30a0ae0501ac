//! Makes a checkpoint of a container that runs.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Instant,
};

use anyhow::Context;
use rustix::io::Errno;

use super::{About, Checkpoints, DISK, LayerFile, SNAPSHOT, VERSION, check_name, refuse_shares};
use crate::{
    container::{
        Description, action,
        error::{Error, Result},
        state::{Folder, Store},
    },
    folders, image,
    vm::{
        control::{ClientMessage, KeeperMessage},
        sparse, sums, timestamp,
        unfinished::{self, Unfinished},
    },
    vmm::{
        channel::{Channel, Received},
        snapshot,
    },
};

/// Makes a checkpoint of a container under this name, in its own folder or in the one that is named. The container goes on, or
/// ends if it is not left running. When anything goes wrong it goes on, and nothing of the checkpoint is left.
///
/// # Errors
/// When the container does not run, somebody else makes a checkpoint of it, there is one of this name, or the disk is full.
pub fn create(
    store: &Store,
    container: &str,
    name: &str,
    named: Option<&Path>,
    leave_running: bool,
) -> Result<()> {
    let folder = store.find(container)?;
    let description = folder.description()?.ok_or_else(|| Error::NotFound(container.to_owned()))?;
    check_name(name)?;
    refuse_shares(&description)?;
    let channel = action::connect_running(store, &folder)?;
    let checkpoints = Checkpoints::of(&folder, container, named)?;
    let unfinished = checkpoints.begin(name)?;
    let failed = |error: anyhow::Error| checkpoints.explain(&error);
    let (frozen, taken) = take(&channel, &unfinished, &folder).map_err(failed)?;
    // What remains is reading, which need not stand in the container's way.
    let frozen = if leave_running {
        frozen.thaw();
        None
    } else {
        Some(frozen)
    };
    let finish = || -> anyhow::Result<()> {
        let unread = "cannot read what was written";
        let mut about = About {
            sums: Some((sums::of(&taken.snapshot).context(unread)?, sums::of(&taken.disk).context(unread)?)),
            ..taken.describe(name, description.clone())?
        };
        about.set_leases(&folder.state()?);
        unfinished.write(&about)?;
        unfinished.publish()
    };
    finish().map_err(failed)?;
    store.journal().append("checkpoint", &description, &[("checkpoint", name.to_owned())]);
    match frozen {
        Some(frozen) => {
            frozen.end();
            action::await_end(&channel)?;
        }
        None => await_return(&channel),
    }
    Ok(())
}

impl Checkpoints {
    /// Begins a checkpoint with this name.
    pub(super) fn begin(&self, name: &str) -> Result<Unfinished> {
        let made = folders::make_all_private(&self.root);
        made.map_err(Error::file("cannot make folder", &self.root))?;
        let _lock = self.lock()?;
        let path = self.root.join(name);
        if path.is_dir() {
            let container = &self.container;
            return Err(Error::Checkpoint(format!(
                "checkpoint with name {name} already exists for container {container}"
            )));
        }
        if path.symlink_metadata().is_ok() {
            return Err(Error::Checkpoint(format!("{} exists and is not a directory", path.display())));
        }
        if self.own {
            unfinished::sweep(&self.root);
        } else {
            unfinished::reclaim(&unfinished::place(&self.root, name));
        }
        Unfinished::begin(&self.root, name).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Checkpoint(format!(
                "another command makes a checkpoint {name} at this moment; choose another name"
            )),
            _ => Error::file("cannot make", &unfinished::place(&self.root, name))(error),
        })
    }

    /// What is to be said of a checkpoint that came to nothing.
    pub(super) fn explain(&self, error: &anyhow::Error) -> Error {
        /// Less than this is as good as nothing, in bytes.
        const LITTLE: u64 = 16 << 20;
        let full = error.chain().any(|cause| {
            let cause = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
            cause == Some(Errno::NOSPC.raw_os_error())
        });
        let remedy = match self.room() {
            room if full || room < LITTLE => {
                format!("; the file system of {} has {room} bytes left: free some", self.root.display())
            }
            _ => String::new(),
        };
        Error::Checkpoint(format!("Cannot checkpoint container {}: {error:#}{remedy}", self.container))
    }
}

/// What was written down of a container.
pub struct Taken {
    snapshot: File,
    disk: File,
    rootfs: File,
    paused_ms: u64,
}

impl Taken {
    /// What is known of it, without checksums of what is large.
    pub fn describe(&self, name: &str, container: Description) -> anyhow::Result<About> {
        let state = snapshot::read(&self.snapshot)?;
        let image = image::Store::open()?.find(&container.image.to_string())?;
        let image = image.context("the container's image is not in the store any more")?;
        Ok(About {
            version: VERSION,
            name: name.to_owned(),
            created: timestamp::now(),
            paused_ms: self.paused_ms,
            vcpus: u8::try_from(state.vcpus.len())?,
            memory: state.memory.saturating_sub(state.grown),
            growth: state.growth,
            layers: LayerFile::of(&image),
            rootfs: sums::of(&self.rootfs).context("cannot read the guest rootfs")?,
            disk: self.disk.metadata().context("cannot look at the data disk")?.len(),
            state: hex::encode(snapshot::digest(&self.snapshot)?),
            sums: None,
            lease: None,
            more_leases: Vec::new(),
            container,
        })
    }
}

/// A container that stands still, until this is dropped.
pub struct Frozen<'a>(&'a Channel);

impl Frozen<'_> {
    /// Lets it go on.
    pub fn thaw(self) {}

    /// Ends it instead.
    fn end(self) {
        // A keeper that is gone has taken its VM with it. What is said after this, it does not heed.
        let _ = self.0.send(&ClientMessage::Halt, None);
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = self.0.send(&ClientMessage::Thaw, None);
    }
}

/// Has a container stand still, and writes it into a folder.
///
/// # Errors
/// When that cannot be; the container goes on.
pub fn take<'a>(
    channel: &'a Channel,
    unfinished: &Unfinished,
    folder: &Folder,
) -> anyhow::Result<(Frozen<'a>, Taken)> {
    let snapshot = unfinished.create(SNAPSHOT)?;
    let disk = unfinished.create(DISK)?;
    let began = Instant::now();
    let rootfs = File::from(freeze(channel, &snapshot)?);
    // From here on it is thawed whatever happens.
    let frozen = Frozen(channel);
    let path = folder.file("data.img");
    let copied = File::open(&path).and_then(|from| sparse::copy(&from, &disk));
    copied.with_context(|| format!("cannot copy {}", path.display()))?;
    let paused_ms = began.elapsed().as_millis() as u64;
    Ok((frozen, Taken { snapshot, disk, rootfs, paused_ms }))
}

/// Waits until a container that was let go on does, or has ended: from then on another checkpoint can be made.
pub fn await_return(channel: &Channel) {
    while let Ok(Received::Message(message, _)) = channel.receive() {
        if matches!(message, KeeperMessage::GoesOn | KeeperMessage::Gone { .. }) {
            return;
        }
    }
}

/// Has the keeper freeze its VM into this file; gives the guest rootfs that the VM has.
fn freeze(channel: &Channel, file: &File) -> anyhow::Result<OwnedFd> {
    let asked = channel.send(&ClientMessage::Freeze, Some(file.as_fd()));
    asked.context("its keeper does not answer")?;
    loop {
        match channel.receive().context("its keeper is not understood")? {
            Received::Message(KeeperMessage::Frozen, Some(rootfs)) => return Ok(rootfs),
            Received::Message(KeeperMessage::Refused { message }, _) => anyhow::bail!("{message}"),
            Received::Message(KeeperMessage::Exited { .. } | KeeperMessage::Failed { .. }, _) => {
                anyhow::bail!("it has ended")
            }
            Received::Message(..) => {}
            Received::Nothing | Received::Closed => anyhow::bail!("its keeper was killed"),
        }
    }
}
