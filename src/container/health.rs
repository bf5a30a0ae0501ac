//! Health checks, as images and command lines describe them.

use std::time::Duration;

use hull_protocol::Process;
use serde::{Deserialize, Serialize};

use super::{
    Config,
    error::{Error, Result},
};
use crate::vm::keeper::Check;

/// A health check with Docker's names; times are in nanoseconds, and 0 is Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`; empty is the image's.
    pub test: Vec<String>,
    /// Between the end of one and the beginning of the next.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// How long one may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// How long failures do not count, unless one has succeeded.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Between two in that time.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// How many in a row have to fail.
    #[serde(skip_serializing_if = "is_zero_count")]
    pub retries: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero_count(value: &u32) -> bool {
    *value == 0
}

/// Least time that is not Docker's default.
const LEAST: u64 = 1_000_000;

impl HealthCheck {
    /// Refuses times that are too short to be meant.
    ///
    /// # Errors
    /// With Docker's words.
    pub fn check(&self) -> Result<()> {
        let times = [
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
        ];
        match times.iter().find(|(_, time)| *time != 0 && *time < LEAST) {
            Some((name, _)) => {
                Err(Error::Invalid(format!("{name} in Healthcheck cannot be less than one millisecond")))
            }
            None => Ok(()),
        }
    }

    /// What an image's configuration says.
    pub fn of_image(config_json: &str) -> Option<Self> {
        let whole: serde_json::Value = serde_json::from_str(config_json).ok()?;
        serde_json::from_value(whole.get("config")?.get("Healthcheck")?.clone()).ok()
    }

    /// Fills what is unset from the image's.
    #[must_use]
    pub fn or(self, image: Option<Self>) -> Self {
        let Some(image) = image else { return self };
        let or = |own: u64, image: u64| if own == 0 { image } else { own };
        Self {
            test: if self.test.is_empty() { image.test } else { self.test },
            interval: or(self.interval, image.interval),
            timeout: or(self.timeout, image.timeout),
            start_period: or(self.start_period, image.start_period),
            start_interval: or(self.start_interval, image.start_interval),
            retries: if self.retries == 0 { image.retries } else { self.retries },
        }
    }

    /// Whether there is anything to be run.
    pub fn is_one(&self) -> bool {
        self.command().is_some()
    }

    /// The command that is run, if there is one.
    fn command(&self) -> Option<Vec<String>> {
        let (kind, rest) = self.test.split_first()?;
        match kind.as_str() {
            "CMD" if !rest.is_empty() => Some(rest.to_vec()),
            "CMD-SHELL" => Some(["/bin/sh", "-c", rest.first()?].map(str::to_owned).to_vec()),
            _ => None,
        }
    }
}

/// What the keeper of a container does to find out whether it works; `first` is the container's first process.
pub fn check(config: &Config, first: &Process) -> Option<Check> {
    let health = config.healthcheck.as_ref()?;
    let time = |value: u64, seconds: u64| match value {
        0 => Duration::from_secs(seconds),
        value => Duration::from_nanos(value),
    };
    Some(Check {
        process: Process { args: health.command()?, terminal: None, init: false, ..first.clone() },
        interval: time(health.interval, 30),
        timeout: time(health.timeout, 30),
        start_period: time(health.start_period, 0),
        start_interval: time(health.start_interval, 5),
        retries: if health.retries == 0 { 3 } else { health.retries },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_check_fills_what_is_unset() {
        let json =
            r#"{"config":{"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000,"Retries":2}}}"#;
        let image = HealthCheck::of_image(json);
        assert_eq!(image.as_ref().unwrap().interval, 5_000_000_000);
        let own = HealthCheck { retries: 7, timeout: LEAST, ..HealthCheck::default() };
        let both = own.or(image);
        assert_eq!((both.retries, both.interval, both.timeout), (7, 5_000_000_000, LEAST));
        assert_eq!(both.command().unwrap(), ["/bin/sh", "-c", "true"]);
        assert!(HealthCheck { interval: 1, ..HealthCheck::default() }.check().is_err());
        for json in
            ["", "{}", r#"{"config":{"Healthcheck":3}}"#, r#"{"config":{"Healthcheck":{"Test":"x"}}}"#]
        {
            assert_eq!(HealthCheck::of_image(json), None, "{json}");
        }
        let test = |words: &[&str]| {
            let test = words.iter().map(|word| (*word).to_owned()).collect();
            HealthCheck { test, ..HealthCheck::default() }.command()
        };
        assert_eq!(test(&["CMD", "a", "b"]).unwrap(), ["a", "b"]);
        for none in [&["NONE"][..], &[], &["CMD"], &["CMD-SHELL"], &["x", "y"]] {
            assert_eq!(test(none), None);
        }
    }
}
