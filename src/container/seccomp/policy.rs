//! What a container may ask of the guest's kernel: a list of names, read from `resources/seccomp-default.json`.
//!
//! The list is Docker's default policy, as its documentation tells it: what is not named fails with `EPERM`. Some
//! calls need a capability, which the container has anyway or not at all; some are allowed with certain arguments:
//! - `clone` without flags that make namespaces; `clone3` hides its flags in memory, so it seems not to exist and the
//!   C library takes `clone`;
//! - `personality` for the values that change nothing dangerous;
//! - `socket` but for vsock (40), which reaches the host, and the kernel's cryptography (38).
//!
//! Arguments are compared in their lower 32 bits, which is all that these calls look at: above them anybody could
//! hide something.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use super::syscalls;
use crate::container::capability::Capabilities;

const DEFAULT: &str = include_str!("../../../resources/seccomp-default.json");

/// What becomes of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It is done.
    Allow,
    /// It fails with this error.
    Errno(u16),
    /// It is done if the argument is right, and else fails with `EPERM`.
    Check(&'a Check),
}

/// A condition on an argument.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Which argument, from 0.
    pub index: u8,
    /// These bits of it are compared.
    #[serde(deserialize_with = "number")]
    pub mask: u32,
    /// It must be one of these; no condition when empty.
    #[serde(default, deserialize_with = "numbers")]
    pub is: Vec<u32>,
    /// It must be none of these.
    #[serde(default, deserialize_with = "numbers")]
    pub is_not: Vec<u32>,
}

/// A policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    allow: BTreeSet<String>,
    allow_with_capability: BTreeMap<String, BTreeSet<String>>,
    allow_with_argument: BTreeMap<String, Check>,
    errno: BTreeMap<String, String>,
}

impl Policy {
    /// Docker's.
    ///
    /// # Errors
    /// When the file in the program is damaged, which a test rules out.
    pub fn docker_default() -> Result<Self, serde_json::Error> {
        serde_json::from_str(DEFAULT)
    }

    /// What becomes of a call in a container with these capabilities.
    pub fn outcome(&self, name: &str, capabilities: Capabilities) -> Outcome<'_> {
        let by_capability = self.allow_with_capability.iter().any(|(capability, names)| {
            names.contains(name)
                && Capabilities::from_names([capability.as_str()]).is_some_and(|it| capabilities.has_any(it))
        });
        if by_capability || self.allow.contains(name) {
            return Outcome::Allow;
        }
        match (self.allow_with_argument.get(name), self.errno.get(name).map(String::as_str)) {
            (Some(check), _) => Outcome::Check(check),
            (None, Some("ENOSYS")) => Outcome::Errno(libc::ENOSYS as u16),
            (None, _) => Outcome::Errno(libc::EPERM as u16),
        }
    }

    /// What becomes of each number: a range from each of these numbers to the next.
    ///
    /// Numbers that nobody knew when the policy was written seem not to exist, so that programs try something older.
    pub fn ranges(&self, capabilities: Capabilities) -> Vec<(u32, Outcome<'_>)> {
        let mut ranges: Vec<(u32, Outcome<'_>)> = Vec::new();
        let mut next = 0;
        let mut push = |number, outcome| {
            if ranges.last().is_none_or(|(_, last)| *last != outcome) {
                ranges.push((number, outcome));
            }
        };
        for (number, name) in syscalls::all() {
            if number != next {
                push(next, Outcome::Errno(libc::ENOSYS as u16));
            }
            push(number, self.outcome(name, capabilities));
            next = number + 1;
        }
        push(syscalls::END, Outcome::Errno(libc::ENOSYS as u16));
        ranges
    }
}

/// A number as people write masks: in a text, decimal or with `0x`.
fn parse<E: serde::de::Error>(text: &str) -> Result<u32, E> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map_err(|error| E::custom(format!("\"{text}\" is no number of 32 bits: {error}")))
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|text| parse(text)).collect()
}
