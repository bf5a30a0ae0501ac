//! A folder with what is known of a VM that was written down, made so that it is there in whole or not at all.
//!
//! While it is being made it is called `.new-NAME` and locked by whoever makes it; what somebody has left who was killed is
//! swept up by the next. Its file `about` is a line of JSON, and a line with the JSON's SHA-256.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::folder::Lock;
use crate::folders;

/// What is known of it.
const ABOUT: &str = "about";
/// An `about` over this many bytes is none.
const MAX_ABOUT: u64 = 1 << 20;

/// A folder that is being made; removed when dropped before it is [finished](Self::publish).
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    finished: PathBuf,
    _lock: Option<Lock>,
}

/// Where a folder of this name is made.
pub fn place(root: &Path, name: &str) -> PathBuf {
    root.join(format!(".new-{name}"))
}

/// Removes what commands have left in this folder that were killed.
pub fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b".new-") {
            reclaim(&entry.path());
        }
    }
}

/// Removes an unfinished folder if whoever made it is gone.
pub fn reclaim(path: &Path) {
    if let Ok(folder) = File::open(path)
        && let Ok(Some(_lock)) = Lock::on(folder.into(), false)
    {
        let _ = fs::remove_dir_all(path);
    }
}

/// Removes a finished folder. Nothing of it is seen under its name when only a part is left.
///
/// # Errors
/// As `rename(2)`; somebody may be making one of this name.
pub fn remove(root: &Path, name: &str) -> io::Result<()> {
    let going = place(root, name);
    fs::rename(root.join(name), &going)?;
    fs::remove_dir_all(&going)
}

impl Unfinished {
    /// Makes a folder that is to get this name in `root`, which is there and in which nobody else does so now.
    ///
    /// # Errors
    /// `AlreadyExists` when somebody makes one of this name.
    pub fn begin(root: &Path, name: &str) -> io::Result<Self> {
        let path = place(root, name);
        // The memory of a VM is its owner's.
        folders::make_private(&path)?;
        let lock = Lock::on(File::open(&path)?.into(), false)?;
        Ok(Self { path, finished: root.join(name), _lock: lock })
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes an empty file.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn create(&self, name: &str) -> anyhow::Result<File> {
        let path = self.path.join(name);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        file.with_context(|| format!("cannot make {}", path.display()))
    }

    /// Writes down what is known of it.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn describe(&self, about: &impl Serialize) -> anyhow::Result<()> {
        let path = self.path.join(ABOUT);
        let text = serde_json::to_string(about)?;
        fs::write(&path, seal(&text)).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes down what is known of it, and waits until all of it is on the disk.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(&self, about: &impl Serialize) -> anyhow::Result<()> {
        self.describe(about)?;
        let sync = || -> io::Result<()> {
            for entry in fs::read_dir(&self.path)? {
                File::open(entry?.path())?.sync_all()?;
            }
            Ok(())
        };
        sync().with_context(|| format!("cannot write {}", self.finished.display()))
    }

    /// Gives it its name. From here on it is whole, also after a power failure.
    ///
    /// # Errors
    /// As `rename(2)`.
    pub fn publish(self) -> anyhow::Result<()> {
        let folder = self.finished.parent().unwrap_or(Path::new("/"));
        let renamed = fs::rename(&self.path, &self.finished).and_then(|()| File::open(folder)?.sync_all());
        renamed.with_context(|| format!("cannot write {}", self.finished.display()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it is finished there is nothing of this name.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Reads what is known of a folder, if it is of this version.
///
/// # Errors
/// When it is damaged, or of another version.
pub fn about<T: DeserializeOwned>(folder: &Path, version: u32) -> anyhow::Result<T> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let path = folder.join(ABOUT);
    let failed = || format!("cannot read {}", path.display());
    let length = fs::metadata(&path).with_context(failed)?.len();
    anyhow::ensure!(length <= MAX_ABOUT, DAMAGED);
    let sealed = String::from_utf8(fs::read(&path).with_context(failed)?).ok().context(DAMAGED)?;
    let text = unseal(&sealed).context(DAMAGED)?;
    let Versioned { version: found } = serde_json::from_str(text).context(DAMAGED)?;
    anyhow::ensure!(
        found == version,
        "it is of format {found}, this hull knows {version}; use the hull that took it, or take it again"
    );
    serde_json::from_str(text).context(DAMAGED)
}

/// What is wrong with one that is not what was written.
pub const DAMAGED: &str = "it is damaged; remove it, and take it again";

/// The text and its checksum.
pub fn seal(text: &str) -> String {
    format!("{text}\n{}\n", hex::encode(Sha256::digest(text)))
}

/// What was [sealed](seal).
pub fn unseal(sealed: &str) -> Option<&str> {
    let (text, sum) = sealed.strip_suffix('\n')?.rsplit_once('\n')?;
    (hex::encode(Sha256::digest(text)) == sum).then_some(text)
}
