//! EROFS images from tar archives.

use std::io::{Read, Seek, Write};

/// Why an archive cannot become a file system.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be written, or the archive not read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Size of the image in bytes, a multiple of 4096.
    pub size: u64,
    /// Inodes in it.
    pub inodes: u64,
}

/// Writes the tar archive from `archive` as an EROFS image to `image`, which must be empty.
///
/// `archive` is read up to its end-of-archive mark, not beyond.
pub fn write_from_tar<R: Read, W: Write + Seek>(_archive: R, _image: W) -> Result<Summary, Error> {
    Err(std::io::Error::other("the EROFS writer is not built yet").into())
}
