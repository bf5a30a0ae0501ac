//! Volumes: folders of the host that have a name and outlive containers.
//!
//! ```text
//! ~/.local/share/hull/volumes/
//!   .lock                 held while volumes are made, removed, or given to a new container
//!   NAME/
//!     about               what is known of it
//!     _data/              what is in it
//! ```
//! A volume is in use as long as there is a container that has it, running or not, as with Docker.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    ContainerId, HostConfig,
    error::{Error, Result},
    mount::{MountKind, MountPoint, checked_name, declared},
    state::{Lock, Store},
};
use crate::{folders, image::Image, vm::timestamp};

const ABOUT: &str = "about";
const DATA: &str = "_data";

/// What is known of a volume, with Docker's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// When it was made (RFC 3339).
    pub created_at: String,
    /// Always `local`.
    pub driver: String,
    /// Free text, by name.
    pub labels: BTreeMap<String, String>,
    /// Where what is in it is.
    pub mountpoint: PathBuf,
    /// Its name.
    pub name: String,
    /// Always `local`.
    pub scope: String,
    /// It was made for a container and given no name by anybody.
    #[serde(default)]
    pub anonymous: bool,
}

/// The volumes of one user.
#[derive(Debug)]
pub struct Volumes {
    root: PathBuf,
}

impl Volumes {
    /// This user's.
    ///
    /// # Errors
    /// When their folder cannot be made.
    pub fn open() -> Result<Self> {
        let data = folders::user(Some("HULL_DATA"), "XDG_DATA_HOME", ".local/share", "/var/lib/hull");
        let root = data.join("volumes");
        folders::make_all_private(&root).map_err(Error::file("cannot make folder", &root))?;
        Ok(Self { root })
    }

