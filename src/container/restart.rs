//! Restart policies: whether a container is started again when it ends, and how soon.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::error::Error;

/// The first wait, which doubles each time.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// What has run for so long starts again as if for the first time.
const SETTLED: Duration = Duration::from_secs(10);

/// When a container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// When.
    pub name: When,
    /// How often at most after a failure; 0 is always.
    pub maximum_retry_count: u32,
}

/// When a container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Never.
    #[default]
    No,
    /// When its exit code is not 0.
    OnFailure,
    /// Whenever nobody stopped it.
    Always,
    /// The same: the difference is after a restart of the host.
    UnlessStopped,
}

impl FromStr for RestartPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let invalid = |what: &str| Error::Invalid(format!("invalid restart policy: {what}"));
        let name = match name {
            "" | "no" => When::No,
            "on-failure" => When::OnFailure,
            "always" => When::Always,
            "unless-stopped" => When::UnlessStopped,
            _ => {
                return Err(invalid(&format!(
                    "unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
                )));
            }
        };
        let maximum_retry_count = match count {
            None => 0,
            Some(_) if name != When::OnFailure => {
                return Err(invalid("maximum retry count can only be used with 'on-failure'"));
            }
            Some(count) => count.parse().map_err(|_| invalid("maximum retry count must be an integer"))?,
        };
        Ok(Self { name, maximum_retry_count })
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.maximum_retry_count) {
            (When::No, _) => f.write_str("no"),
            (When::OnFailure, 0) => f.write_str("on-failure"),
            (When::OnFailure, count) => write!(f, "on-failure:{count}"),
            (When::Always, _) => f.write_str("always"),
            (When::UnlessStopped, _) => f.write_str("unless-stopped"),
        }
    }
}

/// How often a container was started again, and when it is next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restarts {
    /// How often.
    pub count: u32,
    wait: Duration,
    /// How long to wait before the next time, if there is to be one.
    pub next: Option<Duration>,
}

impl Restarts {
    /// Takes note of an end. `code` is the exit code after `ran`; `stopped` is that somebody wanted it.
    pub fn ended(&mut self, policy: RestartPolicy, ran: Duration, code: u8, stopped: bool) {
        let again = match policy.name {
            _ if stopped => false,
            When::No => false,
            When::Always | When::UnlessStopped => true,
            When::OnFailure => {
                let most = policy.maximum_retry_count;
                code != 0 && (most == 0 || self.count < most)
            }
        };
        self.wait = if self.wait.is_zero() || ran >= SETTLED { FIRST } else { (self.wait * 2).min(LONGEST) };
        self.next = again.then_some(self.wait);
        self.count += u32::from(again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> RestartPolicy {
        text.parse().unwrap()
    }

    #[test]
    fn policies_are_those_of_docker() {
        for text in ["no", "on-failure", "on-failure:3", "always", "unless-stopped"] {
            assert_eq!(policy(text).to_string(), text);
        }
        for text in ["never", "always:3", "on-failure:x", "on-failure:-1"] {
            assert!(
                text.parse::<RestartPolicy>().unwrap_err().to_string().starts_with("invalid restart policy")
            );
        }
        let json = serde_json::to_string(&policy("unless-stopped")).unwrap();
        assert_eq!(json, r#"{"Name":"unless-stopped","MaximumRetryCount":0}"#);
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew() {
        let mut restarts = Restarts::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            restarts.ended(policy("always"), Duration::from_secs(1), 0, false);
            waits.push(restarts.next.unwrap().as_millis());
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        restarts.ended(policy("always"), Duration::from_secs(10), 0, false);
        assert_eq!((restarts.next, restarts.count), (Some(FIRST), 13));
        restarts.ended(policy("always"), Duration::ZERO, 0, true);
        assert_eq!((restarts.next, restarts.count), (None, 13));
    }

    #[test]
    fn failures_are_counted() {
        let mut restarts = Restarts::default();
        let mut ended = |code| {
            restarts.ended(policy("on-failure:2"), Duration::ZERO, code, false);
            restarts.next.is_some()
        };
        assert_eq!([ended(1), ended(137), ended(1)], [true, true, false]);
        assert!(!ended(0));
        restarts.ended(policy("no"), Duration::ZERO, 1, false);
        assert_eq!(restarts.next, None);
    }
}
