//! Networks that there are, as folders: what each is, its door, and the lock of who opens that.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{
    DEFAULT,
    address::{self, Subnet},
    subnet6::Subnet6,
};
use crate::{
    folders,
    vm::{
        folder::{self, Lock},
        timestamp,
    },
};

const CONFIG: &str = "config.json";

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// Its IPv6 addresses, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet6: Option<Subnet6>,
    /// Free text, by name.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// The networks of one user.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// This user's.
    pub fn open() -> Self {
        Self { root: folders::state().join("networks") }
    }

    /// The folder of the network of this name.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The network of this name, or whose id begins so; the one that is there without being made is made.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn get(&self, name: &str) -> anyhow::Result<Config> {
        if let Some(config) = self.look_up(name)? {
            return Ok(config);
        }
        anyhow::ensure!(
            name == DEFAULT,
            "no such network: {name}; make it with `hull network create {name}`"
        );
        match self.create(name, None, Some(Subnet6::DEFAULT), Default::default()) {
            Ok(config) => Ok(config),
            // Another has made it at the same time.
            Err(error) => self.find(name)?.ok_or(error),
        }
    }

    fn find(&self, name: &str) -> anyhow::Result<Option<Config>> {
        check_name(name)?;
        let path = self.folder(name).join(CONFIG);
        let mut config: Option<Config> =
            folder::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if let Some(config) = config.as_mut().filter(|_| name == DEFAULT) {
            // It may have been made when there was none; guests are made ready for it.
            config.subnet6 = Some(Subnet6::DEFAULT);
        }
        Ok(config)
    }

    /// The network of this name, or else the one whose id begins so, if there is just one.
    fn look_up(&self, name: &str) -> anyhow::Result<Option<Config>> {
        if let Some(config) = self.find(name)? {
            return Ok(Some(config));
        }
        let mut found = self.list()?.into_iter().filter(|config| config.id.starts_with(name));
        let one = found.next();
        Ok(if found.next().is_none() { one } else { None })
    }

    /// Makes a network.
    ///
    /// # Errors
    /// When there is one of the name, its addresses are another's, or the disk is full.
    pub fn create(
        &self,
        name: &str,
        subnet: Option<Subnet>,
        subnet6: Option<Subnet6>,
        labels: std::collections::BTreeMap<String, String>,
    ) -> anyhow::Result<Config> {
        check_name(name)?;
        let make = |path: &Path| {
            folders::make_all_private(path).with_context(|| format!("cannot make folder {}", path.display()))
        };
        make(&self.root)?;
        let _lock = folder::lock(&self.root)?;
        anyhow::ensure!(self.find(name)?.is_none(), "network with name {name} already exists");
        let others = self.list()?;
        let taken = |subnet: &Subnet| others.iter().find(|other| other.subnet.overlaps(*subnet));
        let subnet = match subnet {
            Some(subnet) => match taken(&subnet) {
                Some(other) => {
                    anyhow::bail!("{subnet} overlaps with {} of network {}", other.subnet, other.name)
                }
                None => subnet,
            },
            None => {
                let routed = address::routed();
                let free = |subnet: &Subnet| {
                    taken(subnet).is_none() && !routed.iter().any(|route| route.overlaps(*subnet))
                };
                Subnet::all()
                    .find(free)
                    .context("all ranges of addresses are in use; give one with --subnet")?
            }
        };
        let taken = |other: &&Config| subnet6.zip(other.subnet6).is_some_and(|(a, b)| a.overlaps(b));
        if let (Some(subnet), Some(other)) = (subnet6, others.iter().find(taken)) {
            anyhow::bail!("{subnet} overlaps with what network {} has", other.name)
        }
        let config = Config {
            name: name.to_owned(),
            id: crate::container::ContainerId::random().to_string(),
            created: timestamp::now(),
            subnet,
            subnet6,
            labels,
        };
        let path = self.folder(name);
        make(&path)?;
        folder::write(&path.join(CONFIG), &config)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(config)
    }

    /// All that there are, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<Config>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.root.display())),
        };
        let mut all: Vec<Config> =
            entries.filter_map(|entry| folder::read(&entry.ok()?.path().join(CONFIG)).ok()?).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Removes a network that nobody is in.
    ///
    /// # Errors
    /// When there is none of the name, or somebody is in it.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        let name = &self.look_up(name)?.with_context(|| format!("no such network: {name}"))?.name;
        anyhow::ensure!(name != DEFAULT, "bridge is a pre-defined network and cannot be removed");
        let _lock = folder::lock(&self.root)?;
        self.find(name)?.with_context(|| format!("no such network: {name}"))?;
        let path = self.folder(name);
        let door = Lock::take(&path.join(super::client::LOCK), true)
            .with_context(|| format!("cannot lock {}", path.display()))?;
        anyhow::ensure!(
            folder::connect(&path).is_err(),
            "network {name} has containers that run; stop them first"
        );
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        drop(door);
        Ok(())
    }
}

/// Whether this may be the name of a network, and so of a folder.
fn check_name(name: &str) -> anyhow::Result<()> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    anyhow::ensure!(
        first && rest && name.len() <= 128,
        "invalid network name {name:?}: letters, digits, `_`, `.` and `-` may be in it, and it begins with one of the first two"
    );
    Ok(())
}
