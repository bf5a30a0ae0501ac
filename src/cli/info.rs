//! `hull info` and `hull version`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::{Value, json};

use super::output;
use crate::{
    assets::Assets,
    container::{
        Host,
        state::{Status, Store},
    },
    folders, image,
};

/// Show what there is: containers, images, and the host
#[derive(Debug, Args)]
pub struct Info {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show the version of hull and of what it works with
#[derive(Debug, Args)]
pub struct Version {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Info {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let containers = Store::open()?.list()?;
        let count = |wanted: fn(Status) -> bool| {
            containers.iter().filter(|(_, _, state)| wanted(state.status)).count()
        };
        let (host, system) = (Host::this(), rustix::system::uname());
        let about = [
            ("Containers", json!(containers.len())),
            ("ContainersRunning", json!(count(|status| status == Status::Running))),
            ("ContainersPaused", json!(count(|status| status == Status::Paused))),
            ("ContainersStopped", json!(count(|status| !status.needs_keeper()))),
            ("Images", json!(image::Store::open()?.images()?.len())),
            ("ServerVersion", json!(env!("CARGO_PKG_VERSION"))),
            ("KernelVersion", json!(system.release().to_string_lossy())),
            ("Architecture", json!(system.machine().to_string_lossy())),
            ("NCPU", json!(host.cpus)),
            ("MemTotal", json!(host.memory)),
            ("Name", json!(system.nodename().to_string_lossy())),
            ("StateDir", json!(folders::state())),
            ("GuestAssets", json!(assets())),
        ];
        print(self.json, &about)
    }
}

impl Version {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let system = rustix::system::uname();
        let about = [
            ("Version", json!(env!("CARGO_PKG_VERSION"))),
            ("Os", json!("linux")),
            ("Arch", json!(system.machine().to_string_lossy())),
            ("KernelVersion", json!(system.release().to_string_lossy())),
            ("GuestAssets", json!(assets())),
        ];
        print(self.json, &about)
    }
}

/// Where guest kernel and rootfs are.
fn assets() -> Option<PathBuf> {
    let kernel = Assets::find().ok()?.kernel();
    kernel.parent().map(PathBuf::from)
}

fn print(json: bool, about: &[(&str, Value)]) -> anyhow::Result<ExitCode> {
    if json {
        let about: serde_json::Map<_, _> =
            about.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        return output::print(&format!("{}\n", Value::Object(about)));
    }
    let width = about.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lines = about.iter().map(|(name, value)| format!("{:width$}{}\n", format!("{name}:"), shown(value)));
    output::print(&lines.collect::<String>())
}
