//! The content-addressed store of images.
//!
//! | in the store's folder | what |
//! | --- | --- |
//! | `blobs/sha256/<digest>` | manifests, configurations and layers as they came |
//! | `layers/<DiffID>.<writer>.erofs` | every layer as a file system; a cache, made again from the blob where missing |
//! | `images.json` | which images there are, and their names |
//! | `images.lock` | held for the moment in which that is read (shared) or changed (exclusively) |
//! | `ingest.lock` | held shared by whoever adds content; exclusively by who removes what is not in use |
//! | `temporary/` | content that is being added |
//!
//! Content appears under its final name complete and checked, by a rename, and an image is in `images.json` only after
//! all of its content. So a process can die anywhere: what it leaves is in `temporary/`, or is content that no image
//! uses, and the next process that finds `ingest.lock` free removes it. A lock held is a process alive; nothing
//! looks at process numbers.

mod collect;
mod ingest;
mod lock;
mod lookup;
mod metadata;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;

use super::{Digest, Error, Reference, Result};
pub use collect::{Removed, User};
pub use ingest::{Expected, Ingest, Ingested, Spooled};
use lock::{Lock, Mode};
use metadata::{Metadata, Name};

use crate::folders;

const TEMP: &str = "temporary";
const BLOBS: &str = "blobs/sha256";
const LAYERS: &str = "layers";

/// The images of one user.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// An image in a store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The image's ID: the digest of its configuration.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Its names with tags.
    pub tags: Vec<Reference>,
    /// Its names with digests, as registries know it.
    pub digests: Vec<Reference>,
    /// Its configuration: entry point, command, environment, user, working directory and so on.
    pub config: ImageConfiguration,
    /// The same as the JSON text it came as, with what [`ImageConfiguration`] leaves out (health checks).
    pub config_json: String,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    store: Store,
}

/// A layer of an image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the layer's uncompressed tar archive.
    pub diff_id: Digest,
    /// The digest of the blob it came as.
    pub blob: Digest,
    /// Its EROFS image.
    pub path: PathBuf,
    /// The size of that in bytes, a multiple of 4096; 0 if it has to be made again.
    pub size: u64,
}

impl Store {
    /// Opens this user's store: `$HULL_DATA`, or `$XDG_DATA_HOME/hull`, or `~/.local/share/hull`. It is made if absent.
    pub fn open() -> Result<Store> {
        Self::open_at(&folders::user(Some("HULL_DATA"), "XDG_DATA_HOME", ".local/share", "/var/lib/hull"))
    }

    /// Opens the store in folder `root`. It is made if absent. What dead processes left half-done is removed.
    pub fn open_at(root: &Path) -> Result<Store> {
        for folder in [BLOBS, LAYERS, TEMP] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(Error::file("cannot make folder", &folder))?;
        }
        let root = root.canonicalize().map_err(Error::file("cannot open folder", root))?;
        let store = Store { root };
        store.sweep()?;
        Ok(store)
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Gives the image `id` another name; the one that had it loses it.
    pub fn tag(&self, id: Digest, name: &Reference) -> Result<()> {
        self.change(|metadata| {
            if !metadata.images.contains_key(&id) {
                return Err(Error::NotFound(id.to_string()));
            }
            metadata.names.insert(Name(name.clone()), id);
            Ok(())
        })
    }

    /// Reads the list of images under the shared lock, and `read`s what belongs to it.
    fn view<T>(&self, read: impl FnOnce(&Metadata) -> Result<T>) -> Result<T> {
        let _lock = Lock::wait(&self.root.join("images.lock"), Mode::Shared)?;
        read(&Metadata::read(&self.root)?)
    }

    /// Changes the list of images; nothing changes if `change` fails.
    fn change<T>(&self, change: impl FnOnce(&mut Metadata) -> Result<T>) -> Result<T> {
        let _lock = Lock::wait(&self.root.join("images.lock"), Mode::Exclusive)?;
        let mut metadata = Metadata::read(&self.root)?;
        let result = change(&mut metadata)?;
        metadata.write(&self.root)?;
        Ok(result)
    }

    /// Where the blob of this digest is, if it is there.
    pub(super) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join(BLOBS).join(digest.hex())
    }

    /// Where the layer with this DiffID is, if it is there.
    pub(super) fn layer_path(&self, diff_id: Digest) -> PathBuf {
        self.root.join(LAYERS).join(format!("{}.{}.erofs", diff_id.hex(), super::erofs::WRITER))
    }
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> Result<()> {
    let open = File::open(folder).and_then(|folder| folder.sync_all());
    open.map_err(Error::file("cannot write", folder))
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