    /// Waits until nobody else makes or removes volumes, and keeps them from it.
    ///
    /// # Errors
    /// When the file cannot be locked.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.root.join(".lock");
        let lock = Lock::take(&path, true).map_err(Error::file("cannot lock", &path))?;
        lock.ok_or_else(|| Error::file("cannot lock", &path)(ErrorKind::WouldBlock.into()))
    }

    /// Makes a volume, unless there is one of this name; without a name it gets one that is made up. The caller holds the lock.
    ///
    /// # Errors
    /// When it cannot have that name, or the disk is full.
    pub fn create(
        &self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
        anonymous: bool,
    ) -> Result<Volume> {
        let name = match name {
            Some(name) => checked_name(name)?.to_owned(),
            None => ContainerId::random().as_str().to_owned(),
        };
        if let Some(volume) = self.find(&name)? {
            return Ok(volume);
        }
        let folder = self.root.join(&name);
        let volume = Volume {
            created_at: timestamp::now(),
            driver: "local".to_owned(),
            labels,
            mountpoint: folder.join(DATA),
            name,
            scope: "local".to_owned(),
            anonymous,
        };
        let make = || {
            // One that was left half made, or half removed, has no `about`.
            if folder.exists() {
                remove_tree(&folder)?;
            }
            fs::create_dir_all(&volume.mountpoint)?;
            let new = folder.join(".about");
            fs::write(&new, serde_json::to_vec(&volume)?)?;
            fs::rename(new, folder.join(ABOUT))
        };
        make().map_err(Error::file("cannot make volume", &folder))?;
        Ok(volume)
    }

    /// A volume.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Volume>> {
        if checked_name(name).is_err() {
            return Ok(None);
        }
        let path = self.root.join(name).join(ABOUT);
        match fs::read(&path) {
            Ok(text) => {
                let volume = serde_json::from_slice(&text).map_err(std::io::Error::other);
                volume.map(Some).map_err(Error::file("cannot understand", &path))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("cannot read", &path)(error)),
        }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let entries = fs::read_dir(&self.root).map_err(Error::file("cannot read", &self.root))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut all: Vec<Volume> = names.filter_map(|name| self.find(&name).ok().flatten()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Removes a volume that no container has.
    ///
    /// # Errors
    /// When there is none, or a container has it.
    pub fn remove(&self, name: &str, store: &Store) -> Result<()> {
        let _lock = self.lock()?;
        let volume = self.find(name)?.ok_or_else(|| Error::Missing(format!("get {name}: no such volume")))?;
        let users = users(name, store)?;
        if !users.is_empty() {
            return Err(Error::Conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        self.delete(&volume)
    }

    fn delete(&self, volume: &Volume) -> Result<()> {
        let folder = self.root.join(&volume.name);
        // What makes it a volume goes first: cut short, the rest is made anew or removed by the next.
        let gone = fs::remove_file(folder.join(ABOUT)).and_then(|()| remove_tree(&folder));
        gone.map_err(Error::file("cannot remove", &folder))
    }

    /// Removes all that no container has: those without a name of their own, or `all`. Gives their names, and the bytes that they took.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn prune(&self, all: bool, store: &Store) -> Result<(Vec<String>, u64)> {
        let _lock = self.lock()?;
        let (mut removed, mut bytes) = (Vec::new(), 0);
        for volume in self.list()?.into_iter().filter(|volume| all || volume.anonymous) {
            if users(&volume.name, store)?.is_empty() {
                bytes += size(&volume.mountpoint);
                self.delete(&volume)?;
                removed.push(volume.name);
            }
        }
        Ok((removed, bytes))
    }

    /// Removes the volumes of a container that has gone which were made for it alone.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn remove_anonymous(&self, mounts: &[MountPoint], store: &Store) -> Result<()> {
        for mount in mounts.iter().filter(|mount| mount.anonymous) {
            let name = mount.name.as_deref().unwrap_or_default();
            match self.remove(name, store) {
                Err(Error::Conflict(_) | Error::Missing(_)) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a container has anything to do with volumes.
    pub fn needed_by(mounts: &[MountPoint], host_config: &HostConfig, image: &Image) -> bool {
        let places = image.config.config().as_ref().and_then(|config| config.volumes().as_ref());
        mounts.iter().any(|mount| mount.kind == MountKind::Volume)
            || host_config.volumes_from.is_some()
            || places.is_some_and(|places| !places.is_empty())
    }

    /// Gives the mounts of a new container their volumes: those asked for by name, those that other containers have
    /// (`--volumes-from`), and new ones where the image or nobody names any. To be held until the container is there: the lock.
    ///
    /// # Errors
    /// When a volume cannot be made, or there is no such container.
    pub fn provide(
        &self,
        mut mounts: Vec<MountPoint>,
        host_config: &HostConfig,
        image: &Image,
        store: &Store,
    ) -> Result<(Vec<MountPoint>, Lock)> {
        let has = |mounts: &[MountPoint], path: &str| {
            host_config.tmpfs.contains_key(path) || mounts.iter().any(|mount| mount.destination == path)
        };
        for from in host_config.volumes_from.iter().flatten() {
            let (name, mode) = from.split_once(':').unwrap_or((from, "rw"));
            if !matches!(mode, "ro" | "rw") {
                return Err(Error::Invalid(format!("invalid mode for volumes-from: {mode}")));
            }
            let folder = store.find(name)?;
            let other = folder.description()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
            for mut mount in other.mounts {
                if !has(&mounts, &mount.destination) {
                    mount.writable &= mode == "rw";
                    mounts.push(mount);
                }
            }
        }
        let places = image.config.config().as_ref().and_then(|config| config.volumes().clone());
        for path in places.into_iter().flatten() {
            let mount = declared(&path)?;
            if !has(&mounts, &mount.destination) {
                mounts.push(mount);
            }
        }
        // Not before: to look for a container may be to remove one that was killed, and its volumes.
        let lock = self.lock()?;
        for mount in mounts.iter_mut().filter(|mount| mount.kind == MountKind::Volume) {
            let volume = self.create(mount.name.as_deref(), BTreeMap::new(), mount.anonymous)?;
            (mount.source, mount.name) = (volume.mountpoint, Some(volume.name));
        }
        Ok((mounts, lock))
    }
}

/// Ids of the containers that have a volume.
fn users(name: &str, store: &Store) -> Result<Vec<String>> {
    let has = |mount: &MountPoint| mount.kind == MountKind::Volume && mount.name.as_deref() == Some(name);
    let all = store.descriptions()?.into_iter();
    Ok(all.filter(|it| it.mounts.iter().any(has)).map(|it| it.id.to_string()).collect())
}

/// Removes a folder and what is in it, also where a container left folders that their owner may not change.
pub(super) fn remove_tree(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        done => return done,
    }
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700))?;
        let entries = fs::read_dir(&folder)?.flatten();
        folders.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|it| it.path()),
        );
    }
    fs::remove_dir_all(path)
}

/// Bytes that a folder takes, as far as it can be read.
fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let (mut bytes, mut folders) = (0, vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) => bytes += about.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    bytes
}
