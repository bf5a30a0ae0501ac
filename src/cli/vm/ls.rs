//! `hull vm ls`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::{
    cli::table,
    config::Name,
    vm::plain::{Description, State, Status, Store, ending},
};

/// The arguments of `hull vm ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
}

impl Ls {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let all = Store::open()?.list()?;
        if self.json {
            all.iter().for_each(|vm| println!("{}", line(vm)));
        } else {
            let rows: Vec<_> = all.iter().map(row).collect();
            print!("{}", table::render(["NAME", "VCPUS", "MEMORY", "CREATED", "STATUS"], &rows));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row((name, description, state): &(Name, Description, State)) -> [String; 5] {
    let machine = &description.vm.machine;
    let status = match state.status {
        Status::Exited => format!("exited: {}", ending(state.reason.as_ref()).0),
        other => other.name().to_owned(),
    };
    // Some of it is a guest's doing, which must not move the cursor.
    let status = status.replace(char::is_control, "?");
    [
        name.to_string(),
        machine.vcpus.to_string(),
        machine.memory.to_string(),
        description.created.clone(),
        status,
    ]
}

fn line((name, description, state): &(Name, Description, State)) -> serde_json::Value {
    let Description { created, vm, snapshot, .. } = description;
    let disks: Vec<_> =
        vm.disks.iter().map(|disk| json!({"Path": disk.path, "ReadOnly": disk.read_only})).collect();
    let reason = (state.status == Status::Exited).then(|| ending(state.reason.as_ref()).0);
    json!({
        "Name": name, "Vcpus": vm.machine.vcpus, "Memory": vm.machine.memory.0, "CreatedAt": created,
        "State": state.status.name(), "StartedAt": state.started_at, "FinishedAt": state.finished_at,
        "Reason": reason, "Disks": disks, "Snapshot": snapshot,
    })
}
