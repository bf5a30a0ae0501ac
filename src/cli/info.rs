//! `hull info` and `hull version`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::{Value, json};

use super::{format, output};
use crate::{
    assets::Assets,
    container::{
        Host,
        state::{Status, Store},
    },
    folders, image,
    network::localhost,
};

/// Show what there is: containers, images, and the host
#[derive(Debug, Args)]
pub struct Info {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print what this template says of it instead, or json
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Show the version of hull and of what it works with
#[derive(Debug, Args)]
pub struct Version {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print what this template says of it instead, or json
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
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
            ("OperatingSystem", json!(operating_system())),
            ("OSType", json!("linux")),
            ("NCPU", json!(host.cpus)),
            ("MemTotal", json!(host.memory)),
            ("Name", json!(system.nodename().to_string_lossy())),
            ("DockerRootDir", json!(folders::state())),
            ("StateDir", json!(folders::state())),
            ("GuestAssets", json!(assets())),
            (
                "ContainerAddresses",
                json!(localhost::port().map(|port| format!("http://NAME.hull.localhost:{port}"))),
            ),
        ];
        match &self.format {
            Some(format) => format::one(format, &object(&about)),
            None => print(self.json, &about),
        }
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
        let Some(format) = &self.format else { return print(self.json, &about) };
        // Docker has a client and a server, which are one program here.
        let (mut document, whole) = (object(&about), object(&about));
        document["Client"] = whole.clone();
        document["Server"] = whole;
        format::one(format, &document)
    }
}

/// Where guest kernel and rootfs are.
fn assets() -> Option<PathBuf> {
    let kernel = Assets::find().ok()?.kernel();
    kernel.parent().map(PathBuf::from)
}

/// The distribution's name for itself.
fn operating_system() -> String {
    let about = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = about.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn object(about: &[(&str, Value)]) -> Value {
    about.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn print(json: bool, about: &[(&str, Value)]) -> anyhow::Result<ExitCode> {
    if json {
        return output::print(&format!("{}\n", object(about)));
    }
    let width = about.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lines = about.iter().map(|(name, value)| format!("{:width$}{}\n", format!("{name}:"), shown(value)));
    output::print(&lines.collect::<String>())
}
