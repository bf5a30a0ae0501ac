//! Checkpoints: a container with everything that runs in it, written down, from which it goes on in a new VM.
//!
//! ```text
//! containers/<id>/checkpoints/    or the folder that --checkpoint-dir names
//!   .lock                         held while folders are made or removed
//!   .new-NAME/                    one that is being made, see [`crate::vm::unfinished`]
//!   NAME/
//!     about                       what it is
//!     snapshot                    memory and state, see [`crate::vmm::snapshot`]
//!     data.img                    the data disk of the same moment
//! ```
//! Memory and data disk belong together: the guest has parts of the disk in its memory. Layers and guest rootfs are not
//! copied; they must be what they were, for the guest has parts of them in its memory, too. A checkpoint outlives the host's
//! boot and serves every container of the same image and options; each that goes on from it gets a copy of the disk, and maps the
//! memory privately.
//!
//! What is checked is as for snapshots of plain VMs: `about` and state by every start, memory and disk when that is asked for.

mod fork;
mod take;

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::Context;
use hull_protocol::{Renaming, Rewrite};
use serde::{Deserialize, Serialize};

pub use self::{
    fork::{MOST, fork},
    take::create,
};
use super::{
    Description, HostConfig,
    error::{Error, Result},
    networking,
    sizing::VmSize,
    state::State,
    state::{Folder, Lock},
};
use crate::{
    assets::Assets,
    image::Image,
    network::control::Lease,
    vm::{sums, unfinished},
    vmm::snapshot,
};

/// Of `about` and of the folder; another is refused.
const VERSION: u32 = 2;
const SNAPSHOT: &str = "snapshot";
const DISK: &str = "data.img";
/// Longest name of a checkpoint, in bytes: it is part of a folder's.
const LONGEST_NAME: usize = 200;

/// What is known of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    version: u32,
    /// Its name.
    pub name: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Milliseconds for which the container stood still.
    pub paused_ms: u64,
    /// The container.
    pub container: Description,
    /// What it had in its network.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// What it had in further ones.
    #[serde(default)]
    pub more_leases: Vec<Lease>,
    vcpus: u8,
    /// Bytes that the VM began with.
    memory: u64,
    /// Bytes that it had addresses for beside these.
    growth: u64,
    layers: Vec<LayerFile>,
    /// Checksum of the guest rootfs.
    rootfs: String,
    /// Bytes of the data disk.
    disk: u64,
    /// Checksum of the state in the snapshot, as that file has it.
    state: String,
    /// Checksums of the snapshot and of the data disk. One that is used at once and then forgotten has none.
    sums: Option<(String, String)>,
}

/// A layer's file: its name says what is in it, and who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LayerFile {
    name: String,
    size: u64,
}

impl LayerFile {
    /// The layers of an image, as they are in the store.
    fn of(image: &Image) -> Vec<Self> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let layers = image.layers.iter();
        layers.map(|layer| Self { name: name(&layer.path), size: layer.size }).collect()
    }
}

/// A checkpoint that is there.
#[derive(Debug)]
pub struct Checkpoint {
    /// What is known of it.
    pub about: About,
    /// Memory and state.
    pub snapshot: File,
    /// The data disk.
    pub disk: File,
}

/// Refuses a container that has something of the host mounted: its guest knows files there by what its VMM has open.
fn refuse_shares(description: &Description) -> Result<()> {
    if let Some(vm) = &description.host_config.vm {
        return Err(Error::Checkpoint(format!(
            "container {} shares VM {vm} with others, which would be written down with it; create it without --vm to make checkpoints \
             and copies of it",
            description.name
        )));
    }
    match description.mounts.first() {
        None => Ok(()),
        Some(mount) => Err(Error::Checkpoint(format!(
            "container {} has {} of the host at {}, which cannot be written down with it yet; create it without -v and --mount to make \
             checkpoints and copies of it",
            description.name,
            mount.source.display(),
            mount.destination
        ))),
    }
}

