//! Whom a guest may call, where that is not everybody: ranges of addresses, and names.
//!
//! A name that may be called may be asked for, and no other; what the host's name server answers may then be called for as long as the
//! answer holds. Members of the network and their names are always within reach, as is the host where it was opened by name.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    str::FromStr,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// Addresses of names that are known at once; those that hold for the shortest time make way.
const MOST_LEARNED: usize = 4096;
/// How long an answer holds at least and at most: a program may call some time after it has asked.
const HOLDS: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(24 * 3600));

/// Somebody who may be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Allowed {
    /// All addresses that have so many bits in common with this.
    Range(IpAddr, u8),
    /// Who has this name.
    Name(String),
    /// Who has a name that ends with a dot and this.
    Below(String),
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "invalid destination {text:?} in --egress: write an address or a range of addresses, a name, or *.NAME"
            )
        };
        let (base, prefix) = text.split_once('/').unzip();
        if let Ok(base) = base.unwrap_or(text).parse::<IpAddr>() {
            let most = if base.is_ipv4() { 32 } else { 128 };
            let prefix: u8 = match prefix {
                Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(wrong)?,
                None => most,
            };
            // An IPv4 address in disguise is none that is called.
            return if base.to_canonical() == base { Ok(Self::Range(base, prefix)) } else { Err(wrong()) };
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // What ends with a number is no name, but an address that is written wrong.
        let numeric =
            name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() > 253 || !name.split('.').all(label) || numeric {
            return Err(wrong());
        }
        Ok(if below { Self::Below(name) } else { Self::Name(name) })
    }
}

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Allowed> for String {
    fn from(allowed: Allowed) -> Self {
        allowed.to_string()
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(base, prefix) => write!(f, "{base}/{prefix}"),
            Self::Name(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// Reads `--egress`: `deny`, or `allow=` and who may be called, with commas between.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Allowed>, String> {
    match text.split_once('=') {
        None if text == "deny" => Ok(Vec::new()),
        Some(("allow", list)) => list.split(',').map(|one| one.trim().parse()).collect(),
        _ => Err(format!("invalid --egress {text:?}: write deny, or allow=RANGE,NAME,…")),
    }
}

/// What a guest may call.
#[derive(Debug, Default)]
pub struct Egress {
    /// Everybody when absent.
    rules: Option<Vec<Allowed>>,
    /// Addresses of names, and how long they are that.
    learned: HashMap<IpAddr, Instant>,
}

impl Egress {
    /// By these rules.
    pub fn new(rules: Option<Vec<Allowed>>) -> Self {
        Self { rules, learned: HashMap::new() }
    }

    /// Whether there is anybody who may not be called.
    pub fn is_limited(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether the guest may call this address.
    pub fn allows(&self, address: IpAddr, now: Instant) -> bool {
        let Some(rules) = &self.rules else { return true };
        let address = address.to_canonical();
        let has = |rule: &Allowed| match rule {
            Allowed::Range(base, prefix) => is_in(address, *base, *prefix),
            Allowed::Name(_) | Allowed::Below(_) => false,
        };
        rules.iter().any(has) || self.learned.get(&address).is_some_and(|until| *until > now)
    }

    /// Whether the guest may ask for this name, which is in small letters.
    pub fn allows_name(&self, name: &str) -> bool {
        let Some(rules) = &self.rules else { return true };
        rules.iter().any(|rule| match rule {
            Allowed::Range(..) => false,
            Allowed::Name(own) => own == name,
            Allowed::Below(own) => name.strip_suffix(&**own).is_some_and(|name| name.ends_with('.')),
        })
    }

    /// A name that may be asked for has this address, for so long.
    pub fn learn(&mut self, address: IpAddr, holds: Duration, now: Instant) {
        let address = address.to_canonical();
        let until = now + holds.clamp(HOLDS.0, HOLDS.1);
        if self.learned.len() >= MOST_LEARNED && !self.learned.contains_key(&address) {
            self.learned.retain(|_, until| *until > now);
            if self.learned.len() >= MOST_LEARNED
                && let Some(first) = self.learned.iter().min_by_key(|(_, until)| **until).map(|it| *it.0)
            {
                self.learned.remove(&first);
            }
        }
        let known = self.learned.entry(address).or_insert(until);
        *known = until.max(*known);
    }
}

/// Whether an address has so many bits in common with this one.
fn is_in(address: IpAddr, base: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (address, base) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (one.to_bits() ^ other.to_bits()) & u32::MAX.checked_shl(32 - prefix).unwrap_or(0) == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()) & u128::MAX.checked_shl(128 - prefix).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "egress_test.rs"]
mod tests;
