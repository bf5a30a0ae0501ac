//! What every VM boots from, found beside the program: hull's guest kernel, guest rootfs and the template of data disks.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Names a folder of assets that is used instead of the one beside the program.
pub const VARIABLE: &str = "HULL_ASSETS";
/// Where the assets are, from the program's folder.
const BESIDE_PROGRAM: &str = "../lib/hull";

/// A folder of assets.
#[derive(Debug, Clone)]
pub struct Assets {
    folder: PathBuf,
}

impl Assets {
    /// The folder that [`VARIABLE`] names, or else `../lib/hull` from the program.
    ///
    /// # Errors
    /// When the program cannot tell where it is.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
            return Ok(Self { folder: folder.into() });
        }
        let program = std::env::current_exe().context("cannot tell where hull is installed")?;
        let folder = program.parent().unwrap_or(Path::new("/")).join(BESIDE_PROGRAM);
        Ok(Self { folder })
    }

    /// hull's guest kernel, an ELF `vmlinux`.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The kernel's symbols.
    pub fn system_map(&self) -> PathBuf {
        self.folder.join("System.map")
    }

    /// The guest rootfs, an EROFS image with the agent in it.
    pub fn rootfs(&self) -> PathBuf {
        self.folder.join("rootfs.erofs")
    }

    /// An empty, formatted data disk, sparse.
    pub fn data_disk(&self) -> PathBuf {
        self.folder.join("data.ext4")
    }

    /// Opens an asset for reading.
    ///
    /// # Errors
    /// When it is not there, with the remedy.
    pub fn open(path: &Path) -> anyhow::Result<File> {
        File::open(path).with_context(|| {
            format!(
                "cannot open {}, which a VM boots from; run `make build`, install hull with its lib folder, or set {VARIABLE}",
                path.display()
            )
        })
    }
}
