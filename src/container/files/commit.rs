//! `hull commit`: what a container has written becomes a layer of a new image.

use hull_protocol::Tool;
use serde_json::{Map, Value, json};

use super::Access;
use crate::{
    container::{
        Config,
        error::{Error, Result},
    },
    image::{self, Digest, Reference, derive},
    vm::timestamp,
};

/// What is asked for beside the container.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// What the image is called.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub message: String,
    /// Instructions of a Dockerfile that are applied to its configuration.
    pub changes: Vec<String>,
    /// The container's processes stand still meanwhile.
    pub pause: bool,
}

/// Makes the image. Gives its id.
///
/// # Errors
/// When an instruction makes no sense, or the disk is full; then nothing is there.
pub fn commit(access: &Access, wanted: &Wanted) -> Result<Digest> {
    let description = &access.description;
    let store = image::Store::open()?;
    let base = store.find(&description.image.to_string())?;
    let base = base.ok_or_else(|| image::Error::NotFound(description.config.image.clone()))?;
    let mut config = configuration(&base.config_json, &description.config)?;
    for change in &wanted.changes {
        apply(&mut config, change).map_err(Error::Invalid)?;
    }
    let ingest = store.ingest()?;
    let pause = if wanted.pause && access.runs { "freeze" } else { "run" };
    let mut running = access.start(Tool::Beside, &["layer", pause], false)?;
    let layer = derive::layer(&ingest, "the container's writable layer", &mut running.output);
    let layer = match layer {
        // The guest, which may go on regardless of that nobody reads, is not waited for.
        Err(error) if !error.to_string().contains("cut short") => return Err(error.into()),
        // That is so because of what the tool complains of.
        layer => running.finish().and(layer.map_err(Into::into))?,
    };
    let changes = derive::Changes {
        created: timestamp::now(),
        author: wanted.author.clone(),
        comment: wanted.message.clone(),
        created_by: description.config.args().join(" "),
        config: Value::Object(config),
    };
    Ok(derive::image(&ingest, Some(&base), &layer, &changes, wanted.name.as_ref())?)
}

/// The container's configuration as an image has it. What is an image's alone, such as its volumes, is that of the container's image.
fn configuration(image: &str, config: &Config) -> image::Result<Map<String, Value>> {
    let mut image: Value = serde_json::from_str(image)
        .map_err(|error| image::Error::malformed("the image's configuration", error.to_string()))?;
    let mut map = match image["config"].take() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let mut put = |key: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        match empty {
            true => map.remove(key),
            false => map.insert(key.to_owned(), value),
        };
    };
    put("User", json!(config.user));
    put("Env", json!(config.env));
    put("Cmd", json!(config.cmd));
    put("Entrypoint", json!(config.entrypoint));
    put("WorkingDir", json!(config.working_dir));
    put("Labels", json!(config.labels));
    put("StopSignal", json!(config.stop_signal));
    put("Healthcheck", json!(config.healthcheck));
    let ports = config.exposed_ports.iter().map(|port| (String::from(*port), json!({})));
    put("ExposedPorts", Value::Object(ports.collect()));
    Ok(map)
}

/// Applies an instruction: those of a Dockerfile that are about the configuration, as `docker commit --change` has them.
///
/// # Errors
/// What is wrong with it, in Docker's words.
pub fn apply(config: &mut Map<String, Value>, change: &str) -> std::result::Result<(), String> {
    let (instruction, rest) = change.trim().split_once(char::is_whitespace).unwrap_or((change.trim(), ""));
    let instruction = instruction.to_ascii_uppercase();
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(format!("{instruction} requires at least one argument"));
    }
    let mut set_in = |map: &str, key: String, value: Value| {
        let map = config.entry(map).or_insert_with(|| json!({}));
        if let Some(map) = map.as_object_mut() {
            map.insert(key, value);
        }
    };
    match &*instruction {
        "CMD" | "ENTRYPOINT" => {
            let key = if instruction == "CMD" { "Cmd" } else { "Entrypoint" };
            let list: Option<Vec<String>> = serde_json::from_str(rest).ok();
            let list = list.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), rest.into()]);
            config.insert(key.into(), json!(list));
        }
        "ENV" => {
            for (name, value) in pairs(rest, true)? {
                let list = config.entry("Env").or_insert_with(|| json!([]));
                let Some(list) = list.as_array_mut() else { continue };
                let is_it = |it: &Value| it.as_str().is_some_and(|it| it.split('=').next() == Some(&name));
                list.retain(|it| !is_it(it));
                list.push(format!("{name}={value}").into());
            }
        }
        "LABEL" => {
            pairs(rest, true)?.into_iter().for_each(|(key, value)| set_in("Labels", key, value.into()))
        }
        "EXPOSE" => {
            for port in rest.split_ascii_whitespace() {
                let port: crate::container::Port =
                    port.to_owned().try_into().map_err(|_| format!("invalid containerPort: {port}"))?;
                set_in("ExposedPorts", port.into(), json!({}));
            }
        }
        "VOLUME" => {
            let list: Option<Vec<String>> = serde_json::from_str(rest).ok();
            let list = list.unwrap_or_else(|| rest.split_ascii_whitespace().map(str::to_owned).collect());
            list.into_iter().for_each(|path| set_in("Volumes", path, json!({})));
        }
        "USER" => drop(config.insert("User".into(), rest.into())),
        "WORKDIR" => {
            let old = config.get("WorkingDir").and_then(Value::as_str).unwrap_or("/");
            let whole = if rest.starts_with('/') {
                rest.to_owned()
            } else {
                format!("{}/{rest}", old.trim_end_matches('/'))
            };
            config.insert("WorkingDir".into(), whole.into());
        }
        "STOPSIGNAL" => drop(config.insert("StopSignal".into(), rest.into())),
        "ONBUILD" => {
            let list = config.entry("OnBuild").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(rest.into());
            }
        }
        _ => return Err(format!("{} is not a valid change command", instruction.to_lowercase())),
    }
    Ok(())
}

/// `NAME=value NAME="value with blanks"`, or the old `NAME value`.
fn pairs(text: &str, old_form: bool) -> std::result::Result<Vec<(String, String)>, String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        begun = true;
        match (letter, quote) {
            ('\\', quote) if quote != Some('\'') => word.extend(letters.next()),
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => quote = Some(letter),
            (letter, None) if letter.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (letter, _) => word.push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("unexpected end of statement while looking for matching quote: {text}"));
    }
    if begun {
        words.push(word);
    }
    if old_form && words.first().is_some_and(|first| !first.contains('=')) {
        let (name, value) = text.split_once(char::is_whitespace).ok_or("ENV must have two arguments")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| {
        let (name, value) = word.split_once('=').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), value.to_owned()))
    };
    let wrong = || format!("Syntax error - can't find = in {text:?}. Must be of the form: name=value");
    words.into_iter().map(|word| pair(word).ok_or_else(wrong)).collect()
}

#[cfg(test)]
#[path = "commit_test.rs"]
mod tests;
