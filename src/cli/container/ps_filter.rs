//! Filters of `hull ps`.

use anyhow::{Context, bail};
use regex_lite::Regex;

use crate::{
    cli::label::Label,
    container::{
        Description,
        mount::MountKind,
        networking,
        state::{State, Status, Store},
    },
    image,
};

/// Which containers are meant: of each key any value, of labels all.
#[derive(Debug, Default)]
pub struct Filters(Vec<(Key, Vec<Value>)>);

/// What a filter is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Id,
    Name,
    Label,
    Exited,
    Status,
    Ancestor,
    Before,
    Since,
    Volume,
    Network,
    Publish,
    Expose,
    Health,
}

/// What a container is to have.
#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Label(Label),
    Name(Regex),
    Code(u8),
    /// Created then.
    Time(String),
    /// An image's layers; none when there is no such image.
    Layers(Option<Vec<image::Digest>>),
    /// First and last port, and the protocol.
    Ports(u16, u16, String),
}

fn key(name: &str) -> Option<Key> {
    Some(match name {
        "id" => Key::Id,
        "name" => Key::Name,
        "label" => Key::Label,
        "exited" => Key::Exited,
        "status" => Key::Status,
        "ancestor" => Key::Ancestor,
        "before" => Key::Before,
        "since" => Key::Since,
        "volume" => Key::Volume,
        "network" => Key::Network,
        "publish" => Key::Publish,
        "expose" => Key::Expose,
        "health" => Key::Health,
        _ => return None,
    })
}

impl Filters {
    /// Reads them.
    ///
    /// # Errors
    /// With Docker's words, when one is none, or names something that is not there.
    pub fn parse(texts: &[String], store: &Store) -> anyhow::Result<Self> {
        let mut filters = Self::default();
        for text in texts {
            let (name, value) = text.split_once('=').with_context(|| format!("invalid filter '{text}'"))?;
            let key = key(name.trim()).with_context(|| format!("invalid filter '{name}'"))?;
            let value = read(key, value, store)?;
            match filters.0.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) => values.push(value),
                None => filters.0.push((key, vec![value])),
            }
        }
        Ok(filters)
    }

    /// Whether containers that do not run are meant, too.
    pub fn are_about_status(&self) -> bool {
        self.0.iter().any(|(key, _)| *key == Key::Status)
    }

    /// Whether they mean this container.
    pub fn mean(&self, description: &Description, state: &State) -> bool {
        self.0.iter().all(|(key, values)| {
            let has = |value: &Value| has(*key, value, description, state);
            if *key == Key::Label { values.iter().all(has) } else { values.iter().any(has) }
        })
    }
}

fn read(key: Key, value: &str, store: &Store) -> anyhow::Result<Value> {
    Ok(match key {
        Key::Exited => {
            Value::Code(value.parse().with_context(|| format!("invalid filter 'exited={value}'"))?)
        }
        Key::Status => {
            let known = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
            if !known.contains(&value) {
                bail!("invalid filter 'status={value}'");
            }
            Value::Text(value.to_owned())
        }
        Key::Health => {
            if !["starting", "healthy", "unhealthy", "none"].contains(&value) {
                bail!("invalid filter 'health={value}'");
            }
            Value::Text(value.to_owned())
        }
        Key::Before | Key::Since => {
            let description = store.find(value)?.description()?;
            Value::Time(description.with_context(|| format!("No such container: {value}"))?.created)
        }
        Key::Ancestor => {
            let found = image::Store::open()?.find(value).unwrap_or_default();
            Value::Layers(found.map(|image| image.layers.iter().map(|layer| layer.diff_id).collect()))
        }
        Key::Publish | Key::Expose => {
            let (ports, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let port = |text: &str| text.parse().with_context(|| format!("invalid port in filter: {value}"));
            Value::Ports(port(first)?, port(last)?, protocol.to_owned())
        }
        Key::Name => {
            Value::Name(Regex::new(value).with_context(|| format!("invalid filter 'name={value}'"))?)
        }
        Key::Label => Value::Label(
            Label::parse("label", value).with_context(|| format!("invalid filter 'label={value}'"))?,
        ),
        Key::Id | Key::Volume | Key::Network => Value::Text(value.to_owned()),
    })
}

fn has(key: Key, value: &Value, description: &Description, state: &State) -> bool {
    match (key, value) {
        (Key::Id, Value::Text(text)) => description.id.as_str().starts_with(text.as_str()),
        (Key::Name, Value::Name(wanted)) => is_named(description.name.as_str(), wanted),
        (Key::Label, Value::Label(label)) => label.means(|name| description.config.labels.get(name)),
        (Key::Exited, Value::Code(code)) => state.status == Status::Exited && state.exit_code == *code,
        (Key::Status, Value::Text(text)) => state.status.name() == text,
        (Key::Health, Value::Text(text)) => {
            state.health.as_ref().map_or("none", |health| health.status.name()) == text
        }
        (Key::Before, Value::Time(time)) => description.created < *time,
        (Key::Since, Value::Time(time)) => description.created > *time,
        (Key::Ancestor, Value::Layers(layers)) => {
            layers.as_ref().is_some_and(|layers| is_based_on(description, layers))
        }
        (Key::Volume, Value::Text(text)) => description.mounts.iter().any(|mount| {
            let named = mount.kind == MountKind::Volume && mount.name.as_ref() == Some(text);
            named || mount.destination == *text || mount.source.as_os_str() == text.as_str()
        }),
        (Key::Network, Value::Text(text)) => {
            let is = |name: &str| name == text || crate::cli::network::has_id(name, text);
            let mut networks = networking::networks(description).peekable();
            if networks.peek().is_none() { is("none") } else { networks.any(is) }
        }
        (Key::Publish, Value::Ports(first, last, protocol)) => {
            let bound = state.ports().filter(|_| state.status.is_up());
            let mut ports = bound.map(|bound| (bound.at.port(), bound.protocol.to_string()));
            ports.any(|(port, of)| (*first..=*last).contains(&port) && of == *protocol)
        }
        (Key::Expose, Value::Ports(first, last, protocol)) => description
            .config
            .exposed_ports
            .iter()
            .any(|port| (*first..=*last).contains(&port.number) && port.protocol.to_string() == *protocol),
        _ => false,
    }
}

/// Whether an expression is found in a name, before which there may be a slash.
fn is_named(name: &str, wanted: &Regex) -> bool {
    wanted.is_match(name) || wanted.is_match(&format!("/{name}"))
}

/// Whether a container's image begins with these layers.
fn is_based_on(description: &Description, layers: &[image::Digest]) -> bool {
    let image = image::Store::open().and_then(|store| store.find(&description.image.to_string()));
    let own: Vec<_> =
        image.ok().flatten().into_iter().flat_map(|it| it.layers).map(|it| it.diff_id).collect();
    !layers.is_empty() && own.starts_with(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_in_part() {
        for wanted in ["web", "we", "^web", "b$", "^web$", "^/web$", "/w", "w.b", "^(web|db)$"] {
            assert!(is_named("web", &Regex::new(wanted).unwrap()), "{wanted}");
        }
        for wanted in ["^eb", "we$", "^we$", "x"] {
            assert!(!is_named("web", &Regex::new(wanted).unwrap()), "{wanted}");
        }
    }
}
