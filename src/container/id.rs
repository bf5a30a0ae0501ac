//! Names of containers: ids, and the names that people use.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::error::Error;

/// Docker's id of a container: 64 hexadecimal digits, 12 of which are shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// Digits that are shown.
    pub const SHORT: usize = 12;

    /// A new id, from the system's random numbers.
    pub fn random() -> Self {
        loop {
            let mut bytes = [0; 32];
            random(&mut bytes);
            let id = Self(hex::encode(bytes));
            // As Docker does: a short form of digits only looks like a number, in a host name for example.
            if id.short().bytes().any(|byte| byte.is_ascii_alphabetic()) {
                return id;
            }
        }
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits.
    pub fn short(&self) -> &str {
        &self.0[..Self::SHORT]
    }
}

/// Fills with random bytes.
fn random(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        // Fails only before the kernel's generator is seeded, where it waits, or on a signal.
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
}

impl TryFrom<String> for ContainerId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let valid = text.len() == 64
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if valid { Ok(Self(text)) } else { Err(format!("\"{text}\" is not a container id")) }
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A container's name, `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

impl ContainerName {
    /// Longest name, in bytes: it is a file's name too.
    const MAX: usize = 255;

    /// The name, without Docker's leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name as Docker makes them up, an adjective and a surname. `attempt` counts those that were taken: from the
    /// second a digit is added.
    pub fn random(attempt: usize) -> Self {
        let mut bytes = [0; 5];
        random(&mut bytes);
        let pick = |words: &[&'static str], at: usize| {
            words[usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]])) % words.len()]
        };
        let digit = if attempt == 0 { String::new() } else { (bytes[4] % 10).to_string() };
        Self(format!("{}_{}{digit}", pick(ADJECTIVES, 0), pick(SURNAMES, 2)))
    }
}

impl FromStr for ContainerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // Docker's API writes names with a slash in front, and people copy them.
        let name = text.strip_prefix('/').unwrap_or(text);
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if first && rest && (2..=Self::MAX).contains(&name.len()) {
            Ok(Self(name.to_owned()))
        } else {
            Err(Error::Invalid(format!(
                "Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )))
        }
    }
}

impl TryFrom<String> for ContainerName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const ADJECTIVES: &[&str] = &[
    "able", "airy", "amber", "ample", "azure", "balmy", "bold", "brave", "breezy", "bright", "brisk", "busy",
    "calm", "candid", "chipper", "civil", "clear", "clever", "cosy", "crisp", "curious", "daring", "deft",
    "eager", "early", "earnest", "easy", "fair", "fluent", "fond", "frank", "free", "fresh", "gentle",
    "glad", "golden", "grand", "handy", "hardy", "honest", "humble", "jolly", "keen", "kind", "light",
    "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mighty", "mild", "modest", "neat", "nimble",
    "noble", "patient", "plucky", "polite", "prompt", "proud", "quick", "quiet", "ready", "robust", "rosy",
    "salty", "serene", "sharp", "shiny", "silent", "silver", "snug", "sober", "solid", "sound", "spry",
    "steady", "sturdy", "subtle", "sunny", "swift", "tender", "tidy", "trim", "trusty", "upbeat", "valiant",
    "vivid", "warm", "wise", "witty", "zesty",
];

/// People who built ships, sailed them, charted the sea, or built computers.
const SURNAMES: &[&str] = &[
    "agassiz",
    "allen",
    "amundsen",
    "anning",
    "babbage",
    "backus",
    "baret",
    "bartik",
    "beaufort",
    "bering",
    "bjarni",
    "bowditch",
    "brunel",
    "byron",
    "cabot",
    "carson",
    "cartier",
    "chichester",
    "clarke",
    "colombo",
    "conrad",
    "cook",
    "cousteau",
    "dampier",
    "diaz",
    "dijkstra",
    "drake",
    "earle",
    "eckert",
    "eriksson",
    "fitzroy",
    "flinders",
    "frobisher",
    "gama",
    "goldstine",
    "grace",
    "hadley",
    "halley",
    "hamilton",
    "harrison",
    "heyerdahl",
    "hoare",
    "hopper",
    "hudson",
    "humboldt",
    "ibnmajid",
    "joyon",
    "kernighan",
    "kilburn",
    "knuth",
    "lamarr",
    "lovelace",
    "macarthur",
    "magellan",
    "marconi",
    "maury",
    "mccarthy",
    "mercator",
    "moitessier",
    "nansen",
    "napier",
    "nelson",
    "neumann",
    "newcomen",
    "parsons",
    "piccard",
    "plimsoll",
    "polo",
    "ritchie",
    "ross",
    "rutter",
    "scoresby",
    "shackleton",
    "shannon",
    "slocum",
    "stevenson",
    "sverdrup",
    "tabarly",
    "tharp",
    "thompson",
    "torvalds",
    "turing",
    "vancouver",
    "vespucci",
    "wallis",
    "wilkes",
    "wirth",
    "zheng",
    "zuse",
];

#[cfg(test)]
#[path = "id_test.rs"]
mod tests;
