//! What can go wrong with images.

use std::io;
use std::path::{Path, PathBuf};

use super::digest::BadDigest;
use super::reference::BadReference;
use super::{Digest, Platform, erofs, registry};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image could not be found, loaded, pulled or opened. Each message names the thing and, where there is one,
/// the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the store, or one that was given, cannot be read or written.
    #[error("{what} {path:?}")]
    File {
        /// What was attempted, such as `cannot open`.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a name.
    #[error(transparent)]
    Reference(#[from] BadReference),
    /// Not a digest.
    #[error(transparent)]
    Digest(#[from] BadDigest),
    /// Several images have an ID that begins so.
    #[error("the ID \"{0}\" is ambiguous: {1} images have one that begins so; give more digits")]
    Ambiguous(String, usize),
    /// Neither a name nor an ID of an image that is here.
    #[error("No such image: {0}")]
    NotFound(String),
    /// Another hull has had the store's lock for too long.
    #[error("{0:?} is locked by another hull command for a minute now; wait for it or end it")]
    Locked(PathBuf),
    /// An image in use, or with several names, was to be removed.
    #[error("conflict: unable to delete {0} {1}")]
    Conflict(String, String),
    /// Not for the wanted platform.
    #[error("image is for {}, this host is {wanted}", list(there))]
    Platform {
        /// The platforms there are.
        there: Vec<Platform>,
        /// The wanted one.
        wanted: Platform,
    },
    /// JSON or an archive that is not what it should be.
    #[error("{what}: {reason}")]
    Malformed {
        /// What it is.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A registry does not give it.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Content is not what its digest says.
    #[error("{what} has the wrong digest: it should be {expected} and is {actual}")]
    WrongDigest {
        /// Which content.
        what: String,
        /// The digest it was named by.
        expected: Digest,
        /// The digest it has.
        actual: Digest,
    },
    /// A layer's blob cannot be read to its end.
    #[error("cannot read {what}")]
    Read {
        /// Which content.
        what: String,
        /// What went wrong.
        source: io::Error,
    },
    /// A layer is no tar archive that can become a file system.
    #[error("{layer}")]
    Layer {
        /// The layer, by digest or by its name in the archive.
        layer: String,
        /// What is wrong with it.
        source: erofs::Error,
    },
}

impl Error {
    /// For `map_err`: an error at `path`.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::File { what, path, source }
    }

    /// Whether the disk had no room.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Error::File { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    pub(crate) fn malformed(what: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Malformed { what: what.into(), reason: reason.into() }
    }
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "no platform it names".to_owned(),
        several => several.iter().map(Platform::to_string).collect::<Vec<_>>().join(", "),
    }
}
