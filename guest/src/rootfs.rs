//! A container's root: its layers and a writable one, put together by overlayfs (Documentation/filesystems/overlayfs.rst).

use std::ffi::CStr;

use hull_protocol::{Container, Extent};
use rustix::{
    fd::OwnedFd,
    fs::{self, Access, CWD, Dir, Gid, Mode, OFlags, Uid},
    io::{self, Errno},
    mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags},
};

use crate::{
    failure::Failure,
    layers::{Layer, Layers, MOST},
    user_namespace::UserNamespace,
};

/// Lowest layer of every container, on the guest rootfs: the directories and empty files that mounts need as targets, so that they
/// are not made anew in each writable layer. Docker does it with a layer of its own, too.
const SKELETON: &str = "/skeleton";

/// Where the data disk is mounted.
const DATA: &str = "/data";

/// A new data disk has the directories of one writable layer (tools/make-guest): to rename them is less work than to make others.
const SPARE: &str = "/data/spare";

/// A data disk is large and almost empty. Reading all its bitmaps in the background, a tree of all its metadata to check each block
/// number against, and zeroing inode tables are for disks that are otherwise: here they would cost more than everything else
/// a container's start does on it.
const DATA_OPTIONS: &CStr = c"no_prefetch_block_bitmaps,noblock_validity,noinit_itable";

/// Where the writable layer of a read-only container is mounted while its root is put together.
const SCRATCH: &str = "/c";

/// The disk that keeps the writable layers.
#[derive(Debug)]
pub struct DataDisk {
    device: String,
    mounted: bool,
}

/// A root, mounted nowhere yet.
#[derive(Debug)]
pub struct Root {
    /// The mount; attached by the container's first process.
    pub mount: OwnedFd,
    layers: Vec<Layer>,
}

impl DataDisk {
    /// The disk with this device file.
    pub fn new(device: String) -> Self {
        Self { device, mounted: false }
    }

    /// Mounts it, if it is not.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mount(&mut self) -> Result<(), Failure> {
        if !self.mounted {
            // The atime of files in the writable layer is overlayfs's affair; directories above it need none.
            mount::mount(&*self.device, DATA, c"ext4", MountFlags::NOATIME, DATA_OPTIONS).map_err(
                |error| Failure::internal(format_args!("cannot mount the data disk {}", self.device), error),
            )?;
            self.mounted = true;
        }
        Ok(())
    }

    /// Writes it and unmounts it, if it is mounted. True when nothing holds it any more.
    pub fn unmount(&mut self) -> bool {
        if self.mounted {
            fs::sync();
            self.mounted = mount::unmount(DATA, UnmountFlags::empty()).is_err();
        }
        !self.mounted && self.is_free()
    }

    /// Whether no file system is mounted from it anywhere: an overlay of a container that has just ended lets go of it a moment
    /// after its last process is gone.
    fn is_free(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
        !matches!(fs::openat(CWD, &*self.device, flags, Mode::empty()), Err(Errno::BUSY))
    }
}

impl Root {
    /// Puts the root of a container together.
    ///
    /// # Errors
    /// When a layer cannot be mounted, or the writable layer cannot be made.
    pub fn build(
        container: &Container,
        layers: &mut Layers,
        data: &mut DataDisk,
        user_namespace: Option<&UserNamespace>,
    ) -> Result<Self, Failure> {
        Self::of(&container.layers, layers, |used| {
            if container.read_only {
                return scratch(used, user_namespace);
            }
            data.mount()?;
            let base = directory(&container.id);
            // Fails once it is used, and where a container is started again.
            let moved = fs::renameat(CWD, SPARE, CWD, &*base).is_ok();
            // Where several share the disk the only one may be another's.
            if !moved && (container.shared || !take_only_one(&base)) {
                make_directory(&base)?;
            }
            overlay(used, &base, user_namespace)
        })
    }

    /// Puts a root together for a container that is not known yet.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn spare(
        number: usize,
        extents: &[Extent],
        layers: &mut Layers,
        data: &mut DataDisk,
    ) -> Result<Self, Failure> {
        Self::of(extents, layers, |used| {
            data.mount()?;
            let base = spare(number);
            make_directory(&base)?;
            overlay(used, &base, None)
        })
    }

    /// Gives the writable layer of the spare root with this number to the container with this id.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn claim_spare(number: usize, id: &str) -> Result<(), Failure> {
        fs::renameat(CWD, spare(number), CWD, &*directory(id))
            .map_err(|error| Failure::internal("cannot give the container a writable layer", error))
    }

    fn of(
        extents: &[Extent],
        layers: &mut Layers,
        mount: impl FnOnce(&[Layer]) -> Result<OwnedFd, Failure>,
    ) -> Result<Self, Failure> {
        let count = extents.len();
        if count > MOST {
            return Err(Failure::invalid(format!("the image has {count} layers, {MOST} are possible")));
        }
        let mut used = Vec::with_capacity(count);
        let acquired = extents.iter().try_for_each(|extent| layers.acquire(*extent).map(|l| used.push(l)));
        match acquired.and_then(|()| mount(&used)) {
            Ok(mount) => Ok(Self { mount, layers: used }),
            Err(failure) => {
                used.into_iter().for_each(|layer| layers.release(layer));
                Err(failure)
            }
        }
    }

    /// Where its layers are mounted, the topmost first.
    pub fn layers(&self) -> impl Iterator<Item = String> {
        self.layers.iter().rev().map(Layer::path).chain([SKELETON.to_owned()])
    }

    /// Lets go of it. It is gone when the container's processes are, too.
    pub fn release(self, layers: &mut Layers) {
        self.layers.into_iter().for_each(|layer| layers.release(layer));
    }
}

