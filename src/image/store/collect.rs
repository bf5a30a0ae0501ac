//! Removing images, and content that no image uses.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::lock::{Lock, Mode};
use super::metadata::Metadata;
use super::{BLOBS, LAYERS, Store, TEMP, lookup};
use crate::image::manifest::{self, Document};
use crate::image::{Digest, Error, Reference, Result};

/// What removing a name or an image did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(Reference),
    /// An image or layer is gone.
    Deleted(Digest),
}

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its short ID.
    pub container: String,
    /// Whether it is running.
    pub running: bool,
}

impl Store {
    /// Removes what a person calls `name`, as Docker does: a name takes away that name, and the image with its last one; an
    /// ID takes away the image with all of its names, if it is one or `force` is given.
    ///
    /// `user` says who uses an image that is about to go. Such an image stays; with `force` only if that one runs.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        user: impl Fn(Digest) -> Option<User>,
    ) -> Result<Vec<Removed>> {
        let mut removed = self.with_room(name, || self.forget(name, force, &user))?;
        removed.extend(self.collect()?.into_iter().map(Removed::Deleted));
        Ok(removed)
    }

    /// Removes an image with all of its names, unless it is `used`, or has a tag and is not to be removed with one. Both are looked
    /// at while nobody else changes the list: what was so before may be so no more.
    pub fn remove_unused(
        &self,
        id: Digest,
        tagged: bool,
        used: impl Fn(Digest) -> bool,
    ) -> Result<Vec<Removed>> {
        let forget = || {
            self.change(|metadata| {
                if !metadata.images.contains_key(&id) {
                    return Err(Error::NotFound(id.to_string()));
                }
                let names: Vec<Reference> = metadata.names_of(id).cloned().collect();
                let kept = !tagged && names.iter().any(|name| name.tag().is_some());
                if kept || used(id) {
                    return Err(Error::Conflict(id.short(), "image is being used".into()));
                }
                metadata.names.retain(|name, _| !names.contains(&name.0));
                metadata.images.remove(&id);
                Ok(names.into_iter().map(Removed::Untagged).chain([Removed::Deleted(id)]).collect())
            })
        };
        let mut removed: Vec<_> = self.with_room(&id.to_string(), forget)?;
        removed.extend(self.collect()?.into_iter().map(Removed::Deleted));
        Ok(removed)
    }

    /// Changes the list of images on a full disk, too, for the sake of the image `name` going.
    fn with_room<T>(&self, name: &str, change: impl Fn() -> Result<T>) -> Result<T> {
        match change() {
            Err(error) if error.is_disk_full() => {
                self.drop_layers(name)?;
                change()
            }
            result => result,
        }
    }

    /// Takes a name or an image out of the list.
    fn forget(
        &self,
        name: &str,
        force: bool,
        user: &impl Fn(Digest) -> Option<User>,
    ) -> Result<Vec<Removed>> {
        self.change(|metadata| {
            let id = lookup::find(metadata, name)?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
            let reference = name
                .parse::<Reference>()
                .ok()
                .filter(|reference| lookup::named(metadata, reference) == Some(id));
            let names: Vec<Reference> = metadata.names_of(id).cloned().collect();
            let (gone, last) = match &reference {
                Some(reference) => {
                    // An image without a tag is forgotten with its last one: its digests were names of the same pull.
                    let tags = names.iter().filter(|name| name.tag().is_some() && *name != reference).count();
                    match tags {
                        0 => (names.clone(), true),
                        _ => (names.iter().filter(|name| *name == reference).cloned().collect(), false),
                    }
                }
                None => {
                    let repositories: HashSet<String> = names.iter().map(Reference::name).collect();
                    if repositories.len() > 1 && !force {
                        let reason = "(must be forced) - image is referenced in multiple repositories";
                        return Err(Error::Conflict(id.short(), reason.into()));
                    }
                    (names.clone(), true)
                }
            };
            if last {
                refuse_in_use(id, force, user(id))?;
            }
            metadata.names.retain(|name, _| !gone.contains(&name.0));
            if last {
                metadata.images.remove(&id);
            }
            let image = last.then_some(Removed::Deleted(id));
            Ok(gone.into_iter().map(Removed::Untagged).chain(image).collect::<Vec<_>>())
        })
    }

    /// Makes room on a full disk without writing anything: the file systems of an image's own layers are only a cache.
    fn drop_layers(&self, name: &str) -> Result<()> {
        self.view(|metadata| {
            let Some(id) = lookup::find(metadata, name)? else { return Ok(()) };
            let others = metadata.images.keys().filter(|&&other| other != id);
            let mut kept = HashSet::new();
            for &other in others {
                kept.extend(self.image(metadata, other)?.layers.into_iter().map(|layer| layer.diff_id));
            }
            for layer in
                self.image(metadata, id)?.layers.iter().filter(|layer| !kept.contains(&layer.diff_id))
            {
                let _ = fs::remove_file(&layer.path);
            }
            Ok(())
        })
    }

    /// Removes content that no image uses, unless content is being added just now: then whoever adds it does this
    /// afterwards. Returns the layers that went.
    pub fn collect(&self) -> Result<Vec<Digest>> {
        let Some(_ingest) = Lock::attempt(&self.root.join("ingest.lock"), Mode::Exclusive)? else {
            return Ok(Vec::new());
        };
        let _lock = Lock::wait(&self.root.join("images.lock"), Mode::Exclusive)?;
        self.clear_temporary()?;
        let (blobs, layers) = self.in_use(&Metadata::read(&self.root)?)?;
        remove_others(&self.root.join(BLOBS), &blobs, |digest| self.blob_path(digest))?;
        remove_others(&self.root.join(LAYERS), &layers, |digest| self.layer_path(digest))
    }

    /// Removes what processes that died while adding content have left.
    pub(super) fn sweep(&self) -> Result<()> {
        let folder = self.root.join(TEMP);
        let mut entries = fs::read_dir(&folder).map_err(Error::file("cannot read folder", &folder))?;
        if entries.next().is_none() {
            return Ok(());
        }
        match Lock::attempt(&self.root.join("ingest.lock"), Mode::Exclusive)? {
            Some(_ingest) => {
                // The list of images is also written by way of this folder.
                let _lock = Lock::wait(&self.root.join("images.lock"), Mode::Exclusive)?;
                self.clear_temporary()
            }
            None => Ok(()),
        }
    }

    fn clear_temporary(&self) -> Result<()> {
        let folder = self.root.join(TEMP);
        for entry in fs::read_dir(&folder).map_err(Error::file("cannot read folder", &folder))? {
            let path = entry.map_err(Error::file("cannot read folder", &folder))?.path();
            fs::remove_file(&path).map_err(Error::file("cannot remove", &path))?;
        }
        Ok(())
    }

    /// Blobs and layers that images need.
    fn in_use(&self, metadata: &Metadata) -> Result<(HashSet<Digest>, HashSet<Digest>)> {
        let (mut blobs, mut layers) = (HashSet::new(), HashSet::new());
        for record in metadata.images.values() {
            let what = format!("manifest {}", record.manifest);
            if let Document::Manifest(parsed) = Document::parse(&self.read_blob(record.manifest)?, &what)? {
                blobs.insert(manifest::digest(parsed.config())?);
            }
            blobs.insert(record.manifest);
            for layer in self.blueprint(record.manifest)?.layers {
                blobs.insert(layer.blob);
                layers.insert(layer.diff_id);
            }
        }
        Ok((blobs, layers))
    }
}

