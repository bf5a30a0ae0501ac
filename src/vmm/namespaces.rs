//! Namespaces of a process in which there is nothing of the host's but what it shares: wall 1 of [`super::confinement`].
//!
//! Some systems let anybody have namespaces and nobody do anything in them (Ubuntu 24.04, for programs that AppArmor has no profile of), and
//! a process that has entered one cannot go back. So a child of the process tries first, and what it finds is the answer for the process,
//! and for `hull doctor`.

use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Context;
use hull_devices::fs::Root;
use rustix::fs::{AtFlags, CWD, StatxFlags, readlinkat, statx};
use rustix::mount::{
    MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount, mount_change, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

/// Most bytes of a reason that are listened to.
const MOST_REASON: u64 = 4 << 10;

/// Why this process could not use namespaces, if it could not. To be called while the process has one thread.
///
/// # Errors
/// When no child can be made to try it.
pub fn refused() -> io::Result<Option<String>> {
    let (reader, writer) = io::pipe()?;
    // SAFETY: the process has one thread, so the child has all of it, and it ends without coming back.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(reader);
            let tried = enter(&mut []);
            let told = match &tried {
                Ok(()) => Ok(()),
                Err(error) => write!(&writer, "{error:#}"),
            };
            // SAFETY: ends the child at once; nothing of the parent's is flushed or run.
            unsafe { libc::_exit(i32::from(tried.is_err() || told.is_err())) }
        }
        child => {
            drop(writer);
            let mut reason = String::new();
            let heard = reader.take(MOST_REASON).read_to_string(&mut reason);
            let mut status = 0;
            // SAFETY: a good pointer, and a child of this process that nobody else waits for.
            while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            heard?;
            let good = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            let reason = if reason.is_empty() { format!("ended with status {status:#x}") } else { reason };
            Ok((!good).then_some(reason))
        }
    }
}

/// Moves into namespaces in which there is nothing but copies of the roots. The working directory is `/proc/self/fd` from then on.
///
/// # Errors
/// When the host does not allow it, and the process is somewhere on the way there; or a root is not what it was.
pub fn enter(roots: &mut [Root]) -> anyhow::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let paths: Result<Vec<_>, _> = roots.iter().map(|root| path_of(&root.place)).collect();
    let paths = paths.context("cannot find what is shared")?;
    // Root has no need of a user namespace, and in one of its own making it could give files to nobody.
    let user = if uid.is_root() { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: the process has one thread, and no memory or descriptor changes hands.
    if unsafe { libc::unshare(user | libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error()).context("cannot make namespaces");
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
    mount_change("/", private).context("cannot separate mounts from the host's")?;
    for (root, path) in roots.iter_mut().zip(&paths) {
        root.place =
            copy_mount(root, path).with_context(|| format!("cannot share {}", path.to_string_lossy()))?;
    }
    // Kept open for good by being the working directory: what was opened with O_PATH is opened for use there.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let numbers = open_tree(CWD, c"/proc/self/fd", flags).context("cannot copy /proc/self/fd")?;
    // What roots will need is asked of the host here too, so that whoever tries this without any knows.
    let harmless = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    set_attributes(&numbers, harmless).context("cannot restrict a mount")?;
    leave_root().context("cannot leave the host's files")?;
    fchdir(&numbers).context("cannot enter /proc/self/fd")
}

/// Where something is that was opened with `O_PATH`.
fn path_of(place: &OwnedFd) -> io::Result<CString> {
    Ok(readlinkat(CWD, format!("/proc/self/fd/{}", place.as_raw_fd()), Vec::new())?)
}

/// A copy of the mount at a path, with those below it, attached nowhere.
fn copy_mount(root: &Root, path: &CStr) -> anyhow::Result<OwnedFd> {
    let mut attributes = libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC
        | libc::MOUNT_ATTR_NOSYMFOLLOW;
    if root.policy.read_only {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = open_tree(CWD, path, flags).context("open_tree")?;
    set_attributes(&tree, attributes).context("mount_setattr")?;
    let identity = |place: &OwnedFd| {
        let status = statx(place, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        anyhow::Ok((status.stx_dev_major, status.stx_dev_minor, status.stx_ino))
    };
    anyhow::ensure!(identity(&tree)? == identity(&root.place)?, "it was replaced just now; try again");
    Ok(tree)
}

/// Sets attributes of a mount, and of those below it.
fn set_attributes(tree: &OwnedFd, attributes: u64) -> io::Result<()> {
    // `struct mount_attr`: what to set, to clear, propagation, user namespace.
    let attributes = [attributes, 0, 0, 0];
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
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
