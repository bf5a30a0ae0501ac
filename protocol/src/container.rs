//! What a container and a process in it are, as the host describes them to the agent.

use serde::{Deserialize, Serialize};

/// A container: a root file system, limits and what its processes may see.
///
/// Its namespaces are always its own (mount, PID, network, IPC, UTS, cgroup; user when [`Container::user_namespace`]). The network of
/// the first in a guest is the guest's own, which nobody else there uses, unless it has a user namespace.
/// One whose masked and read-only paths, `shm_size` and sysctls are those of [`crate::defaults`] starts sooner than others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// 64 hexadecimal digits; names the writable layer.
    pub id: String,
    /// Host name in its UTS namespace.
    pub hostname: String,
    /// Read-only layers on the layer disk, the lowest first.
    pub layers: Vec<Extent>,
    /// Mount the root read-only (`--read-only`).
    pub read_only: bool,
    /// Further mounts, in this order, after `/proc`, `/dev`, `/sys` and their like.
    pub mounts: Vec<Mount>,
    /// Files written into the root before the start, such as `/etc/hosts`. Bind-mounted, so the layer keeps its own.
    pub files: Vec<File>,
    /// Its networks, the first of which leads to everybody else; without one it has its loopback only.
    pub networks: Vec<Network>,
    /// Limits of its cgroup.
    pub limits: Limits,
    /// Paths hidden behind `/dev/null` or an empty directory.
    pub masked_paths: Vec<String>,
    /// Paths made read-only.
    pub read_only_paths: Vec<String>,
    /// `--privileged`: all devices, `/sys` and the cgroup tree writable.
    pub privileged: bool,
    /// It is a whole system, whose first process is an init: its cgroup tree is its own to divide, with every controller; and
    /// `SIGRTMIN+3`, by which systemd is asked to shut down, becomes what another init understands.
    pub system: bool,
    /// A new user namespace, in which the container's root is an unprivileged user of the guest.
    pub user_namespace: bool,
    /// `/dev/shm`, in bytes; 0 means 64 MiB.
    pub shm_size: u64,
    /// Kernel parameters of its namespaces, as (`net.ipv4.ip_forward`, `1`).
    pub sysctls: Vec<(String, String)>,
    /// It is one of several that share the guest, all of which say so: each has a network namespace of its own, with a card beside the
    /// guest's, and reaches no device but those that Docker's containers have, unless it is privileged.
    pub shared: bool,
    /// The container, by id, whose network namespace it has instead of one of its own.
    pub network_of: Option<String>,
}

/// A range of the layer disk that holds one EROFS image. Both are multiples of 4096 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// An image, as far as it is of use before there is a container of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Its layers, lowest first.
    pub layers: Vec<Extent>,
    /// What its containers execute.
    pub command: String,
    /// Where they look for it, unless that is Docker's default.
    pub path: Option<String>,
}

/// A file system to mount in the container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Type, such as `tmpfs`.
    pub kind: String,
    /// Source, as `mount(2)` has it.
    pub source: String,
    /// Absolute path in the container; made when absent, resolved inside the container's root.
    pub destination: String,
    /// Options as `mount(8)` has them: `ro`, `nosuid`, `size=64m`.
    pub options: Vec<String>,
    /// It is a file and not a directory.
    pub file: bool,
    /// It is a directory with nothing in it, and first gets what the container's root has in its place.
    pub populate: bool,
}

/// The [`Mount::kind`] of what the host shares; its source is the name of a root of the guest's file share.
pub const SHARE: &str = "share";

/// A small file the host provides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute path in the container.
    pub path: String,
    /// Content.
    pub content: String,
}

/// A network as a guest's card `eth0` is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The card's Ethernet address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub address: std::net::Ipv4Addr,
    /// Bits that all addresses of the network have in common.
    pub prefix: u8,
    /// Who knows the way to all others.
    pub gateway: std::net::Ipv4Addr,
    /// Ethernet address of that.
    pub gateway_mac: [u8; 6],
    /// What it has there of IPv6.
    #[serde(default)]
    pub v6: Option<NetworkV6>,
}

/// A network as a guest's card is in it by IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkV6 {
    /// Its address.
    pub address: std::net::Ipv6Addr,
    /// Bits that all addresses of the network have in common.
    pub prefix: u8,
    /// Who knows the way to all others; with the same Ethernet address as by IPv4.
    pub gateway: std::net::Ipv6Addr,
}

