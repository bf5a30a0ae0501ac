//! What of the host is mounted in a container: folders and files (`-v`, `--mount type=bind`) and volumes.
//!
//! ```text
//!  -v, --mount ──parse──► MountPoint, kept with the container ──open──► a root of the VM's share ──agent──► its place
//! ```

mod fill;
mod open;
mod parse;

use std::collections::BTreeSet;
use std::path::PathBuf;

use hull_devices::fs::{Freshness, Owners, Policy};
use serde::{Deserialize, Serialize};

pub use fill::Filling;
pub use open::{Opened, open};
pub use parse::{Asked, checked_name, declared, mount, volume};

use super::{
    HostConfig,
    error::{Error, Result},
};

/// Something of the host's that a container has, with Docker's names: an element of `Mounts` in `inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountPoint {
    /// What it is.
    #[serde(rename = "Type")]
    pub kind: MountKind,
    /// The volume's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is on the host: an absolute path.
    pub source: PathBuf,
    /// Where it is in the container: an absolute path.
    pub destination: String,
    /// The options, as they were asked for.
    #[serde(default)]
    pub mode: String,
    /// It can be written to.
    #[serde(rename = "RW")]
    pub writable: bool,
    /// Always `rprivate`: the container's mounts are in a VM.
    #[serde(default)]
    pub propagation: String,
    /// How soon the container sees what the host changes.
    #[serde(default)]
    pub freshness: Freshness,
    /// Whose the user's files are in the container; by default root's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
    /// Made when it is not there, as `-v` does.
    #[serde(default)]
    pub create: bool,
    /// An empty volume gets what the image has in its place.
    #[serde(default)]
    pub populate: bool,
    /// A volume that is removed with its container: nobody has given it a name.
    #[serde(default)]
    pub anonymous: bool,
}

/// What a mount is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A folder or file of the host.
    Bind,
    /// A volume.
    Volume,
}

impl MountPoint {
    /// As `-v` would ask for it.
    pub fn as_bind(&self) -> String {
        let source = self.name.as_deref().map_or_else(|| self.source.display().to_string(), str::to_owned);
        let parts = [&source, &self.destination, &self.mode];
        parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(":")
    }

    /// How the VM's share shows it.
    pub fn policy(&self) -> Policy {
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        let owners = match self.owner {
            // Root can give files away.
            None if rustix::process::geteuid().is_root() => Owners::Same,
            _ => Owners::Mapped { uid, gid },
        };
        Policy { read_only: !self.writable, freshness: self.freshness, owners }
    }
}

/// Puts mounts into the order in which they are made: what is in another comes after it.
///
/// # Errors
/// When two have the same place, or one is not there that is not to be made.
pub fn arrange(mut mounts: Vec<MountPoint>, host_config: &HostConfig) -> Result<Vec<MountPoint>> {
    let mut places: BTreeSet<&str> = host_config.tmpfs.keys().map(String::as_str).collect();
    if let Some(twice) = mounts.iter().find(|mount| !places.insert(&mount.destination)) {
        return Err(Error::Invalid(format!("Duplicate mount point: {}", twice.destination)));
    }
    for mount in &mounts {
        if mount.kind == MountKind::Bind && !mount.create && !mount.source.exists() {
            return Err(Error::Invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.source.display()
            )));
        }
        if ["/proc", "/sys", "/dev"].contains(&&*mount.destination) {
            return Err(Error::Invalid(format!(
                "{} cannot be covered by something of the host's: it is the container's own",
                mount.destination
            )));
        }
    }
    mounts.sort_by_key(|mount| depth(&mount.destination));
    Ok(mounts)
}

/// How deep a path is.
pub fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}
