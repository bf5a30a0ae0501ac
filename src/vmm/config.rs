//! What a VMM process is told at its start: everything a VM is, with every file as a descriptor.
//!
//! The keeper writes this as JSON into a file, whose descriptor is the first that it [delivers](super::delivery); every `Fd` is one of
//! those that follow. The VMM opens no path.

use hull_devices::fs::Policy;
use serde::{Deserialize, Serialize};

/// A descriptor that the VMM is handed: which, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fd(pub u32);

/// The size of a VM. A VMM is told of it when it is started, before anything else is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmSize {
    /// Bytes that it begins with, a multiple of 2 MiB.
    pub memory: u64,
    /// Bytes that it has addresses for beside these, a multiple of 2 MiB.
    pub growth: u64,
    /// Virtual CPUs, 1 to 32.
    pub vcpus: u8,
}

/// What is in a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmmConfig {
    /// How it begins.
    pub start: Start,
    /// The devices, in the order the guest finds them (`vda`, `vdb`, …).
    pub devices: Vec<DeviceConfig>,
    /// Samples of the guest's instruction pointer are written here, for `hull bench boot --profile`.
    pub profile: Option<Fd>,
}

/// How a VM begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Start {
    /// It boots a kernel.
    Boot {
        /// Kernel image: ELF `vmlinux` or bzImage.
        kernel: Fd,
        /// Initial RAM disk.
        initrd: Option<Fd>,
        /// Whose kernel it is, which decides how it learns of its hardware and what else it is told.
        kernel_kind: KernelKind,
        /// The kernel's command line. The VMM puts in front of it what every kernel is told, and appends what describes
        /// devices.
        command_line: String,
    },
    /// It goes on from a snapshot, of a VM with as many CPUs, as much memory and the same devices.
    Snapshot {
        /// The file, see [`super::snapshot`].
        file: Fd,
        /// If that has only what differs from another: the other, what that differs from, and so on.
        below: Vec<Fd>,
        /// The guest finds that the time since the snapshot has passed, so that its date is right; or else that none has.
        advance_clock: bool,
        /// Who serves the memory, if not the file.
        served: Option<Served>,
    },
}

/// A process that serves a VM's memory page by page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// A connection to it (`SOCK_STREAM`).
    pub socket: Fd,
    /// `/dev/userfaultfd`, where the system has it for us.
    pub device: Option<Fd>,
}

/// Whose kernel a VM boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelKind {
    /// hull's own: told by an MP table and of its devices on the command line, with which it boots sooner.
    Hull,
    /// Any other: told by reduced-hardware ACPI.
    Foreign,
}

/// A device of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DeviceConfig {
    /// virtio-console, `hvc0`.
    Console {
        /// Read for the guest's input; `None` gives it none.
        input: Option<Fd>,
        /// Written with the guest's output.
        output: Fd,
    },
    /// A 16550 at 0x3f8, `ttyS0`: for early boot messages and foreign kernels.
    Serial {
        /// Read for the guest's input; `None` gives it none.
        input: Option<Fd>,
        /// Written with the guest's output.
        output: Fd,
    },
    /// virtio-blk over one file or block device.
    Disk {
        /// The file.
        file: Fd,
        /// Refuse writes.
        read_only: bool,
        /// Serial number the guest reads, at most 20 bytes.
        serial: String,
    },
    /// virtio-blk over the concatenation of read-only layers, each padded to 4 KiB.
    Layers {
        /// The files, in order.
        files: Vec<Fd>,
    },
    /// virtio-vsock; its connections travel over the control socket.
    Vsock {
        /// The guest's address, 3 or above.
        cid: u32,
    },
    /// virtio-rng from the host's `getrandom`.
    Entropy,
    /// virtio-balloon, by which the guest gives back memory that is free.
    Balloon,
    /// virtio-net, `eth0`; connected by [`super::control::KeeperMessage::Network`].
    Network {
        /// Its Ethernet address; in a VM that goes on from a snapshot it is the one that it had there.
        mac: [u8; 6],
        /// Largest packet, in bytes.
        mtu: u16,
    },
    /// virtio-mem: memory beside what the VM begins with, of which it has none before [`super::control::KeeperMessage::Memory`], and
    /// at most what [`VmSize::growth`] says. One at most.
    Memory,
    /// virtio-fs: directories and files of the host. A VM whose share has a root is confined further, see [`super::confinement`].
    /// One at most.
    Share {
        /// What the guest sees, as `0`, `1`, … in the file system with the tag [`hull_protocol::SHARE_TAG`].
        roots: Vec<SharedRoot>,
    },
}

/// A directory or file that a guest sees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SharedRoot {
    /// It, opened with `O_PATH`.
    pub place: Fd,
    /// How the guest sees it.
    pub policy: Policy,
}
