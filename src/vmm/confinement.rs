//! What a VMM sees of the host's files when it shares some with its guest: those, and nothing else.
//!
//! Three walls stand behind the seccomp lists, the first two raised before the process makes its first thread:
//!
//! 1. **Namespaces.** The process moves into a user namespace (root needs none) and a mount namespace of its own whose root is empty. What is shared it has as
//!    copies of mounts that are attached nowhere (`open_tree(2)`): `..` at the top of one leads back to it, and no
//!    link in it is followed, no device opened, no set-user-id bit honoured, by the kernel, whoever asks. A folder shared read-only is a
//!    read-only mount.
//! 2. **Landlock.** No file outside of the roots can be opened, whatever descriptor one begins at; none can be executed; no TCP port
//!    bound or connected to.
//! 3. **Capabilities** are given up, but for those that root on the host needs for giving files away.
//!
//! On hosts that allow ordinary users no namespaces landlock stands alone; without both nothing is shared.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::Context;
use hull_devices::fs::{Limits, Owners, Root, Share};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, StatxFlags, readlinkat, statx};
use rustix::mount::{
    MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount, mount_change, open_tree, unmount,
};
use rustix::process::{Resource, Rlimit, chdir, fchdir, getrlimit, pivot_root, setrlimit, umask};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::config::{DeviceConfig, VmmConfig};
use super::descriptors::Descriptors;

/// Descriptors that a VMM needs beside those of a share.
const OTHER_DESCRIPTORS: u64 = 512;
/// Most files that are held open for what a guest knows of, and that it has open.
const MOST_PLACES: u64 = 16 << 10;
const MOST_HANDLES: u64 = 32 << 10;

/// What this VM shares with its guest, if anything; confines the process if so. To be called before it has threads.
///
/// # Errors
/// When a root is not what it was, or the host can confine nothing.
pub fn share(config: &VmmConfig, descriptors: &Descriptors) -> anyhow::Result<Option<Share>> {
    let mut devices = config.devices.iter();
    let roots = devices.find_map(|device| match device {
        DeviceConfig::Share { roots } if !roots.is_empty() => Some(roots),
        _ => None,
    });
    let Some(roots) = roots else { return Ok(None) };
    let mut opened = Vec::new();
    for root in roots {
        opened.push(Root { place: descriptors.take(root.place)?, policy: root.policy });
    }
    let limits = limits().context("cannot raise the limit of open files")?;
    // Kept open for good by being the working directory: what was opened with O_PATH is opened for use there.
    let namespaces = enter_namespaces(&mut opened)?;
    if !namespaces {
        chdir("/proc/self/fd").context("cannot enter /proc/self/fd")?;
    }
    umask(Mode::empty());
    let landlock = restrict(&opened).context("landlock")?;
    anyhow::ensure!(
        namespaces || landlock,
        "this host has neither user namespaces nor landlock to confine a VM with that sees the host's files; allow one of them \
         (`hull doctor` says how)"
    );
    let privileged = roots.iter().any(|root| root.policy.owners == Owners::Same);
    give_up_capabilities(privileged).context("cannot give up capabilities")?;
    Ok(Some(Share::new(opened, limits).context("cannot look at what is shared")?))
}

/// Has the process have as many descriptors as it may, and divides them.
fn limits() -> io::Result<Limits> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let free = maximum.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS).max(64);
    let places = (free / 2).min(MOST_PLACES);
    Ok(Limits { places: places as usize, handles: (free - places).min(MOST_HANDLES) as usize })
}

