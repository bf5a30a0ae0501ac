//! Resource limits (`--ulimit`).

use hull_protocol::Rlimit;

use super::{
    Ulimit,
    error::{Error, Result},
};

/// Names as Docker knows them, and numbers as Linux has them.
const RESOURCES: [(&str, u32); 15] = [
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// One limit as `nofile=1024` or `nofile=1024:2048`.
///
/// # Errors
/// When the name or a number is wrong.
pub fn parse(text: &str) -> Result<Ulimit> {
    let wrong =
        |what: &str| Error::Invalid(format!("invalid argument \"{text}\" for \"--ulimit\" flag: {what}"));
    let (name, values) = text.split_once('=').ok_or_else(|| wrong("write NAME=SOFT[:HARD]"))?;
    if !RESOURCES.iter().any(|(known, _)| *known == name) {
        return Err(wrong("there is no such limit"));
    }
    let number = |value: &str| value.parse::<i64>().ok().filter(|value| *value >= -1);
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (Some(soft), Some(hard)) = (number(soft), number(hard)) else {
        return Err(wrong("a limit is a number, or -1 for none"));
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(wrong("the soft limit is above the hard limit"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// The limits as the agent is told them.
///
/// # Errors
/// When a name is not known.
pub fn rlimits(ulimits: &[Ulimit]) -> Result<Vec<Rlimit>> {
    let value = |limit: i64| u64::try_from(limit).unwrap_or(libc::RLIM_INFINITY);
    ulimits
        .iter()
        .map(|limit| {
            let (_, resource) = RESOURCES
                .iter()
                .find(|(name, _)| *name == limit.name)
                .ok_or_else(|| Error::Invalid(format!("invalid ulimit type: {}", limit.name)))?;
            Ok(Rlimit { resource: *resource, soft: value(limit.soft), hard: value(limit.hard) })
        })
        .collect()
}

#[cfg(test)]
#[path = "limits_test.rs"]
mod tests;
