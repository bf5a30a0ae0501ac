//! Platforms: what an image runs on, as `os/architecture[/variant]` in Go's names.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::{ImageConfiguration, Platform as Described};

/// A platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// Such as `v8`; many platforms have none.
    pub variant: Option<String>,
}

impl Platform {
    /// What this host runs.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Whether something for `self` runs where `wanted` is wanted. A variant matters only where one is asked for.
    pub fn satisfies(&self, wanted: &Platform) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || self.variant == wanted.variant)
    }

    /// Whether this is an entry of an index that describes no image: BuildKit's attestations.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl From<&Described> for Platform {
    fn from(platform: &Described) -> Self {
        Platform {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone(),
        }
    }
}

impl From<&ImageConfiguration> for Platform {
    fn from(config: &ImageConfiguration) -> Self {
        Platform {
            os: config.os().to_string(),
            architecture: config.architecture().to_string(),
            variant: config.variant().clone(),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let mut part = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        match (part(), part(), part(), part()) {
            (Some(os), Some(architecture), variant, None) if text.split('/').all(|part| !part.is_empty()) => {
                Ok(Platform { os, architecture, variant })
            }
            _ => Err("a platform is written os/architecture or os/architecture/variant, such as linux/amd64"
                .into()),
        }
    }
}
