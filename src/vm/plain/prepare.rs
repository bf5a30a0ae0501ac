//! Opens what a VM is made of, and describes it to its VMM.

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::MetadataExt, net::UnixStream},
    },
    path::Path,
};

use anyhow::Context;
use rustix::{
    fs::{FlockOperation, SeekFrom, flock, seek},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use serde::{Deserialize, Serialize};

use super::Description;
use crate::{
    assets::Assets,
    config::{Console, Disk},
    vm::launch::Descriptors,
    vmm::config::{DeviceConfig, KernelKind, Served, Start, VmmConfig},
};

/// Where userfaultfds come from for whoever may open it (Linux 6.1).
const FAULT_DEVICE: &str = "/dev/userfaultfd";

/// A VM that is ready to be started.
pub struct Prepared {
    /// What its VMM is told.
    pub config: VmmConfig,
    /// What its VMM inherits.
    pub descriptors: Descriptors,
    /// The pipe that the guest's input goes into, if it has a console; non-blocking.
    pub input: Option<OwnedFd>,
    /// The writable disks, by their place.
    pub disks: Vec<(usize, OwnedFd)>,
}

/// What tells whether a disk is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// When it was last changed: seconds since 1970 and nanoseconds. Not of a block device, which does not say.
    pub modified: Option<(i64, i64)>,
}

impl Stamp {
    /// A disk's.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn of(disk: &File) -> std::io::Result<Self> {
        let about = disk.metadata()?;
        let modified = about.is_file().then(|| (about.mtime(), about.mtime_nsec()));
        Ok(Self { size: seek(disk, SeekFrom::End(0))?, modified })
    }
}

/// Opens what the VM is made of; its console is written to `console`.
///
/// # Errors
/// When something is not there, cannot be opened, is used by another VM, or is not what the guest knows.
pub fn prepare(description: &Description, console: &OwnedFd) -> anyhow::Result<Prepared> {
    let file = &description.vm;
    let mut descriptors = Descriptors::default();
    let start = start(description, &mut descriptors)?;

    let (mut devices, mut disks) = (Vec::new(), Vec::new());
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&write, true)?;
    let mut input = Some(write);
    let output = descriptors.add(console.try_clone()?);
    match file.console {
        Console::Virtio => devices.push(DeviceConfig::Console { input: Some(descriptors.add(read)), output }),
        Console::Serial => devices.push(DeviceConfig::Serial { input: Some(descriptors.add(read)), output }),
        Console::None => input = None,
    }
    devices.push(DeviceConfig::Entropy);
    if file.machine.balloon {
        devices.push(DeviceConfig::Balloon);
    }
    for (index, disk) in file.disks.iter().enumerate() {
        let opened = open_disk(disk)?;
        if let Some(stamp) = description.stamps.get(&index) {
            check(disk, &opened, *stamp)?;
        }
        if !disk.read_only {
            disks.push((index, opened.as_fd().try_clone_to_owned()?));
        }
        devices.push(DeviceConfig::Disk {
            file: descriptors.add(opened),
            read_only: disk.read_only,
            serial: format!("disk{index}"),
        });
    }
    let config = VmmConfig { start, devices, profile: None };
    Ok(Prepared { config, descriptors, input, disks })
}

/// Opens what the VM begins with.
fn start(description: &Description, descriptors: &mut Descriptors) -> anyhow::Result<Start> {
    let kernel = &description.vm.kernel;
    let mut open = |what: &str, path: &Path| {
        let file = File::open(path).with_context(|| format!("cannot open the {what} {}", path.display()))?;
        anyhow::Ok(descriptors.add(file))
    };
    if let Some(snapshot) = &description.snapshot {
        let file = open("snapshot", snapshot)?;
        let below = description.below.iter().map(|below| open("snapshot", below));
        let below = below.collect::<Result<_, _>>()?;
        let served = description.fault_handler.as_deref();
        let served = served.map(|path| serve(path, descriptors)).transpose()?;
        return Ok(Start::Snapshot { file, below, advance_clock: true, served });
    }
    let initrd = kernel.initrd.as_ref().map(|path| open("RAM disk", path)).transpose()?;
    let (image, kernel_kind) = match &kernel.image {
        Some(path) => (open("kernel", path)?, KernelKind::Foreign),
        None => (descriptors.add(Assets::open(&Assets::find()?.kernel())?), KernelKind::Hull),
    };
    Ok(Start::Boot { kernel: image, initrd, command_line: kernel.command_line.clone(), kernel_kind })
}

/// Connects to the page fault handler that listens at this path.
fn serve(path: &Path, descriptors: &mut Descriptors) -> anyhow::Result<Served> {
    let socket = UnixStream::connect(path).with_context(|| {
        format!("no page fault handler answers at {}; start it before the VM", path.display())
    })?;
    // Without it there is the system call, which most systems let only root use.
    let device = File::options().read(true).write(true).open(FAULT_DEVICE).ok();
    let device = device.map(|device| descriptors.add(device));
    Ok(Served { socket: descriptors.add(socket), device })
}

/// Opens a disk and locks it: for this VM alone when it writes, with other readers when it does not.
fn open_disk(disk: &Disk) -> anyhow::Result<File> {
    let path = disk.path.display();
    let file = File::options().read(true).write(!disk.read_only).open(&disk.path);
    let file = file.with_context(|| format!("cannot open the disk {path}"))?;
    let lock = if disk.read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match flock(&file, lock) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => anyhow::bail!(
            "the disk {path} is in use by another VM; stop that one, or give both the disk with read_only = true"
        ),
        Err(error) => Err(error).with_context(|| format!("cannot lock the disk {path}")),
    }
}

/// A guest that goes on has parts of its disks in its memory.
fn check(disk: &Disk, opened: &File, expected: Stamp) -> anyhow::Result<()> {
    let path = disk.path.display();
    let found = Stamp::of(opened).with_context(|| format!("cannot look at the disk {path}"))?;
    anyhow::ensure!(
        found == expected,
        "the disk {path} has changed since the snapshot was taken; put it back as it was (with its time: `cp -p`), or take \
         the snapshot again"
    );
    Ok(())
}
