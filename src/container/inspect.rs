//! Everything about a container, as `docker inspect` shows it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Description,
    networking::{self, Joined},
    state::{Folder, State, Status},
};
use crate::network::{address, control::Lease};

/// Docker's document about a container, as far as hull has what it says.
pub fn inspect(folder: &Folder, description: &Description, state: &State) -> Value {
    let args = description.config.args();
    let (path, args) = match args.split_first() {
        Some((path, args)) => (path.as_str(), args),
        None => ("", &[][..]),
    };
    let mut document = json!({
        "Id": description.id,
        "Created": description.created,
        "Path": path,
        "Args": args,
        "State": {
            "Status": state.status.name(),
            "Running": state.status.is_up(),
            "Paused": state.status == Status::Paused,
            "Restarting": state.status == Status::Restarting,
            "OOMKilled": state.oom_killed,
            "Dead": state.status == Status::Dead,
            "Pid": state.keeper_pid,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": state.started_at,
            "FinishedAt": state.finished_at,
        },
        "Image": description.image.to_string(),
        "LogPath": folder.file("log"),
        "Name": format!("/{}", description.name),
        "RestartCount": state.restart_count,
        "Platform": "linux",
        "HostConfig": description.host_config,
        "Mounts": description.mounts,
        "Config": description.config,
        "NetworkSettings": network_settings(description, state),
    });
    if let Some(rate) = description.networking.rate {
        document["NetworkSettings"]["Rate"] = json!(rate);
    }
    if let Some(egress) = &description.networking.egress {
        document["NetworkSettings"]["Egress"] = json!(egress);
    }
    if let Some(health) = &state.health {
        document["State"]["Health"] = json!(health);
    }
    document
}

/// What Docker says of a container's networks, while it runs.
fn network_settings(description: &Description, state: &State) -> Value {
    let running = state.status == Status::Running;
    let joined: Vec<&Joined> = if running { state.networks().collect() } else { Vec::new() };
    let aliases = |name: &str| {
        let more = description.more_networks.iter().find(|more| more.network == name);
        &more.map_or(&description.networking, |more| &more.endpoint).aliases
    };
    let Some(Joined { lease, .. }) = joined.first() else {
        let endpoint = |name| json!({ "Aliases": aliases(name), "IPAddress": "", "MacAddress": "" });
        let all = networking::networks(description).map(|name| (name.to_owned(), endpoint(name)));
        let mut networks: serde_json::Map<_, _> = all.collect();
        if networks.is_empty() {
            networks.insert("none".to_owned(), endpoint("none"));
        }
        return json!({ "Ports": {}, "IPAddress": "", "MacAddress": "", "Gateway": "", "Networks": networks });
    };
    let mut ports: BTreeMap<String, Value> =
        description.config.exposed_ports.iter().map(|port| (port.to_string(), Value::Null)).collect();
    for bound in state.ports() {
        let place = ports.entry(format!("{}/{}", bound.inside, bound.protocol)).or_default();
        let one = json!({ "HostIp": bound.at.ip().to_string(), "HostPort": bound.at.port().to_string() });
        match place {
            Value::Array(all) => all.push(one),
            other => *other = json!([one]),
        }
    }
    let networks: serde_json::Map<_, _> = joined
        .iter()
        .map(|Joined { network, lease }| {
            let mut endpoint = has(lease);
            endpoint["Aliases"] = json!(aliases(network));
            (network.clone(), endpoint)
        })
        .collect();
    let mut settings = has(lease);
    (settings["Ports"], settings["Networks"]) = (json!(ports), json!(networks));
    settings
}

/// What a container has in a network.
fn has(lease: &Lease) -> Value {
    let v6 = lease.v6;
    json!({
        "Gateway": lease.gateway,
        "IPAddress": lease.address,
        "IPPrefixLen": lease.prefix,
        "IPv6Gateway": v6.map(|v6| v6.gateway.to_string()).unwrap_or_default(),
        "GlobalIPv6Address": v6.map(|v6| v6.address.to_string()).unwrap_or_default(),
        "GlobalIPv6PrefixLen": v6.map_or(0, |v6| v6.prefix),
        "MacAddress": address::mac_text(lease.mac),
    })
}
