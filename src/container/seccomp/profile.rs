//! A policy of the user's (`--security-opt seccomp=FILE`), in the format of Docker's and Podman's profiles.
//!
//! A call has a list of rules. The first counts that has no conditions or whose conditions hold, and those without conditions come
//! first, as in libseccomp: the broader rule wins. A rule with several conditions on one argument is one rule for each, as in runc.
//! An entry that says what becomes of a call anyway is no rule, as in runc: it must not outweigh one that says something else. Names
//! that x86-64 does not have are passed over, since profiles name calls of many architectures. What a guest cannot do is refused by
//! name: somebody else to be asked (`SCMP_ACT_NOTIFY`), and flags of the filter.

use std::collections::{BTreeMap, BTreeSet};

use libc::{
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_LOG,
    SECCOMP_RET_TRACE, SECCOMP_RET_TRAP,
};
use serde::{Deserialize, Deserializer};

use super::{
    condition::{Condition, Test},
    errno, syscalls,
};
use crate::container::{
    capability::Capabilities,
    error::{Error, Result},
};

/// Most bytes of a profile. Docker's own has 16 KiB.
pub const LONGEST: usize = 256 << 10;

/// The guest's kernel, for rules that want one of some version.
const KERNEL: (u32, u32) = (6, 12);
/// What profiles call this machine: Docker in its conditions, libseccomp in its lists.
const MACHINE: &str = "amd64";
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
/// The highest error number that a call can give.
const HIGHEST_ERROR: u32 = 4095;
/// Docker's error where a profile names none.
const ERROR: u32 = libc::EPERM as u32;

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    #[serde(default, deserialize_with = "or_nothing")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "or_nothing")]
    arch_map: Vec<Architecture>,
    #[serde(default, deserialize_with = "or_nothing")]
    flags: Vec<String>,
    #[serde(default, deserialize_with = "or_nothing")]
    listener_path: String,
    #[serde(default, deserialize_with = "or_nothing")]
    listener_metadata: String,
    #[serde(default, deserialize_with = "or_nothing")]
    syscalls: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(default, deserialize_with = "or_nothing")]
    name: String,
    #[serde(default, deserialize_with = "or_nothing")]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    #[serde(default, deserialize_with = "or_nothing")]
    args: Vec<Argument>,
    #[serde(default, deserialize_with = "or_nothing")]
    includes: Filter,
    #[serde(default, deserialize_with = "or_nothing")]
    excludes: Filter,
    #[serde(default, rename = "comment", deserialize_with = "or_nothing")]
    _comment: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// For whom a rule is, or is not.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Filter {
    #[serde(deserialize_with = "or_nothing")]
    caps: Vec<String>,
    #[serde(deserialize_with = "or_nothing")]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// Reads what may be `null`, as programs in Go write what is empty.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What becomes of a call whose arguments are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// All of these hold.
    pub conditions: Vec<Condition>,
    /// `SECCOMP_RET_*`.
    pub action: u32,
}

impl Rule {
    /// Whether it is about all arguments.
    fn is_broad(&self) -> bool {
        self.conditions.is_empty()
    }
}

