//! The options of `run` and `create` that are about the container's health.

use clap::Args;

use crate::container::{Error, Result, health::HealthCheck};

/// How it is found out whether the container works.
#[derive(Debug, Args)]
pub struct HealthOptions {
    /// Command that finds out whether the container works
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two checks (30s by default)
    #[arg(long, value_name = "TIME", value_parser = nanoseconds)]
    health_interval: Option<u64>,
    /// Time that a check may take (30s by default)
    #[arg(long, value_name = "TIME", value_parser = nanoseconds)]
    health_timeout: Option<u64>,
    /// Checks that have to fail in a row (3 by default)
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// Time in which failures do not count
    #[arg(long, value_name = "TIME", value_parser = nanoseconds)]
    health_start_period: Option<u64>,
    /// Time between two checks in that time (5s by default)
    #[arg(long, value_name = "TIME", value_parser = nanoseconds)]
    health_start_interval: Option<u64>,
    /// Do not check, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

/// A time as Docker writes it, such as `1m30s`.
fn nanoseconds(text: &str) -> std::result::Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    let time =
        humantime::parse_duration(text).map_err(|_| "write a time such as 1m30s or 500ms".to_owned())?;
    u64::try_from(time.as_nanos()).map_err(|_| "it is too long".to_owned())
}

impl HealthOptions {
    /// What they ask for; nothing when none is there.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn read(&self) -> Result<Option<HealthCheck>> {
        let check = HealthCheck {
            test: self
                .health_cmd
                .iter()
                .flat_map(|command| ["CMD-SHELL".to_owned(), command.clone()])
                .collect(),
            interval: self.health_interval.unwrap_or(0),
            timeout: self.health_timeout.unwrap_or(0),
            start_period: self.health_start_period.unwrap_or(0),
            start_interval: self.health_start_interval.unwrap_or(0),
            retries: self.health_retries.unwrap_or(0),
        };
        let asked = check != HealthCheck::default();
        match self.no_healthcheck {
            true if asked => {
                Err(Error::Invalid("--no-healthcheck conflicts with --health-* options".to_owned()))
            }
            true => Ok(Some(HealthCheck { test: vec!["NONE".to_owned()], ..check })),
            false => Ok(asked.then_some(check)),
        }
    }
}