fn refuse_in_use(id: Digest, force: bool, user: Option<User>) -> Result<()> {
    let reason = match user {
        None => return Ok(()),
        Some(User { running: false, .. }) if force => return Ok(()),
        Some(User { container, running: false }) => {
            format!("(must be forced) - image is being used by stopped container {container}")
        }
        Some(User { container, running: true }) => {
            format!("(cannot be forced) - image is being used by running container {container}")
        }
    };
    Err(Error::Conflict(id.short(), reason))
}

/// Removes the files of a folder that are named after digests not in `keep`, and those that an older writer made, which are not
/// where `path_of` says; returns the digests that are gone.
fn remove_others(
    folder: &Path,
    keep: &HashSet<Digest>,
    path_of: impl Fn(Digest) -> PathBuf,
) -> Result<Vec<Digest>> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::file("cannot read folder", folder))? {
        let path = entry.map_err(Error::file("cannot read folder", folder))?.path();
        let stem = path.file_name().and_then(|name| name.to_str()?.split('.').next());
        // A file that has another name is none of the store's.
        let Some(digest) = stem.and_then(Digest::from_hex) else { continue };
        let kept = keep.contains(&digest);
        if !kept || path != path_of(digest) {
            fs::remove_file(&path).map_err(Error::file("cannot remove", &path))?;
        }
        if !kept {
            removed.push(digest);
        }
    }
    removed.sort();
    Ok(removed)
}