/// A policy for a container with certain capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What becomes of a call that no rule is about.
    pub otherwise: u32,
    rules: BTreeMap<&'static str, Vec<Rule>>,
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// When it is none, or asks for what a guest cannot do.
    pub fn read(text: &str, capabilities: Capabilities) -> Result<Self> {
        let wrong = |what: String| Error::Invalid(format!("invalid seccomp profile: {what}"));
        if text.len() > LONGEST {
            return Err(wrong(format!("it has {} bytes, {LONGEST} are possible", text.len())));
        }
        let document: Document = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        document.check().map_err(wrong)?;
        let error = error(document.default_errno_ret, document.default_errno.as_deref()).map_err(wrong)?;
        let otherwise = action(&document.default_action, error).map_err(wrong)?;
        let mut rules: BTreeMap<&'static str, Vec<Rule>> = BTreeMap::new();
        let mut count = 0;
        let known: BTreeMap<&str, &'static str> = syscalls::all().map(|(_, name)| (name, name)).collect();
        for entry in document.syscalls {
            let read = entry.rules().map_err(wrong)?;
            let same = read.iter().all(|rule| rule.action == otherwise);
            if !entry.applies(capabilities).map_err(wrong)? || same {
                continue;
            }
            let names: BTreeSet<&'static str> =
                entry.names().filter_map(|name| known.get(name).copied()).collect();
            for name in names {
                let all = rules.entry(name).or_default();
                match read.as_slice() {
                    _ if all.first().is_some_and(Rule::is_broad) => {}
                    [rule] if rule.is_broad() => *all = read.clone(),
                    _ => {
                        count += read.len();
                        if count > super::LONGEST {
                            return Err(wrong(format!("it has more than {} conditions", super::LONGEST)));
                        }
                        all.extend(read.iter().cloned());
                    }
                }
            }
        }
        Ok(Self { otherwise, rules })
    }

    /// Keeps a container from what speaks to the host, whatever the profile says: vsock, and rings that make sockets.
    pub fn keep_from_host(&mut self) {
        const VSOCK: u64 = 40;
        let refuse = |conditions| Rule { conditions, action: SECCOMP_RET_ERRNO | ERROR };
        let vsock = Condition { index: 0, test: Test::Masked(0xffff_ffff, VSOCK) };
        self.rules.entry("socket").or_default().insert(0, refuse(vec![vsock]));
        self.rules.insert("io_uring_setup", vec![refuse(Vec::new())]);
    }

    /// What becomes of each number: a range from each of these numbers to the next.
    pub fn ranges(&self) -> Vec<(u32, Fate<'_>)> {
        // A program that asks for something newer is to try something older, unless whatever it asks for is granted.
        let grants = matches!(self.otherwise, SECCOMP_RET_ALLOW | SECCOMP_RET_LOG);
        let unknown = if grants { self.otherwise } else { SECCOMP_RET_ERRNO | libc::ENOSYS as u32 };
        let unknown = Fate { rules: &[], otherwise: unknown };
        let mut ranges: Vec<(u32, Fate<'_>)> = Vec::new();
        let mut next = 0;
        let mut push = |number, fate| {
            if ranges.last().is_none_or(|(_, last)| *last != fate) {
                ranges.push((number, fate));
            }
        };
        for (number, name) in syscalls::all() {
            if number != next {
                push(next, unknown);
            }
            push(number, self.fate(name));
            next = number + 1;
        }
        push(syscalls::END, unknown);
        ranges
    }

    /// What becomes of a call.
    pub fn fate(&self, name: &str) -> Fate<'_> {
        let rules = self.rules.get(name).map_or(&[][..], Vec::as_slice);
        match rules {
            [rule] if rule.is_broad() => Fate { rules: &[], otherwise: rule.action },
            _ => Fate { rules, otherwise: self.otherwise },
        }
    }
}

/// What becomes of a call: what the first of the rules says that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate<'a> {
    /// In this order.
    pub rules: &'a [Rule],
    /// What else.
    pub otherwise: u32,
}

impl Document {
    /// Refuses what a guest does not do.
    fn check(&self) -> Result<(), String> {
        let mut machines = self.architectures.iter();
        let mut mapped = self.arch_map.iter().map(|known| &known.architecture);
        let named = !self.architectures.is_empty() || !self.arch_map.is_empty();
        if named && !machines.any(|name| name == ARCHITECTURE) && !mapped.any(|name| name == ARCHITECTURE) {
            return Err(format!("it is not for {ARCHITECTURE}, which containers here run on"));
        }
        if !self.architectures.is_empty() && !self.arch_map.is_empty() {
            return Err("use either 'architectures' or 'archMap'".to_owned());
        }
        if !self.listener_path.is_empty() || !self.listener_metadata.is_empty() {
            return Err("listenerPath: nobody in the guest can be asked".to_owned());
        }
        // That one is about threads, of which there is one.
        match self.flags.iter().find(|flag| *flag != "SECCOMP_FILTER_FLAG_TSYNC") {
            Some(flag) => Err(format!("flag {flag:?} cannot be set for a guest's filter; leave it out")),
            None => Ok(()),
        }
    }
}

impl Entry {
    fn names(&self) -> impl Iterator<Item = &str> {
        let name = Some(self.name.as_str()).filter(|name| !name.is_empty());
        self.names.iter().map(String::as_str).chain(name)
    }

