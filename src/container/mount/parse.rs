//! `-v` and `--mount`, as Docker reads them.

use std::path::PathBuf;

use hull_devices::fs::Freshness;

use super::{MountKind, MountPoint};
use crate::container::error::{Error, Result};

/// What an option asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Something of the host's. A volume has no source yet, and one without a name is to get one.
    Shared(Box<MountPoint>),
    /// A tmpfs: its place and its options, as `--tmpfs` has them.
    Tmpfs(String, String),
}

fn point(kind: MountKind, destination: &str) -> MountPoint {
    MountPoint {
        kind,
        name: None,
        source: PathBuf::new(),
        destination: destination.to_owned(),
        mode: String::new(),
        writable: true,
        propagation: if kind == MountKind::Bind { "rprivate".to_owned() } else { String::new() },
        freshness: Freshness::default(),
        owner: None,
        create: false,
        populate: kind == MountKind::Volume,
        anonymous: false,
    }
}

/// `-v [SOURCE:]DESTINATION[:OPTIONS]`.
///
/// # Errors
/// When it is not one, in Docker's words.
pub fn volume(text: &str) -> Result<MountPoint> {
    let invalid = |why: String| Error::Invalid(format!("invalid volume specification: '{text}'{why}"));
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(Error::Invalid(format!("invalid spec: {text}: empty section between colons")));
    }
    let (source, destination, options) = match parts[..] {
        [destination] => (None, destination, ""),
        // What follows may be options of an anonymous volume.
        [destination, options]
            if destination.starts_with('/') && !options.starts_with('/') && is_options(options) =>
        {
            (None, destination, options)
        }
        [source, destination] => (Some(source), destination, ""),
        [source, destination, options] => (Some(source), destination, options),
        _ => return Err(invalid(String::new())),
    };
    let is_path = source.is_some_and(|source| source.starts_with(['/', '.', '~']));
    let kind = if is_path { MountKind::Bind } else { MountKind::Volume };
    let mut point =
        point(kind, &destination_of(kind, destination).map_err(|why| invalid(format!(": {why}")))?);
    point.mode = options.to_owned();
    match source {
        Some(path) if is_path => {
            point.source = std::path::absolute(path).map_err(|error| invalid(format!(": {error}")))?;
            point.create = true;
        }
        Some(name) => point.name = Some(checked_name(name)?.to_owned()),
        None => point.anonymous = true,
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        apply(&mut point, option)?;
    }
    Ok(point)
}

/// Whether these are options of a mount.
fn is_options(text: &str) -> bool {
    let mut point = point(MountKind::Volume, "/");
    text.split(',').all(|option| apply(&mut point, option).is_ok())
}

fn apply(point: &mut MountPoint, option: &str) -> Result<()> {
    match option {
        "rw" => point.writable = true,
        "ro" | "readonly" => point.writable = false,
        "nocopy" => point.populate = false,
        // There is no SELinux between a guest and its share.
        "z" | "Z" | "rprivate" | "private" => {}
        "shared" | "rshared" | "slave" | "rslave" => {
            return Err(Error::Invalid(format!(
                "invalid mode: {option}: the mounts of a container are in a VM, where the host's cannot appear; use rprivate"
            )));
        }
        _ => {
            point.freshness =
                freshness(option).ok_or_else(|| Error::Invalid(format!("invalid mode: {option}")))?
        }
    }
    Ok(())
}

/// How soon changes are seen, in Docker's words for it and in ours.
fn freshness(text: &str) -> Option<Freshness> {
    match text {
        "default" => Some(Freshness::Second),
        "strict" | "consistent" => Some(Freshness::Strict),
        "cached" | "delegated" => Some(Freshness::Cached),
        _ => None,
    }
}

/// A path in the container without `.`, `..` and what is too much of `/`.
/// A volume that an image declares: nothing but a place. An image has no say in what is mounted there.
///
/// # Errors
/// When it is no place in a container.
pub fn declared(path: &str) -> Result<MountPoint> {
    let destination = destination_of(MountKind::Volume, path).map_err(Error::Invalid)?;
    Ok(MountPoint { anonymous: true, ..point(MountKind::Volume, &destination) })
}

fn destination_of(kind: MountKind, path: &str) -> Result<String, String> {
    let kind = match kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
    };
    clean(path).map_err(|why| format!("invalid mount config for type \"{kind}\": {why}"))
}

fn clean(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(format!("invalid mount path: '{path}' mount path must be absolute"));
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A name that a volume can have.
///
/// # Errors
/// When it cannot.
pub fn checked_name(name: &str) -> Result<&str> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let fits = name.len() <= 200 && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if fits && name.len() > 1 && name.chars().all(inner) {
        return Ok(name);
    }
    Err(Error::Invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )))
}

