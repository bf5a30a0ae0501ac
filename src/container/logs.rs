//! How a container's output is kept (`--log-driver`, `--log-opt`).

use super::{
    LogConfig,
    error::{Error, Result},
};
use crate::vm::log::Limits;

/// What the options say of the log's size.
///
/// # Errors
/// When there is no such driver or option, or a value is none.
pub fn log_limits(log: &LogConfig) -> Result<Limits> {
    if !matches!(log.kind.as_str(), "json-file" | "local" | "") {
        return Err(Error::Invalid(format!(
            "logger: no log driver named '{}' is registered: hull keeps logs in files, as json-file and local do",
            log.kind
        )));
    }
    let mut limits = Limits::default();
    for (name, value) in &log.config {
        let wrong = |what: &str| Error::Invalid(format!("invalid value for {name}: {value}: {what}"));
        match name.as_str() {
            "max-size" if value == "-1" => limits.size = None,
            "max-size" => {
                let size = bytes(value).filter(|size| *size > 0);
                limits.size = Some(size.ok_or_else(|| wrong("write a size such as 10m"))?);
            }
            "max-file" => {
                let files = value.parse().ok().filter(|files| (1..=1000).contains(files));
                limits.files = files.ok_or_else(|| wrong("max-file must be a number from 1 to 1000"))?;
            }
            // Whether old files are compressed changes nothing that is seen.
            "compress" | "mode" if matches!(value.as_str(), "false" | "blocking") => {}
            _ => {
                return Err(Error::Invalid(format!(
                    "unknown log opt '{name}={value}' for json-file log driver"
                )));
            }
        }
    }
    if limits.files > 1 && limits.size.is_none() && log.config.contains_key("max-file") {
        return Err(Error::Invalid("max-file cannot be used without max-size".to_owned()));
    }
    Ok(limits)
}

/// A size as Docker writes it: decimal or binary makes no difference, `k`, `m` and `g` are powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, unit) = match lower.strip_suffix(['k', 'm', 'g']) {
        Some(digits) => (digits, 1u64 << (10 * (1 + "kmg".find(&lower[digits.len()..])?))),
        None => (lower, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_docker() {
        let limits = |options: &[(&str, &str)]| {
            let config =
                options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            log_limits(&LogConfig { config, ..LogConfig::default() })
        };
        assert_eq!(limits(&[]).unwrap(), Limits { size: None, files: 1 });
        assert_eq!(
            limits(&[("max-size", "10k"), ("max-file", "3")]).unwrap(),
            Limits { size: Some(10 << 10), files: 3 }
        );
        for wrong in [
            &[("max-size", "x")][..],
            &[("max-size", "0")],
            &[("max-size", "1m"), ("max-file", "0")],
            &[("max-file", "3")],
            &[("nope", "1")],
            &[("max-size", "99999999999g")],
        ] {
            assert!(limits(wrong).is_err(), "{wrong:?}");
        }
        let syslog = LogConfig { kind: "syslog".to_owned(), ..LogConfig::default() };
        assert!(log_limits(&syslog).unwrap_err().to_string().contains("syslog"));
    }
}