    fn rules(&self) -> Result<Vec<Rule>, String> {
        if self.names().next().is_none() {
            return Err("an entry of 'syscalls' has no 'names'".to_owned());
        }
        if !self.name.is_empty() && !self.names.is_empty() {
            return Err("use either 'name' or 'names'".to_owned());
        }
        let action = action(&self.action, error(self.errno_ret, self.errno.as_deref())?)?;
        let conditions = self.args.iter().map(Argument::read).collect::<Result<Vec<_>, _>>()?;
        let repeated = |condition: &Condition| {
            conditions.iter().filter(|other| other.index == condition.index).count() > 1
        };
        if conditions.iter().any(repeated) {
            return Ok(conditions
                .into_iter()
                .map(|condition| Rule { conditions: vec![condition], action })
                .collect());
        }
        Ok(vec![Rule { conditions, action }])
    }

    /// Whether it is for a container with these capabilities, in a guest.
    fn applies(&self, capabilities: Capabilities) -> Result<bool, String> {
        let has = |name: &String| match Capabilities::from_names([name.as_str()]) {
            // One that this kernel does not know, nobody has.
            None => false,
            Some(one) => capabilities.has_any(one),
        };
        let here = |name: &String| name == MACHINE;
        let (with, without) = (&self.includes, &self.excludes);
        let included = with.caps.iter().all(has)
            && (with.arches.is_empty() || with.arches.iter().any(here))
            && with.min_kernel.as_deref().map_or(Ok(true), kernel_is_at_least)?;
        let excluded = without.caps.iter().any(has)
            || without.arches.iter().any(here)
            || without.min_kernel.as_deref().map_or(Ok(false), kernel_is_at_least)?;
        Ok(included && !excluded)
    }
}

fn kernel_is_at_least(version: &str) -> Result<bool, String> {
    let wanted = version.split_once('.').and_then(|(major, minor)| {
        let minor = minor.split('.').next()?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    let wanted = wanted.ok_or_else(|| format!("minKernel {version:?} is no version of a kernel"))?;
    Ok(KERNEL >= wanted)
}

impl Argument {
    fn read(&self) -> Result<Condition, String> {
        if self.index > 5 {
            return Err(format!("a call has arguments 0 to 5, and none with index {}", self.index));
        }
        let test = match self.op.as_str() {
            "SCMP_CMP_EQ" => Test::Equal(self.value),
            "SCMP_CMP_NE" => Test::NotEqual(self.value),
            "SCMP_CMP_GT" => Test::Above(self.value),
            "SCMP_CMP_GE" => Test::AtLeast(self.value),
            "SCMP_CMP_LT" => Test::Below(self.value),
            "SCMP_CMP_LE" => Test::AtMost(self.value),
            "SCMP_CMP_MASKED_EQ" => Test::Masked(self.value, self.value_two),
            other => return Err(format!("there is no operator {other:?}")),
        };
        Ok(Condition { index: self.index, test })
    }
}

/// The number of an error: what is written, or that of the name beside it.
fn error(number: Option<u32>, name: Option<&str>) -> Result<u32, String> {
    match (number, name) {
        (Some(number), _) if number > HIGHEST_ERROR => {
            Err(format!("{number} is no number of an error; the highest is {HIGHEST_ERROR}"))
        }
        (Some(number), _) => Ok(number),
        (None, None | Some("")) => Ok(ERROR),
        (None, Some(name)) => errno::number(name).ok_or_else(|| format!("there is no error {name:?}")),
    }
}

fn action(name: &str, number: u32) -> Result<u32, String> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => SECCOMP_RET_ALLOW,
        "SCMP_ACT_LOG" => SECCOMP_RET_LOG,
        "SCMP_ACT_ERRNO" => SECCOMP_RET_ERRNO | number,
        "SCMP_ACT_TRACE" => SECCOMP_RET_TRACE | number,
        "SCMP_ACT_TRAP" => SECCOMP_RET_TRAP,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SECCOMP_RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => SECCOMP_RET_KILL_PROCESS,
        "SCMP_ACT_NOTIFY" => return Err("SCMP_ACT_NOTIFY: nobody in the guest can be asked".to_owned()),
        other => return Err(format!("there is no action {other:?}")),
    })
}

#[cfg(test)]
#[path = "profile_test.rs"]
mod tests;