/// `--mount KEY=VALUE,…`.
///
/// # Errors
/// When it is not one, in Docker's words.
pub fn mount(text: &str) -> Result<Asked> {
    let invalid =
        |why: String| Error::Invalid(format!("invalid argument \"{text}\" for \"--mount\" flag: {why}"));
    let (mut kind, mut source, mut target) = ("volume".to_owned(), None, None);
    let mut options = Vec::new();
    for field in fields(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.to_ascii_lowercase(), None),
        };
        match (&*key, value) {
            ("type", Some(value)) => kind = value.to_ascii_lowercase(),
            ("source" | "src", Some(value)) => source = Some(value),
            ("target" | "dst" | "destination", Some(value)) => target = Some(value),
            ("readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive", value) => options.push((key, value)),
            (_, None) => return Err(invalid(format!("invalid field '{field}' must be a key=value pair"))),
            (_, value) => options.push((key, value)),
        }
    }
    let target = target.ok_or_else(|| invalid("target is required".to_owned()))?;
    let shared = match &*kind {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => return tmpfs(&target, source.as_deref(), &options).map_err(invalid),
        other => {
            return Err(invalid(format!(
                "mount type \"{other}\" is not supported; use bind, volume or tmpfs"
            )));
        }
    };
    let mut point = point(shared, &destination_of(shared, &target).map_err(invalid)?);
    match (shared, source) {
        (MountKind::Bind, Some(path)) if path.starts_with('/') || path.starts_with('.') => {
            point.source = std::path::absolute(&path).map_err(|error| invalid(error.to_string()))?;
        }
        (MountKind::Bind, Some(path)) => {
            return Err(invalid(format!(
                "invalid mount config for type \"bind\": invalid mount path: '{path}' mount path must be absolute"
            )));
        }
        (MountKind::Bind, None) => {
            return Err(invalid(
                "invalid mount config for type \"bind\": field Source must not be empty".to_owned(),
            ));
        }
        (MountKind::Volume, Some(name)) => point.name = Some(checked_name(&name)?.to_owned()),
        (MountKind::Volume, None) => point.anonymous = true,
    }
    for (key, value) in options {
        configure(&mut point, &key, value.as_deref()).map_err(invalid)?;
    }
    Ok(Asked::Shared(Box::new(point)))
}

/// The fields of a line of comma-separated values.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

fn is_true(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "true" | "TRUE" | "True" | "t") => Ok(true),
        Some("0" | "false" | "FALSE" | "False" | "f") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other}")),
    }
}

fn configure(point: &mut MountPoint, key: &str, value: Option<&str>) -> Result<(), String> {
    let text = value.unwrap_or_default();
    let number = || {
        text.parse::<u32>().map_err(|_| format!("invalid value for {key}: {text}: it is the number of an id"))
    };
    match key {
        "readonly" | "ro" => point.writable = !is_true(key, value)?,
        "volume-nocopy" => point.populate = !is_true(key, value)?,
        "consistency" => {
            point.freshness = freshness(text).ok_or_else(|| {
                format!("invalid value for consistency: {text}; it is strict, default or cached")
            })?;
        }
        "uid" => point.owner = Some((number()?, point.owner.unwrap_or_default().1)),
        "gid" => point.owner = Some((point.owner.unwrap_or_default().0, number()?)),
        "bind-propagation" if matches!(text, "rprivate" | "private") => {}
        "bind-propagation" => {
            return Err(format!(
                "bind-propagation={text}: the mounts of a container are in a VM, where the host's cannot appear; use rprivate"
            ));
        }
        "bind-recursive" if text == "enabled" => {}
        "volume-driver" if text == "local" => {}
        "volume-label" => {}
        "bind-recursive" | "bind-nonrecursive" | "volume-driver" | "volume-opt" | "volume-subpath" => {
            return Err(format!("{key}={text} is not supported"));
        }
        _ => return Err(format!("unexpected key '{key}' in '{key}={text}'")),
    }
    Ok(())
}

fn tmpfs(target: &str, source: Option<&str>, options: &[(String, Option<String>)]) -> Result<Asked, String> {
    if source.is_some() {
        return Err("invalid mount config for type \"tmpfs\": field Source must not be specified".to_owned());
    }
    let mut all = Vec::new();
    for (key, value) in options {
        let text = value.as_deref().unwrap_or_default();
        match &**key {
            "tmpfs-size" => all.push(format!("size={text}")),
            "tmpfs-mode" => all.push(format!("mode={text}")),
            "readonly" | "ro" if is_true(key, value.as_deref())? => all.push("ro".to_owned()),
            "readonly" | "ro" | "consistency" => {}
            _ => return Err(format!("unexpected key '{key}' in '{key}={text}'")),
        }
    }
    let target = clean(target).map_err(|why| format!("invalid mount config for type \"tmpfs\": {why}"))?;
    Ok(Asked::Tmpfs(target, all.join(",")))
}

#[cfg(test)]
#[path = "parse_test.rs"]
mod tests;
