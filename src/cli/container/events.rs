//! `hull events`.

use std::{io::Write, process::ExitCode, thread, time::Duration};

use clap::Args;

use super::time::parse_time;
use crate::{
    cli::format::Template,
    container::state::{Event, Store},
};

/// How often the journal is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Show what happens to containers
#[derive(Debug, Args)]
pub struct Events {
    /// Show what happened since a time (2026-11-22T07:32:01Z) or for a duration until now (10m), too
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<jiff::Timestamp>,
    /// Stop at this time; at once with one that is over
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<jiff::Timestamp>,
    /// Only what is meant: container=NAME, event=ACTION, image=NAME, type=container; several of one kind are alternatives
    #[arg(short, long, value_name = "FILTER", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Print a line of JSON for each (json), or what a template says of it
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

fn parse_filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key @ ("container" | "event" | "image" | "type"), value)) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(format!("invalid filter '{text}'; there are container=, event=, image= and type=")),
    }
}

impl Events {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let since = self.since.unwrap_or_else(jiff::Timestamp::now);
        let template = match self.format.as_deref() {
            None | Some("json") => None,
            Some(text) => Some(Template::parse(&text.replace("\\t", "\t").replace("\\n", "\n"))?),
        };
        let mut journal = Store::open()?.journal().read()?;
        let mut out = std::io::stdout().lock();
        loop {
            // Asked before reading: what happened until then is read.
            let over = self.until.is_some_and(|until| jiff::Timestamp::now() >= until);
            while let Some(event) = journal.next()? {
                let Ok(time) = event.time.parse::<jiff::Timestamp>() else { continue };
                let within = time >= since && self.until.is_none_or(|until| time < until);
                if !within || !self.means(&event) {
                    continue;
                }
                let line = match &template {
                    Some(template) => template.render(&document(&event))?,
                    None => self.line(&event),
                };
                if writeln!(out, "{line}").is_err() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            if over {
                return Ok(ExitCode::SUCCESS);
            }
            thread::sleep(INTERVAL);
        }
    }

    fn means(&self, event: &Event) -> bool {
        ["container", "event", "image", "type"].iter().all(|key| {
            let mut wanted =
                self.filter.iter().filter(|(known, _)| known == key).map(|(_, value)| value).peekable();
            wanted.peek().is_none() || wanted.any(|value| matches(event, key, value))
        })
    }

    fn line(&self, event: &Event) -> String {
        if self.format.is_some() {
            return document(event).to_string();
        }
        let attributes: Vec<_> =
            event.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{} container {} {} ({})", event.time, event.action, event.id, attributes.join(", "))
    }
}

/// An event as Docker's API has it.
fn document(event: &Event) -> serde_json::Value {
    let actor = serde_json::json!({"ID": event.id, "Attributes": event.attributes});
    let time = event.time.parse::<jiff::Timestamp>().unwrap_or_default();
    serde_json::json!({
        "status": event.action, "id": event.id, "from": event.attributes.get("image"), "Type": "container",
        "Action": event.action, "Actor": actor, "scope": "local", "time": time.as_second(),
        "timeNano": i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX),
    })
}

fn matches(event: &Event, key: &str, value: &str) -> bool {
    let attribute = |name| event.attributes.get(name).is_some_and(|found| found == value);
    match key {
        "container" => attribute("name") || (!value.is_empty() && event.id.as_str().starts_with(value)),
        "event" => event.action == value,
        "image" => attribute("image"),
        _ => value == "container",
    }
}
