//! EROFS images, written from tar archives in one pass.
//!
//! The format is the kernel's (Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h), without compression: flat
//! files in 4 KiB blocks. What is written, from the image's start:
//!
//! | part | what |
//! | --- | --- |
//! | block 0 | superblock, and the root directory's inode behind it: a mount reads this block only |
//! | data | every file's blocks, contiguous, in the archive's order, as they arrive |
//! | directories | blocks of those too large to lie behind their inode, and of very long symbolic links |
//! | inodes | breadth first and by name, so that a directory's children lie together; small files, links and the rests of directories lie behind their inode |
//!
//! The data of files passes through; what is remembered of an archive is its tree without them, and that is bounded
//! by [`MAX_MEMORY`]. The same archive always gives the same image.
//!
//! Layers are in the terms of the OCI image specification (layer.md): whiteouts become what overlayfs understands, a
//! character device 0/0 or `trusted.overlay.opaque`.

mod apply;
mod directory;
mod format;
mod layout;
mod sink;
mod tree;
mod xattr;

use std::io::{self, Read, Seek, Write};

use super::tar;
use apply::Builder;
pub use format::BLOCK;

/// Changes when the same tar would become another image: what another writer made is not taken for this one's.
pub const WRITER: u32 = 1;

/// Most bytes that the description of one file system may take while it is written.
pub const MAX_MEMORY: usize = 512 << 20;

/// Why an archive cannot become a file system.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be written.
    #[error("cannot write the file system")]
    Write(#[source] io::Error),
    /// The archive cannot be read.
    #[error(transparent)]
    Tar(#[from] tar::Error),
    /// A member has no place in a file system.
    #[error("\"{path}\": {reason}")]
    Member {
        /// The member's path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More files, names and attributes than are accepted.
    #[error("the archive's names and attributes take more than 512 MiB of memory, after {0} members")]
    TooLarge(u64),
    /// More data than block numbers reach.
    #[error("the file system would be larger than 16 TiB")]
    TooManyBlocks,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Size of the image in bytes, a multiple of 4096.
    pub size: u64,
    /// Inodes in it.
    pub inodes: u64,
}

/// Writes the tar archive from `archive` as an EROFS image to `image`, which must be empty: zeros are left out of it
/// as holes.
///
/// `archive` is read up to its end-of-archive mark, not beyond. After an error the image is useless.
pub fn write_from_tar<R: Read, W: Write + Seek>(archive: R, image: W) -> Result<Summary, Error> {
    let mut archive = tar::Archive::new(archive);
    let mut builder = Builder::new(image)?;
    while let Some(member) = archive.next_member()? {
        builder.add(member, &mut archive)?;
    }
    builder.finish()
}

#[cfg(test)]
#[path = "reader_test.rs"]
mod reader;
#[cfg(test)]
#[path = "erofs_test.rs"]
mod tests;