/// Where the writable layer of the container with this id is, as an overlay has it.
pub fn upper(id: &str) -> String {
    format!("{}/upper", directory(id))
}

/// The directory with the writable layer of a spare root.
fn spare(number: usize) -> String {
    if number == 0 { SPARE.to_owned() } else { format!("{SPARE}-{number}") }
}

/// The directory with the writable layer of the container with this id.
pub fn directory(id: &str) -> String {
    format!("{DATA}/{id}")
}

/// Whether the container with this id has a writable layer, on a data disk that is mounted.
pub fn has_layer(id: &str) -> bool {
    fs::access(directory(id), Access::EXISTS).is_ok()
}

/// Makes the only writable layer that there is this one, if it is not there: the disk of a copy of a container has it under the
/// id of what it was copied from.
fn take_only_one(base: &str) -> bool {
    if fs::access(base, Access::EXISTS).is_ok() {
        return true;
    }
    let open = fs::openat(CWD, DATA, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Ok(entries) = open.and_then(Dir::read_from) else { return false };
    let is_id = |name: &[u8]| name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit);
    let names = entries.flatten().map(|entry| entry.file_name().to_owned());
    let mut layers = names.filter(|name| is_id(name.to_bytes()));
    match (layers.next(), layers.next()) {
        (Some(only), None) => {
            let from = format!("{DATA}/{}", only.to_string_lossy());
            fs::renameat(CWD, &*from, CWD, base).is_ok()
        }
        _ => false,
    }
}

/// A root whose writable layer is in memory: only mount targets that the image lacks get into it, before the root is made
/// read-only.
fn scratch(layers: &[Layer], user_namespace: Option<&UserNamespace>) -> Result<OwnedFd, Failure> {
    mount::mount(c"tmpfs", SCRATCH, c"tmpfs", MountFlags::empty(), c"mode=755")
        .map_err(|error| Failure::internal("cannot mount a scratch layer", error))?;
    let root = overlay(layers, SCRATCH, user_namespace);
    // The overlay keeps its own reference.
    let _ = mount::unmount(SCRATCH, UnmountFlags::DETACH);
    root
}

/// An overlay of these layers, the lowest first, with `upper` and `work` below `base`.
///
/// Index, metacopy, xino and redirect_dir stay at the kernel's defaults, which are off: a writable layer must stay a plain one
/// that other kernels and a helper VM can read.
fn overlay(layers: &[Layer], base: &str, user_namespace: Option<&UserNamespace>) -> Result<OwnedFd, Failure> {
    for name in ["upper", "work"] {
        let path = format!("{base}/{name}");
        make_directory(&path)?;
        if let Some(namespace) = user_namespace {
            let owner = namespace.outside(0);
            fs::chown(&*path, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))
                .map_err(|error| Failure::internal(format_args!("cannot give {path} away"), error))?;
        }
    }
    let mut shifted = Shifted { user_namespace, count: 0 };
    let mut build = || {
        let context = mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        mount::fsconfig_set_string(&context, c"source", c"overlay")?;
        // First, while the path is not covered by shifted layers.
        mount::fsconfig_set_string(&context, c"upperdir", format!("{base}/upper"))?;
        mount::fsconfig_set_string(&context, c"workdir", format!("{base}/work"))?;
        for layer in layers.iter().rev() {
            mount::fsconfig_set_string(&context, c"lowerdir+", shifted.path(layer.path())?)?;
        }
        mount::fsconfig_set_string(&context, c"lowerdir+", shifted.path(SKELETON.to_owned())?)?;
        mount::fsconfig_create(&context)?;
        mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    build().map_err(|error| Failure::internal("cannot mount the root file system", error))
}

/// What a container with a user namespace sees of layers: mounts with its ids, one on top of the other, for as long as it takes
/// to make an overlay of them, which keeps references of its own.
struct Shifted<'a> {
    user_namespace: Option<&'a UserNamespace>,
    count: u32,
}

impl Shifted<'_> {
    /// Where to find what is at `path` with the container's ids; the path itself without a user namespace.
    fn path(&mut self, path: String) -> io::Result<String> {
        let Some(namespace) = self.user_namespace else { return Ok(path) };
        namespace.shift(&path, SCRATCH)?;
        self.count += 1;
        Ok(SCRATCH.to_owned())
    }
}

impl Drop for Shifted<'_> {
    fn drop(&mut self) {
        for _ in 0..self.count {
            let _ = mount::unmount(SCRATCH, UnmountFlags::DETACH);
        }
    }
}

fn make_directory(path: &str) -> Result<(), Failure> {
    match fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        // A container that is started again.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(Failure::internal(format_args!("cannot make {path}"), error)),
    }
}
