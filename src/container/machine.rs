//! The VM of a container: its files, opened, and its devices, which are the same for every container.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use hull_devices::fs::Policy;
use hull_protocol::{Extent, Network};

use super::{
    error::{Error, Result},
    sizing::VmSize,
};
use crate::{
    assets::Assets,
    vm::launch::{self, Descriptors, Newborn},
    vmm::config::{DeviceConfig, KernelKind, SharedRoot, Start, VmmConfig},
};

/// Hull's own kernel and guest rootfs; what describes the devices and works round the host is the VMM's to add.
pub const COMMAND_LINE: &str = "console=hvc0 root=/dev/vda rootfstype=erofs init=/init";
/// The guest's address on vsock. Each VM has a vsock of its own, so all can have the same.
const GUEST_CID: u32 = 3;
/// Layers begin at multiples of this on the layer disk.
pub const LAYER_ALIGNMENT: u64 = 4096;

/// Names a file that samples of the guest's instruction pointer are written to, for `hull bench boot --profile`.
pub const PROFILE_VARIABLE: &str = "HULL_PROFILE";

/// What a VMM is to be started with.
#[derive(Debug)]
pub struct Machine {
    /// The VM.
    pub config: VmmConfig,
    /// Its files.
    pub descriptors: Descriptors,
    /// The guest rootfs.
    pub rootfs: File,
    /// Where each layer of the image is on the layer disk, lowest first.
    pub layers: Vec<Extent>,
}

/// What a VM is made of, besides what is the same for all.
pub struct Parts<'a> {
    /// The layers of its image, lowest first.
    pub layers: Vec<File>,
    /// Its data disk.
    pub data_disk: File,
    /// The VM it goes on from; it boots if there is none.
    pub snapshot: Option<File>,
    /// What the host shares with it.
    pub roots: Vec<(OwnedFd, Policy)>,
    /// Where its console goes.
    pub console: &'a OwnedFd,
}

/// Describes a VM for containers.
///
/// # Errors
/// When a file cannot be opened; the message says what to do.
pub fn describe(parts: Parts<'_>) -> Result<Machine> {
    let Parts { layers: files, data_disk, snapshot, roots, console } = parts;
    let failed = |error: io::Error| Error::Keeper(format!("cannot prepare: {error}"));
    let assets = Assets::find().map_err(Error::missing)?;
    let open = |path: PathBuf| Assets::open(&path).map_err(Error::missing);
    let mut descriptors = Descriptors::default();
    let start = match snapshot {
        // The agent sets the clock.
        Some(snapshot) => Start::Snapshot {
            file: descriptors.add(snapshot),
            below: Vec::new(),
            advance_clock: false,
            served: None,
        },
        None => Start::Boot {
            kernel: descriptors.add(open(assets.kernel())?),
            initrd: None,
            command_line: COMMAND_LINE.to_owned(),
            kernel_kind: KernelKind::Hull,
        },
    };
    let output = descriptors.add(console.as_fd().try_clone_to_owned().map_err(failed)?);
    let rootfs_file = open(assets.rootfs())?;
    let rootfs = descriptors.add(rootfs_file.try_clone().map_err(failed)?);
    let (mut layers, mut extents, mut offset) = (Vec::new(), Vec::new(), 0);
    for file in files {
        let length = file.metadata().map_err(failed)?.len().next_multiple_of(LAYER_ALIGNMENT);
        extents.push(Extent { offset, length });
        offset += length;
        layers.push(descriptors.add(file));
    }
    let data = descriptors.add(data_disk);
    let profile = match std::env::var_os(PROFILE_VARIABLE) {
        Some(path) => Some(descriptors.add(File::options().write(true).open(path).map_err(failed)?)),
        None => None,
    };
    let roots = roots
        .into_iter()
        .map(|(place, policy)| SharedRoot { place: descriptors.add(place), policy })
        .collect();
    let disk =
        |file, read_only, serial: &str| DeviceConfig::Disk { file, read_only, serial: serial.to_owned() };
    let config = VmmConfig {
        start,
        devices: vec![
            DeviceConfig::Console { input: None, output },
            disk(rootfs, true, "rootfs"),
            DeviceConfig::Layers { files: layers },
            disk(data, false, "data"),
            DeviceConfig::Vsock { cid: GUEST_CID },
            DeviceConfig::Entropy,
            DeviceConfig::Balloon,
            DeviceConfig::Memory,
            DeviceConfig::Share { roots },
            DeviceConfig::Network { mac: Network::FIRST.mac, mtu: crate::network::MTU },
        ],
        profile,
    };
    Ok(Machine { config, descriptors, rootfs: rootfs_file, layers: extents })
}

/// Starts the VMM of a VM of this size, which comes up while all else is opened that its VM is made of.
///
/// # Errors
/// When `/dev/kvm` cannot be opened, with what to do about it; or the process is out of descriptors.
pub fn begin(size: VmSize) -> Result<Newborn> {
    let kvm = launch::open_kvm().map_err(|error| Error::Missing(error.to_string()))?;
    launch::start(kvm, size).map_err(not_started)
}

/// What to call an error from a VMM that is not to be had.
pub fn not_started(error: io::Error) -> Error {
    Error::Keeper(format!("cannot start the VMM: {error}"))
}
