//! Everything about a container, as `docker inspect` shows it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Description,
    networking::{self, Joined},
    state::{Folder, State, Status},
};
use crate::network::address;

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
    if let Some(health) = &state.health {
        document["State"]["Health"] = json!(health);
    }
    document
}

/// What Docker says of a container's networks, while it runs.
fn network_settings(description: &Description, state: &State) -> Value {
    let running = state.status == Status::Running;
    let Some(Joined { network, lease }) = state.network.as_ref().filter(|_| running) else {
        let name = networking::network(&description.host_config).unwrap_or("none");
        let endpoint =
            json!({ "Aliases": description.networking.aliases, "IPAddress": "", "MacAddress": "" });
        return json!({ "Ports": {}, "IPAddress": "", "MacAddress": "", "Gateway": "", "Networks": { name: endpoint } });
    };
    let mut ports: BTreeMap<String, Value> =
        description.config.exposed_ports.iter().map(|port| (port.to_string(), Value::Null)).collect();
    for bound in &lease.ports {
        let place = ports.entry(format!("{}/{}", bound.inside, bound.protocol)).or_default();
        let one = json!({ "HostIp": bound.at.ip().to_string(), "HostPort": bound.at.port().to_string() });
        match place {
            Value::Array(all) => all.push(one),
            other => *other = json!([one]),
        }
    }
    let mac = address::mac_text(lease.mac);
    let endpoint = json!({
        "Aliases": description.networking.aliases,
        "Gateway": lease.gateway,
        "IPAddress": lease.address,
        "IPPrefixLen": lease.prefix,
        "MacAddress": mac,
    });
    json!({
        "Ports": ports,
        "Gateway": lease.gateway,
        "IPAddress": lease.address,
        "IPPrefixLen": lease.prefix,
        "MacAddress": mac,
        "Networks": { network: endpoint },
    })
}