impl Network {
    /// The first container's in the first network there is, which a guest is made ready for before it is known which it will
    /// be in.
    pub const FIRST: Self = Self {
        mac: [0x02, 0x42, 172, 17, 0, 2],
        address: std::net::Ipv4Addr::new(172, 17, 0, 2),
        prefix: 16,
        gateway: std::net::Ipv4Addr::new(172, 17, 0, 1),
        gateway_mac: [0x02, 0x42, 172, 17, 0, 1],
        v6: Some(NetworkV6 {
            address: std::net::Ipv6Addr::new(0xfd68, 0x756c, 0x6c00, 0, 0, 0, 0, 2),
            prefix: 64,
            gateway: std::net::Ipv6Addr::new(0xfd68, 0x756c, 0x6c00, 0, 0, 0, 0, 1),
        }),
    };
}

/// What a container is called that goes on as another: its processes find out when they look again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Renaming {
    /// Host name in its UTS namespace.
    pub hostname: String,
    /// Files that the host provided ([`Container::files`]) and that say so, too.
    pub files: Vec<Rewrite>,
}

/// New content of a small file, if nobody has changed the old.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// Absolute path in the container.
    pub path: String,
    /// Content that it had.
    pub old: String,
    /// Content that it gets.
    pub new: String,
}

/// Limits of a container's cgroup (version 2); absent means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// `memory.max`, in bytes.
    pub memory: Option<u64>,
    /// Most memory that the guest can get to have, in bytes; it gets no more than it has when absent.
    pub guest_memory: Option<u64>,
    /// CPUs that it sees (`cpuset.cpus`); all of the guest's when absent.
    pub cpus: Option<u8>,
    /// CPUs in thousandths: 1500 is one and a half (`cpu.max`).
    pub cpu_millis: Option<u32>,
    /// `pids.max`; the highest number is no limit.
    pub pids: Option<u32>,
    /// Those of them that it may run on, as `0-1,3`; empty is all.
    pub cpuset: String,
    /// Its share of CPU time among others, 1 to 10,000 (`cpu.weight`).
    pub cpu_weight: Option<u16>,
    /// How often `cpu_millis` is counted anew, in microseconds; 100,000 when absent.
    pub cpu_period: Option<u32>,
    /// What it keeps where memory is short, in bytes (`memory.low`).
    pub memory_low: Option<u64>,
    /// How fast it reads and writes the guest's disks (`io.max`).
    pub disks: Vec<DiskLimit>,
}

/// How fast a disk is read or written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLimit {
    /// Its path in the guest, such as `/dev/vdc`.
    pub device: String,
    /// What is counted.
    pub what: DiskCount,
    /// Most of it in a second.
    pub rate: u64,
}

/// What is counted of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskCount {
    /// Bytes that are read.
    ReadBytes,
    /// Bytes that are written.
    WriteBytes,
    /// Reads.
    Reads,
    /// Writes.
    Writes,
}

/// A process to run in a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Command and arguments; the command is looked up in `PATH` of `env` when it has no slash.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory, made when absent as Docker does.
    pub cwd: String,
    /// As Docker's `-u`: `name`, `uid`, `name:group`, `uid:gid`; empty is root. Names come from the container's own files.
    pub user: String,
    /// Size of its terminal; `None` is no terminal.
    pub terminal: Option<WindowSize>,
    /// Capabilities, a bit each as `linux/capability.h` numbers them: bounding, permitted and effective set.
    pub capabilities: u64,
    /// The seccomp filter, one `struct sock_filter` a number: code << 48 | jt << 40 | jf << 32 | k. Empty is none.
    pub seccomp: Vec<u64>,
    /// `no_new_privs`.
    pub no_new_privileges: bool,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Run a small init as the process's parent that forwards signals and reaps (`--init`).
    pub init: bool,
    /// Groups that it is in, too, by name or number.
    pub groups: Vec<String>,
    /// `oom_score_adj`, -1000 to 1000; 0 leaves it as it is.
    pub oom_score_adj: i16,
    /// Run the guest's own tool, with these `args`, and no program of the container's.
    pub tool: Option<Tool>,
}

/// Where the guest's tool for the files of containers (`hull-tool`) runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// In the container's namespaces: it sees what the container's processes see.
    Inside,
    /// In the guest's own, outside of any container: it is told the container's cgroup, its writable layer (`-` without one), and the
    /// layers below that, the topmost first, behind its arguments.
    Beside,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` number.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// Host ports that the agent connects the streams of a process to, before it reports the process as started.
///
/// `None` is `/dev/null`. With a terminal only `stdin` (input) and `stdout` (output) are used. The host half-closes the
/// connection of `stdin` at the end of input; the agent closes the connections of `stdout` and `stderr` when the
/// container's side is drained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stdio {
    /// Port for standard input.
    pub stdin: Option<u32>,
    /// Port for standard output.
    pub stdout: Option<u32>,
    /// Port for standard error.
    pub stderr: Option<u32>,
}
