//! Everything about a container, as `docker inspect` shows it.

use serde_json::{Value, json};

use super::{
    Description,
    state::{Folder, State, Status},
};

/// Docker's document about a container, as far as hull has what it says.
pub fn inspect(folder: &Folder, description: &Description, state: &State) -> Value {
    let args = description.config.args();
    let (path, args) = match args.split_first() {
        Some((path, args)) => (path.as_str(), args),
        None => ("", &[][..]),
    };
    json!({
        "Id": description.id,
        "Created": description.created,
        "Path": path,
        "Args": args,
        "State": {
            "Status": state.status.name(),
            "Running": state.status.is_up(),
            "Paused": state.status == Status::Paused,
            "Restarting": false,
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
        "RestartCount": 0,
        "Platform": "linux",
        "HostConfig": description.host_config,
        "Mounts": description.mounts,
        "Config": description.config,
    })
}