impl About {
    /// What the container had in its networks.
    pub fn leases(&self) -> Vec<Lease> {
        self.lease.iter().chain(&self.more_leases).cloned().collect()
    }

    /// It has this there, as far as its state says.
    pub fn set_leases(&mut self, state: &State) {
        let mut leases = state.leases().into_iter();
        (self.lease, self.more_leases) = (leases.next(), leases.collect());
    }
}

impl Checkpoint {
    /// Opens the checkpoint in this folder.
    ///
    /// # Errors
    /// When it is damaged, or does not fit this hull or this host's CPU.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().display();
        Self::try_open(path).map_err(|error| Error::Checkpoint(format!("checkpoint {name}: {error:#}")))
    }

    fn try_open(path: &Path) -> anyhow::Result<Self> {
        let about: About = unfinished::about(path, VERSION)?;
        let open = |name: &str| {
            let path = path.join(name);
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))
        };
        let (snapshot, disk) = (open(SNAPSHOT)?, open(DISK)?);
        let state = snapshot::read(&snapshot)?;
        anyhow::ensure!(
            hex::encode(snapshot::digest(&snapshot)?) == about.state,
            "its parts are of different checkpoints; make it again"
        );
        let fits = state.memory.checked_sub(state.grown) == Some(about.memory)
            && state.growth == about.growth
            && state.vcpus.len() == usize::from(about.vcpus);
        anyhow::ensure!(fits, unfinished::DAMAGED);
        let length = disk.metadata().context("cannot look at its data disk")?.len();
        anyhow::ensure!(length == about.disk, "its data disk is cut short; make it again");
        Ok(Self { about, snapshot, disk })
    }

    /// The size of its VM.
    pub fn size(&self) -> VmSize {
        VmSize { memory: self.about.memory, growth: self.about.growth, vcpus: self.about.vcpus }
    }

    /// Whether this container can go on from it.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, description: &Description, image: &Image) -> Result<()> {
        let rootfs =
            Assets::find().and_then(|assets| Assets::open(&assets.rootfs())).map_err(Error::missing)?;
        let About { container, .. } = &self.about;
        // What of it has to do with the host outlives a process.
        let inside = |config: &HostConfig| HostConfig {
            auto_remove: false,
            network_mode: String::new(),
            port_bindings: Default::default(),
            publish_all_ports: false,
            ..config.clone()
        };
        let streams = |it: &Description| (it.config.tty, it.config.open_stdin);
        refuse_shares(description)?;
        let what = if container.image != description.image {
            "it is of a container of another image"
        } else if networking::network(&container.host_config).is_some()
            != networking::network(&description.host_config).is_some()
        {
            "one of the two containers has a network and one has none; create this one with --network as that was"
        } else if inside(&container.host_config) != inside(&description.host_config)
            || streams(container) != streams(description)
        {
            "it is of a container with other options; create this one with the same"
        } else if LayerFile::of(image) != self.about.layers {
            "the layers of its image were written by another hull; make it again"
        } else if sums::of(&rootfs).map_err(|error| self.unreadable("the guest rootfs", &error))?
            != self.about.rootfs
        {
            "its guest runs on the guest rootfs of another hull; use that one, or make it again"
        } else {
            return Ok(());
        };
        Err(Error::Checkpoint(format!("checkpoint {}: {what}", self.about.name)))
    }

    fn unreadable(&self, what: &str, error: &std::io::Error) -> Error {
        Error::Checkpoint(format!("checkpoint {}: cannot read {what}: {error}", self.about.name))
    }

    /// Reads all of it, and says whether it is what was written.
    ///
    /// # Errors
    /// When a file is damaged, or cannot be read.
    pub fn verify(&self) -> Result<()> {
        let Some((snapshot, disk)) = &self.about.sums else { return Ok(()) };
        for (file, sum, what) in
            [(&self.snapshot, snapshot, "the memory"), (&self.disk, disk, "the data disk")]
        {
            if sums::of(file).map_err(|error| self.unreadable(what, &error))? != *sum {
                let name = &self.about.name;
                return Err(Error::Checkpoint(format!(
                    "checkpoint {name}: {what} is damaged; remove it, and make it again"
                )));
            }
        }
        Ok(())
    }

    /// What a container that goes on from it is called, if it is another.
    pub fn renaming(&self, description: &Description) -> Option<Renaming> {
        renaming((&self.about.container, &self.about.leases()), (description, &[]))
    }
}