/// Moves into namespaces in which there is nothing but copies of the roots. False where the host allows none.
fn enter_namespaces(roots: &mut [Root]) -> anyhow::Result<bool> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let paths: Result<Vec<_>, _> = roots.iter().map(|root| path_of(&root.place)).collect();
    let paths = paths.context("cannot find what is shared")?;
    // Root has no need of a user namespace, and in one of its own making it could give files to nobody.
    let user = if uid.is_root() { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: the process has one thread, and no memory or descriptor changes hands.
    if unsafe { libc::unshare(user | libc::CLONE_NEWNS) } != 0 {
        return Ok(false);
    }
    if user != 0 {
        // Who this is stays who it is.
        let write = |name: &str, text: &str| {
            let path = format!("/proc/self/{name}");
            std::fs::write(&path, text).with_context(|| format!("cannot write {path}"))
        };
        write("setgroups", "deny")?;
        write("uid_map", &format!("{0} {0} 1", uid.as_raw()))?;
        write("gid_map", &format!("{0} {0} 1", gid.as_raw()))?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    if mount_change("/", private).is_err() {
        // Some systems let anybody have the namespaces, and nobody anything in them.
        return Ok(false);
    }
    for (root, path) in roots.iter_mut().zip(&paths) {
        root.place =
            copy_mount(root, path).with_context(|| format!("cannot share {}", path.to_string_lossy()))?;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let numbers = open_tree(CWD, c"/proc/self/fd", flags).context("cannot copy /proc/self/fd")?;
    leave_root().context("cannot leave the host's files")?;
    fchdir(&numbers).context("cannot enter /proc/self/fd")?;
    Ok(true)
}

/// Where something is that was opened with `O_PATH`.
fn path_of(place: &OwnedFd) -> io::Result<CString> {
    Ok(readlinkat(CWD, format!("/proc/self/fd/{}", place.as_raw_fd()), Vec::new())?)
}

/// A copy of the mount at a path, with those below it, attached nowhere.
fn copy_mount(root: &Root, path: &CStr) -> anyhow::Result<OwnedFd> {
    // `struct mount_attr`: what to set, to clear, propagation, user namespace.
    let mut attributes = [
        libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC
            | libc::MOUNT_ATTR_NOSYMFOLLOW,
        0,
        0,
        0,
    ];
    if root.policy.read_only {
        attributes[0] |= libc::MOUNT_ATTR_RDONLY;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = open_tree(CWD, path, flags).context("open_tree")?;
    // SAFETY: the structure is of the size that is given, and lives until the call returns.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error()).context("mount_setattr");
    }
    let identity = |place: &OwnedFd| {
        let status = statx(place, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        anyhow::Ok((status.stx_dev_major, status.stx_dev_minor, status.stx_ino))
    };
    anyhow::ensure!(identity(&tree)? == identity(&root.place)?, "it was replaced just now; try again");
    Ok(tree)
}

/// Makes an empty file system the root, and lets go of the old one.
fn leave_root() -> io::Result<()> {
    // Any directory will do to put it on.
    mount(
        c"none",
        c"/proc",
        c"tmpfs",
        MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
        c"size=0",
    )?;
    chdir(c"/proc")?;
    pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    chdir(c"/")?;
    Ok(())
}

/// Confines the process by landlock, as far as the kernel has it. False where it has none.
fn restrict(roots: &[Root]) -> anyhow::Result<bool> {
    let all = AccessFs::from_all(ABI::V5);
    let never = make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | MakeFifo | MakeSock | IoctlDev});
    let mut rules = Ruleset::default()
        .handle_access(all)?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    for root in roots {
        let status = statx(&root.place, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
        let directory = FileType::from_raw_mode(status.stx_mode.into()) == FileType::Directory;
        let of_kind: BitFlags<AccessFs> = if directory { all } else { AccessFs::from_file(ABI::V5) };
        let wanted = if root.policy.read_only { AccessFs::from_read(ABI::V5) } else { all };
        rules = rules.add_rule(PathBeneath::new(root.place.as_fd(), of_kind & wanted & !never))?;
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// Keeps, of all capabilities, what root needs to make files anybody's.
fn give_up_capabilities(privileged: bool) -> io::Result<()> {
    let kept = if privileged {
        CapabilitySet::CHOWN
            | CapabilitySet::DAC_OVERRIDE
            | CapabilitySet::DAC_READ_SEARCH
            | CapabilitySet::FOWNER
            | CapabilitySet::FSETID
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}
