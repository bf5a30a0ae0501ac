//! `hull network`.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    each::each,
    format::{self, Listing, Row},
    network_attach::{Connect, Disconnect},
};
use crate::{
    container::{
        networking,
        state::{Status, Store as Containers},
    },
    network::{
        address::mac_text,
        store::{Config, Store},
        subnet6::{Range, Subnet6},
    },
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a network, whose containers reach each other by name
    Create(Create),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Print everything about networks, as JSON
    Inspect(Inspect),
    /// Remove networks that no container is in
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Put a container into a network, also one that runs
    Connect(Connect),
    /// Take a container out of a network, also one that runs
    Disconnect(Disconnect),
    /// Remove all networks that no container uses
    Prune(Prune),
}

/// Make a network, whose containers reach each other by name
#[derive(Debug, Args)]
pub struct Create {
    /// Its addresses, of IPv4, of IPv6, or one of each; ranges that nobody has without it
    #[arg(long, value_name = "RANGE")]
    subnet: Vec<Range>,
    /// Whether it has IPv6 addresses, by which its containers find each other, too; only with this or a range of them
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Set a label
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Its kind; there is one
    #[arg(short, long, value_name = "DRIVER", value_parser = ["bridge"], default_value = "bridge")]
    driver: String,
    /// Its name
    network: String,
}

/// List networks
#[derive(Debug, Args)]
pub struct Ls {
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// How to print: table, table TEMPLATE, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Print everything about networks, as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// Print what this template says of each instead
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Remove networks that no container is in
#[derive(Debug, Args)]
pub struct Rm {
    /// Networks that are not there are no error
    #[arg(short, long)]
    force: bool,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Remove all networks that no container uses
#[derive(Debug, Args)]
pub struct Prune {
    /// Nobody is asked anyway
    #[arg(short, long)]
    force: bool,
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create(verb) => verb.run(),
            Self::Ls(verb) => verb.run(),
            Self::Inspect(verb) => verb.run(),
            Self::Rm(verb) => verb.run(),
            Self::Connect(verb) => verb.run(),
            Self::Disconnect(verb) => verb.run(),
            Self::Prune(_) => prune(),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<ExitCode> {
        let label = |text: &String| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        };
        let labels = self.label.iter().map(label).collect();
        anyhow::ensure!(
            !matches!(self.network.as_str(), "host" | "none" | "default"),
            "operation is not permitted on predefined {} network",
            self.network
        );
        let (mut subnet, mut subnet6) = (None, None);
        for range in &self.subnet {
            let again = match *range {
                Range::V4(range) => subnet.replace(range).is_some(),
                Range::V6(range) => subnet6.replace(range).is_some(),
            };
            anyhow::ensure!(!again, "a network has one range of IPv4 addresses and one of IPv6 at most");
        }
        anyhow::ensure!(
            self.ipv6.unwrap_or(true) || subnet6.is_none(),
            "conflicting options: --ipv6=false and an IPv6 subnet"
        );
        let subnet6 = subnet6.or_else(|| self.ipv6.unwrap_or(false).then(Subnet6::random));
        println!("{}", Store::open().create(&self.network, subnet, subnet6, labels)?.id);
        Ok(ExitCode::SUCCESS)
    }
}

impl Ls {
    fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open();
        // There without being made.
        store.get(crate::network::DEFAULT)?;
        let all = store.list()?;
        let id = |config: &Config| if self.no_trunc { config.id.clone() } else { config.id[..12].to_owned() };
        let row = |config: &Config| {
            let row = Row::new([
                ("ID", id(config).into()),
                ("Name", config.name.clone().into()),
                ("Driver", "bridge".into()),
                ("Scope", "local".into()),
                ("IPv4", "true".into()),
                ("IPv6", config.subnet6.is_some().to_string().into()),
                ("Internal", "false".into()),
                ("CreatedAt", format::created_at(&config.created).into()),
                ("Subnet", config.subnet.to_string().into()),
            ]);
            row.with_labels(&config.labels)
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        LISTING.print(if self.quiet { Some("{{.ID}}") } else { self.format.as_deref() }, &rows)
    }
}

/// How networks are listed.
const LISTING: Listing<'static> = Listing {
    headings: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
        ("Subnet", "SUBNET"),
    ],
    columns: &["ID", "Name", "Driver", "Scope", "Subnet"],
};

/// Everything about a network.
///
/// # Errors
/// When there is none of this name.
pub fn document(name: &str) -> anyhow::Result<Value> {
    inspect(&Store::open().get(name)?)
}

/// Whether a network's id begins so.
pub fn has_id(name: &str, id: &str) -> bool {
    !id.is_empty() && Store::open().get(name).is_ok_and(|config| config.id.starts_with(id))
}

impl Inspect {
    fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open();
        let all: Vec<Value> =
            self.networks.iter().map(|name| inspect(&store.get(name)?)).collect::<anyhow::Result<_>>()?;
        format::inspect(self.format.as_deref(), &all)
    }
}

/// Docker's document about a network, as far as hull has what it says.
fn inspect(config: &Config) -> anyhow::Result<Value> {
    let mut members = BTreeMap::new();
    for (folder, description, state) in Containers::open()?.list()? {
        if state.status == Status::Running
            && let Some(joined) = state.networks().find(|joined| joined.network == config.name)
        {
            let lease = &joined.lease;
            members.insert(
                folder.id.to_string(),
                json!({
                    "Name": description.name,
                    "MacAddress": mac_text(lease.mac),
                    "IPv4Address": format!("{}/{}", lease.address, lease.prefix),
                    "IPv6Address": lease.v6.map(|v6| format!("{}/{}", v6.address, v6.prefix)).unwrap_or_default(),
                }),
            );
        }
    }
    let mut ranges = vec![json!({ "Subnet": config.subnet, "Gateway": config.subnet.gateway() })];
    ranges.extend(config.subnet6.map(|subnet| json!({ "Subnet": subnet, "Gateway": subnet.gateway() })));
    Ok(json!({
        "Name": config.name,
        "Id": config.id,
        "Created": config.created,
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": true,
        "EnableIPv6": config.subnet6.is_some(),
        "IPAM": { "Driver": "default", "Config": ranges },
        "Internal": false,
        "Containers": members,
        "Labels": config.labels,
    }))
}

impl Rm {
    fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open();
        Ok(each(&self.networks, |name| {
            if self.force && !store.folder(name).exists() {
                return Ok(name.to_owned());
            }
            store.remove(name).map(|()| name.to_owned())
        }))
    }
}

/// Removes networks that no container uses, and prints which.
///
/// # Errors
/// When one cannot be removed.
pub fn prune() -> anyhow::Result<ExitCode> {
    let store = Store::open();
    let containers = Containers::open()?.list()?;
    for config in store.list()? {
        let used = containers
            .iter()
            .any(|(_, description, _)| networking::networks(description).any(|name| name == config.name));
        if !used && config.name != crate::network::DEFAULT {
            store.remove(&config.name)?;
            println!("{}", config.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}
