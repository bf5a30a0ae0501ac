//! Where a user's things are, by the XDG base directory specification.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// What is known of what runs: `$HULL_STATE`, `$XDG_STATE_HOME/hull`, or `~/.local/state/hull`.
pub fn state() -> PathBuf {
    user(Some("HULL_STATE"), "XDG_STATE_HOME", ".local/state", "/var/lib/hull/state")
}

/// The folder that the variable `own` names; else `hull` in the one that `xdg` names; else `hull` in `in_home` of the user's
/// home; else `otherwise`. A variable that is empty is as good as none.
pub fn user(own: Option<&str>, xdg: &str, in_home: &str, otherwise: &str) -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    own.and_then(variable)
        .or_else(|| variable(xdg).map(|folder| folder.join("hull")))
        .or_else(|| variable("HOME").map(|home| home.join(in_home).join("hull")))
        .unwrap_or_else(|| PathBuf::from(otherwise))
}

/// Makes a folder that nobody but its owner looks into.
///
/// # Errors
/// As `mkdir(2)`: also when it is there already.
pub fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// The same with those that it is in; what is there already stays as it is.
///
/// # Errors
/// As `mkdir(2)`.
pub fn make_all_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Bytes of the disk that what is in a folder takes; what cannot be seen takes none.
pub fn allocated(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let about = entry.metadata().ok()?;
        Some(if about.is_dir() { allocated(&entry.path()) } else { about.blocks() * 512 })
    });
    sizes.sum()
}
