//! What was asked of a container, with Docker's names: `config.json` in its folder, and most of `inspect`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize};

use super::{ContainerId, ContainerName, health::HealthCheck, mount::MountPoint, restart::RestartPolicy};
use crate::{
    config::Name,
    image::Digest,
    network::{control::Protocol, egress::Allowed, rate::Rate, wire::Mac},
};

/// A container as it was created. Changes afterwards only by a rename, by `hull update` and by `hull network connect` and `disconnect`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Description {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// When it was created.
    pub created: String,
    /// Id of its image.
    pub image: Digest,
    /// What runs in it.
    pub config: Config,
    /// What it may use of the host.
    pub host_config: HostConfig,
    /// What of the host is mounted in it, in that order.
    #[serde(default)]
    pub mounts: Vec<MountPoint>,
    /// How it is in its network.
    #[serde(default)]
    pub networking: Endpoint,
    /// Networks that it is in beside that, in the order in which it came there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_networks: Vec<MoreNetwork>,
}

/// A network that a container is in beside the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MoreNetwork {
    /// Its name.
    pub network: String,
    /// How the container is in it.
    #[serde(flatten)]
    pub endpoint: Endpoint,
}

/// How a container is in its network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// What it is called by others, beside its name.
    pub aliases: Vec<String>,
    /// The address that it wants.
    pub address: Option<Ipv4Addr>,
    /// The Ethernet address that it wants.
    pub mac_address: Option<Mac>,
    /// Whom it may call, if that is not everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<Allowed>>,
    /// How fast it may speak and be spoken to, if not as fast as can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// What runs in a container, independent of the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// Host name inside.
    pub hostname: String,
    /// `name`, `uid`, `name:group`, …; empty is root.
    pub user: String,
    /// The creating command attached its input.
    pub attach_stdin: bool,
    /// And its output.
    pub attach_stdout: bool,
    /// And its errors.
    pub attach_stderr: bool,
    /// It has a terminal.
    pub tty: bool,
    /// It has an input.
    pub open_stdin: bool,
    /// The input ends with the first front end's.
    pub stdin_once: bool,
    /// Ports that it listens on, as far as anybody says.
    pub exposed_ports: BTreeSet<Port>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Arguments, or command and arguments when there is no entry point.
    pub cmd: Option<Vec<String>>,
    /// The image, as it was asked for.
    pub image: String,
    /// Working directory; empty is `/`.
    pub working_dir: String,
    /// Command that `cmd` is given to.
    pub entrypoint: Option<Vec<String>>,
    /// Free text, by name.
    pub labels: BTreeMap<String, String>,
    /// Signal that `stop` sends, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds that `stop` waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// How it is found out whether it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthCheck>,
}

impl Config {
    /// The command line: entry point and command.
    pub fn args(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).flatten().cloned().collect()
    }
}

/// What a container may use of the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// Its network; empty is the one that is there without being made.
    pub network_mode: String,
    /// Where its ports are reached from outside.
    pub port_bindings: BTreeMap<Port, Vec<PortBinding>>,
    /// So are all those that it exposes, anywhere.
    pub publish_all_ports: bool,
    /// Name servers that it asks, instead of its network's.
    pub dns: Vec<String>,
    /// Options of its resolver.
    pub dns_options: Vec<String>,
    /// Where it looks for names without dots, instead of where the host does.
    pub dns_search: Vec<String>,
    /// Addresses that it knows by name, `NAME:ADDRESS`.
    pub extra_hosts: Vec<String>,
    /// Memory limit in bytes; 0 is none but the VM's.
    pub memory: u64,
    /// CPUs in billionths; 0 is all of the VM's.
    pub nano_cpus: u64,
    /// Most processes; `None` is no limit.
    pub pids_limit: Option<u32>,
    /// The root is read-only.
    pub readonly_rootfs: bool,
    /// Mount options of tmpfs mounts, by path.
    pub tmpfs: BTreeMap<String, String>,
    /// Folders of the host and volumes, as `-v` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binds: Option<Vec<String>>,
    /// Containers whose volumes and folders it has, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes_from: Option<Vec<String>>,
    /// Capabilities beyond the default ones.
    pub cap_add: Vec<String>,
    /// Default capabilities it does not have.
    pub cap_drop: Vec<String>,
    /// All capabilities, all devices, nothing hidden.
    pub privileged: bool,
    /// A small init is PID 1.
    pub init: bool,
    /// It is a whole system, whose own init is PID 1; decided by its command when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<bool>,
    /// Removed when it ends.
    pub auto_remove: bool,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// `no-new-privileges`, `seccomp=unconfined`.
    pub security_opt: Vec<String>,
    /// Paths that cannot be seen.
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written.
    pub readonly_paths: Vec<String>,
    /// Whether it is started again when it ends.
    pub restart_policy: RestartPolicy,
    /// How its output is kept.
    pub log_config: LogConfig,
    /// Groups that its process is in, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// How likely the kernel is to kill its process for want of memory, -1000 to 1000.
    pub oom_score_adj: i16,
    /// Kernel parameters of its namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Its share of its VM's CPU time among the containers there, 2 to 262144; 0 is that of one which says nothing, 1024.
    pub cpu_shares: u64,
    /// Microseconds of CPU time that it may use ...
    pub cpu_quota: i64,
    /// ... in so many.
    pub cpu_period: u64,
    /// Memory that it keeps where its VM has little left, in bytes; 0 is nothing.
    pub memory_reservation: u64,
    /// Most memory and swap together, in bytes, -1 without a limit; 0 is unset. Guests have no swap.
    pub memory_swap: i64,
    /// How fast disks of its VM are read and written, in bytes and in operations a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blkio_device_read_bps: Vec<DeviceRate>,
    /// See there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blkio_device_write_bps: Vec<DeviceRate>,
    /// See there.
    #[serde(rename = "BlkioDeviceReadIOps", skip_serializing_if = "Vec::is_empty")]
    pub blkio_device_read_iops: Vec<DeviceRate>,
    /// See there.
    #[serde(rename = "BlkioDeviceWriteIOps", skip_serializing_if = "Vec::is_empty")]
    pub blkio_device_write_iops: Vec<DeviceRate>,
    /// CPUs of its VM that it may use, as `0-1,3`; empty is all.
    pub cpuset_cpus: String,
    /// The VM that it shares with others; it has one of its own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<Name>,
    /// Free text for whoever runs containers, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How a container's output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// Docker's name for it; there is one kind.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `max-size` and `max-file`.
    pub config: BTreeMap<String, String>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { kind: "json-file".to_owned(), config: BTreeMap::new() }
    }
}

/// A port of a container, written `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Whose number.
    pub protocol: Protocol,
}

/// Where a port is reached from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortBinding {
    /// Address of the host; empty is all.
    pub host_ip: String,
    /// Port of the host, or several of which it is to have one (`8000-8010`); empty is any.
    pub host_port: String,
}

/// How fast a disk may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceRate {
    /// Its path in the guest.
    pub path: String,
    /// Most in a second.
    pub rate: u64,
}

/// One resource limit; a limit of -1 is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}
