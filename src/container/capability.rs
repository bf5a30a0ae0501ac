//! Capabilities by name.

use super::error::{Error, Result};

/// In the order of their numbers in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Every capability.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// None.
    pub const NONE: Self = Self(0);

    /// The one of this name, with or without `CAP_`, in any case.
    fn named(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES.iter().position(|known| *known == bare).map(|bit| Self(1 << bit))
    }

    /// What Docker gives a container by default.
    pub const DOCKER: Self = Self(hull_protocol::defaults::CAPABILITIES);

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of these is in the set; true for no capabilities at all.
    pub fn has_any(self, others: Self) -> bool {
        others == Self::NONE || self.0 & others.0 != 0
    }

    /// The default ones after `--cap-drop` and `--cap-add`: what is added by name stays, whatever is dropped; `ALL`
    /// is every one.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn of_container(added: &[String], dropped: &[String]) -> Result<Self> {
        let (add_all, add) = Self::parse(added, "CapAdd")?;
        let (drop_all, drop) = Self::parse(dropped, "CapDrop")?;
        let base = match (add_all, drop_all) {
            (true, _) => Self::ALL,
            (false, true) => Self::NONE,
            (false, false) => Self::DOCKER,
        };
        Ok(Self((base.0 & !drop.0) | add.0))
    }

    fn parse(names: &[String], list: &str) -> Result<(bool, Self)> {
        let mut all = false;
        let mut set = Self::NONE;
        for name in names {
            if name.eq_ignore_ascii_case("ALL") {
                all = true;
                continue;
            }
            let known = Self::named(name).ok_or_else(|| {
                Error::Invalid(format!(
                    "invalid {list}: unknown capability: \"{}\"",
                    name.to_ascii_uppercase()
                ))
            })?;
            set = set.with(known);
        }
        Ok((all, set))
    }

    /// A set by names, for a policy file; unknown names are `None`.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        names.into_iter().map(Self::named).try_fold(Self::NONE, |set, one| Some(set.with(one?)))
    }
}

#[cfg(test)]
#[path = "capability_test.rs"]
mod tests;
