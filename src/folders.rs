//! Where a user's things are, by the XDG base directory specification.

use std::path::PathBuf;

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
