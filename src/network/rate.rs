//! How fast a member may speak, and be spoken to (`--network-rate`). What is over that waits, and is lost only where it cannot: the member's
//! frames wait in its card, the host's bytes in their sockets, datagrams for a while. The card of one that is in several networks waits for
//! each no longer than a second, and then loses frames.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{server::Network, slab::Key};

/// What may be used at once that was not used before.
const BURST: Duration = Duration::from_millis(50);
/// The slowest that can be asked for, in bits a second: a large frame is on its way for half a minute.
const LEAST: u64 = 16_000;

/// Bytes a second, each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// From the container.
    pub out: Option<u64>,
    /// To it.
    pub into: Option<u64>,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            let both = Some(bytes(text)?);
            return Ok(Self { out: both, into: both });
        }
        let mut rate = Self::default();
        for part in text.split(',') {
            let (place, value) = match part.split_once('=') {
                Some(("out", value)) => (&mut rate.out, value),
                Some(("in", value)) => (&mut rate.into, value),
                _ => return Err(format!("invalid rate {text:?}: {part:?} is neither in=RATE nor out=RATE")),
            };
            if place.replace(bytes(value)?).is_some() {
                return Err(format!("invalid rate {text:?}: it says one way twice"));
            }
        }
        Ok(rate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.into, self.out) {
            (into, out) if into == out => f.write_str(&bits(into.unwrap_or_default())),
            (into, out) => {
                let ways = [("in", into), ("out", out)];
                let parts = ways.into_iter().filter_map(|(way, rate)| Some(format!("{way}={}", bits(rate?))));
                f.write_str(&parts.collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

/// Units of bits a second.
const UNITS: [(&str, u64); 3] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000)];

/// Bytes a second, as bits: with the largest unit of which they are a whole number, as all that can be asked for are.
fn bits(bytes: u64) -> String {
    let bits = bytes * 8;
    let unit = UNITS.iter().find(|(_, unit)| bits.is_multiple_of(*unit)).unwrap_or(&UNITS[2]);
    format!("{}{}", bits / unit.1, unit.0)
}

/// Reads bits a second as bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("invalid rate {text:?}; write bits a second, such as 500kbit, 10mbit or 1gbit");
    let lower = text.to_ascii_lowercase();
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((lower.strip_suffix(name)?, unit))).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(*unit) {
        Some(bits) if bits >= LEAST => Ok(bits / 8),
        _ => Err(format!("invalid rate {text:?}: it is not between 16kbit and what can be counted")),
    }
}

/// Bytes that may pass, at a rate.
#[derive(Debug)]
pub struct Bucket {
    rate: u64,
    /// When all that has passed would have at this rate.
    free: Instant,
}

impl Bucket {
    /// A full one of so many bytes a second.
    pub fn new(rate: u64, now: Instant) -> Self {
        Self { rate: rate.max(1), free: now }
    }

    /// So much has passed.
    pub fn take(&mut self, bytes: usize, now: Instant) {
        let begin = now.checked_sub(BURST).map_or(self.free, |earliest| self.free.max(earliest));
        let time = bytes as u128 * 1_000_000_000 / u128::from(self.rate);
        self.free = begin + Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX));
    }

    /// Bytes that may pass at once.
    pub fn burst(&self) -> usize {
        usize::try_from(u128::from(self.rate) * BURST.as_millis() / 1000).unwrap_or(usize::MAX)
    }

    /// Until when nothing more may, if that is to come.
    pub fn waits(&self, now: Instant) -> Option<Instant> {
        Some(self.free).filter(|free| *free > now)
    }
}

impl Network {
    /// A member may have so much each way.
    pub(super) fn limit_rate(&mut self, key: Key, rate: Option<Rate>) {
        let (Some(rate), Some(member)) = (rate, self.members.get_mut(key)) else { return };
        member.rate = rate.out.map(|rate| Bucket::new(rate, self.now));
        member.link.rate = rate.into.map(|rate| Bucket::new(rate, self.now));
        self.rated.push(key);
    }

    /// A member that is about to part has said what it has said.
    pub(super) fn lift_rate(&mut self, key: Key) {
        if let Some(member) = self.members.get_mut(key) {
            member.rate = None;
        }
    }

    /// When one that had to wait need not any more.
    pub(super) fn rate_deadline(&self) -> Option<Instant> {
        let members = self.rated.iter().filter_map(|key| self.members.get(*key));
        members.flat_map(|member| [member.resumes, member.link.resumes]).flatten().min()
    }

    /// Those go on.
    pub(super) fn resume_rated(&mut self) {
        for key in self.rated.clone() {
            let Some(member) = self.members.get_mut(key) else { continue };
            let now = self.now;
            let is_over = |resumes: &mut Option<Instant>| resumes.take_if(|at| *at <= now).is_some();
            let (speaks, hears) = (is_over(&mut member.resumes), is_over(&mut member.link.resumes));
            if hears {
                self.write_link(key);
            }
            if speaks {
                self.read_link(key);
            }
        }
    }
}

#[cfg(test)]
#[path = "rate_test.rs"]
mod tests;
