//! The store's list of images and names: one JSON file, replaced as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::image::{Digest, Error, Reference, Result};

/// Its name in the store's folder.
const FILE: &str = "images.json";
/// The version this hull writes. One with a higher number is not understood, and left alone.
const VERSION: u32 = 1;

/// What images there are, and what they are called.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Metadata {
    version: u32,
    /// By ID.
    pub images: BTreeMap<Digest, Record>,
    /// IDs by normalised reference, with tag or with digest.
    pub names: BTreeMap<Name, Digest>,
}

/// An image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Digest of its manifest.
    pub manifest: Digest,
}

/// A reference as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Name(pub Reference);

impl TryFrom<String> for Name {
    type Error = crate::image::reference::BadReference;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.to_string()
    }
}

impl Metadata {
    /// Reads the list of the store in `root`; a store without one is empty.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Metadata::default()),
            Err(error) => return Err(Error::file("cannot read", &path)(error)),
        };
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |error: serde_json::Error| {
            let reason =
                format!("it is not hull's list of images: {error}; move it away and load the images again");
            Error::malformed(path.display().to_string(), reason)
        };
        match serde_json::from_slice::<Version>(&json).map_err(malformed)?.version {
            VERSION => serde_json::from_slice(&json).map_err(malformed),
            other => {
                let reason = format!("a newer hull wrote it (version {other}); use that one");
                Err(Error::malformed(path.display().to_string(), reason))
            }
        }
    }

    /// Replaces the list of the store in `root`. Whoever calls this holds the store's lock.
    pub(super) fn write(&mut self, root: &Path) -> Result<()> {
        self.version = VERSION;
        let path = root.join(FILE);
        let error = || Error::file("cannot write", &path);
        let mut file = tempfile::NamedTempFile::new_in(root.join(super::TEMP)).map_err(error())?;
        let json = serde_json::to_vec_pretty(self).expect("a list of texts is JSON");
        file.write_all(&json).map_err(error())?;
        file.as_file().sync_all().map_err(error())?;
        file.persist(&path).map_err(|failed| error()(failed.error))?;
        super::sync_folder(root)
    }

    /// Names of the image `id`.
    pub(super) fn names_of(&self, id: Digest) -> impl Iterator<Item = &Reference> {
        self.names.iter().filter(move |&(_, &named)| named == id).map(|(name, _)| &name.0)
    }
}
