//! Logins in Docker's `config.json`, or with the helper that it names (docker-credential-helpers' protocol).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::registry::{config_file, login_name};

/// Where a login was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Into this file, for everybody to read who can read it.
    File(PathBuf),
    /// With this helper.
    Helper(String),
}

/// Keeps the login for a registry.
///
/// # Errors
/// When the configuration cannot be read or written, or its helper fails.
pub fn store(registry: &str, user: &str, password: &str) -> anyhow::Result<Place> {
    let (path, mut config) = read()?;
    let server = login_name(registry);
    if let Some(helper) = helper(&config, server) {
        let login = json!({ "ServerURL": server, "Username": user, "Secret": password });
        call(&helper, "store", login.to_string().as_bytes())?;
        return Ok(Place::Helper(helper));
    }
    let auth = STANDARD.encode(format!("{user}:{password}"));
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    let auths =
        auths.as_object_mut().with_context(|| format!("{}: \"auths\" is no object", path.display()))?;
    auths.insert(server.to_owned(), json!({ "auth": auth }));
    write(&path, config)?;
    Ok(Place::File(path))
}

/// Forgets the login for a registry; tells whether there was one.
///
/// # Errors
/// As [`store`].
pub fn erase(registry: &str) -> anyhow::Result<bool> {
    let (path, mut config) = read()?;
    let server = login_name(registry);
    if let Some(helper) = helper(&config, server) {
        call(&helper, "erase", server.as_bytes())?;
    }
    let auths = config.get_mut("auths").and_then(Value::as_object_mut);
    let known = auths.is_some_and(|auths| auths.remove(server).is_some());
    if known {
        write(&path, config)?;
    }
    Ok(known)
}

fn read() -> anyhow::Result<(PathBuf, Map<String, Value>)> {
    let path = config_file().context("there is no home to keep a login in; set HOME or DOCKER_CONFIG")?;
    let config = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| {
            format!("{} is not Docker's configuration; put it right first", path.display())
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Ok((path, config))
}

/// Replaces the configuration as a whole; nobody else reads it.
fn write(path: &Path, config: Map<String, Value>) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let folder = path.parent().with_context(failed)?;
    crate::folders::make_all_private(folder).with_context(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    let text = serde_json::to_string_pretty(&Value::Object(config))? + "\n";
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

/// Who keeps the login for a server, if it is not the file.
fn helper(config: &Map<String, Value>, server: &str) -> Option<String> {
    let own = config.get("credHelpers").and_then(|all| all.get(server)).and_then(Value::as_str);
    let helper = own.or_else(|| config.get("credsStore").and_then(Value::as_str));
    helper.filter(|helper| !helper.is_empty()).map(str::to_owned)
}

fn call(helper: &str, verb: &str, input: &[u8]) -> anyhow::Result<()> {
    ensure!(
        !helper.contains('/'),
        "\"{helper}\" in Docker's configuration is no name of a credential helper"
    );
    let program = format!("docker-credential-{helper}");
    let child = Command::new(&program).arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child =
        child.with_context(|| format!("cannot run {program}, which Docker's configuration names"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that reads nothing says why.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && !said.contains("credentials not found") {
        bail!("{program} {verb} failed: {}", said.trim());
    }
    Ok(())
}
