//! What is shared: directories and files of the host, each of which is a root.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::super::wire::Validity;

/// A directory or file of the host that the guest sees.
#[derive(Debug)]
pub struct Root {
    /// It, opened with `O_PATH`. The server resolves everything below it and nothing else.
    pub place: OwnedFd,
    /// How it is shown.
    pub policy: Policy,
}

/// How a root is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Nothing below it is changed.
    pub read_only: bool,
    /// How soon the guest sees what the host changes.
    pub freshness: Freshness,
    /// Whose files are whose.
    pub owners: Owners,
}

/// How soon a guest sees what the host changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// At once: nothing is believed longer than one request.
    Strict,
    /// Within a second; the content of a file, when it is opened.
    #[default]
    Second,
    /// Within a minute, content too: for what the host leaves alone.
    Cached,
}

impl Freshness {
    /// For how long the guest believes what it is told.
    pub fn validity(self) -> Validity {
        let seconds = match self {
            Self::Strict => 0,
            Self::Second => 1,
            Self::Cached => 60,
        };
        Validity { entry: seconds, attributes: seconds }
    }

    /// Whether a file that is opened again is taken for unchanged.
    pub fn keeps_content(self) -> bool {
        self == Self::Cached
    }
}

/// Whose files are whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owners {
    /// The guest's ids are the host's. The server must be allowed to give files away.
    Same,
    /// Files of the user that the server runs as are shown as `uid`'s and `gid`'s, and what those make is that user's.
    /// Who else owns a file in the guest is written down beside it, in an extended attribute.
    Mapped {
        /// User in the guest.
        uid: u32,
        /// Group in the guest.
        gid: u32,
    },
}