/// What a container that goes on as another is called, and where it is, if that is something else.
pub fn renaming(
    (old, old_leases): (&Description, &[Lease]),
    (new, new_leases): (&Description, &[Lease]),
) -> Option<Renaming> {
    let files = rewrites((old, old_leases), (new, new_leases));
    let hostname = &new.config.hostname;
    (*hostname != old.config.hostname || !files.is_empty())
        .then(|| Renaming { hostname: hostname.clone(), files })
}

/// What is different about the files that say what a container is called and has in its networks.
pub fn rewrites(
    (old, old_leases): (&Description, &[Lease]),
    (new, new_leases): (&Description, &[Lease]),
) -> Vec<Rewrite> {
    let files = networking::files(old, old_leases).into_iter().zip(networking::files(new, new_leases));
    files
        .filter(|(old, new)| old != new)
        .map(|(old, new)| Rewrite { path: new.path, old: old.content, new: new.content })
        .collect()
}

/// Where the checkpoints of a container are: one that is missing is made when the first is.
#[derive(Debug)]
pub struct Checkpoints {
    root: PathBuf,
    /// What the container was called by whoever asks.
    container: String,
    /// It is the container's own folder, not one that somebody named.
    own: bool,
}

impl Checkpoints {
    /// Those of a container that was called so, or those in the folder that was named.
    ///
    /// # Errors
    /// When there can be no such folder.
    pub fn of(folder: &Folder, container: &str, named: Option<&Path>) -> Result<Self> {
        let root = match named {
            Some(path) => std::path::absolute(path).map_err(Error::file("cannot use", path))?,
            None => folder.file("checkpoints"),
        };
        Ok(Self { root, container: container.to_owned(), own: named.is_none() })
    }

    /// The folder of the checkpoint with this name, which is there.
    ///
    /// # Errors
    /// When it is not.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        let missing = || {
            Error::Checkpoint(format!("checkpoint {name} does not exist for container {}", self.container))
        };
        // A name that could not be given is that of a checkpoint that there cannot be.
        check_name(name).map_err(|_| missing())?;
        match fs::metadata(&path) {
            Ok(about) if about.is_dir() => Ok(path),
            Ok(_) => Err(Error::Checkpoint(format!("{} exists and is not a directory", path.display()))),
            Err(_) => Err(missing()),
        }
    }

    /// The names of all, in order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("cannot read", &self.root)(error)),
        };
        let names = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| check_name(name).is_ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Removes a checkpoint, also one that is damaged. Containers that went on from it are not touched.
    ///
    /// # Errors
    /// When there is none, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.find(name)?;
        if !path.join("about").exists() {
            // In a folder that somebody named there may be anything.
            return Err(Error::Checkpoint(format!("{} is not a checkpoint", path.display())));
        }
        let _lock = self.lock()?;
        unfinished::reclaim(&unfinished::place(&self.root, name));
        unfinished::remove(&self.root, name).map_err(Error::file("cannot remove", &path))
    }

    fn lock(&self) -> Result<Option<Lock>> {
        if !self.own {
            // Nothing of ours stays in a folder of somebody's but the checkpoints.
            return Ok(None);
        }
        let path = self.root.join(".lock");
        Lock::take(&path, true).map_err(Error::file("cannot lock", &path))
    }

    /// Bytes that are free where they are; all there could be when that cannot be told.
    fn room(&self) -> u64 {
        rustix::fs::statvfs(&self.root)
            .map_or(u64::MAX, |about| about.f_bavail.saturating_mul(about.f_frsize))
    }
}

/// Refuses what is no name of a checkpoint.
fn check_name(name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && (2..=LONGEST_NAME).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::Checkpoint(format!(
        "Invalid checkpoint ID ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}
