//! A user namespace for a container: its root is an ordinary user of the guest.
//!
//! As with Docker's `userns-remap`, all such containers have the same ids. Layers keep the ids that images have: they are seen through mounts
//! that shift them (mount_setattr(2), `MOUNT_ATTR_IDMAP`), so one layer serves containers with and without a user namespace. What
//! a container writes has shifted ids on the data disk, because overlayfs makes files there as the guest's root, whom a
//! shifting mount does not know.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, CWD, Mode, OFlags},
    io,
    mount::{self, MoveMountFlags, OpenTreeFlags},
};

use crate::{failure::Failure, sys};

/// How many ids a container has.
const IDS: u32 = 1 << 16;

/// What the guest calls a container's id 0.
const BASE: u32 = 1 << 16;

/// A container's user namespace.
#[derive(Debug)]
pub struct UserNamespace(OwnedFd);

impl UserNamespace {
    /// Gives a process that was made in a user namespace of its own its ids. `/proc` must be mounted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fill(pid: u32, pidfd: BorrowedFd<'_>) -> Result<Self, Failure> {
        let map = format!("0 {BASE} {IDS}\n");
        let write = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            let file = fs::openat(CWD, &*path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            io::write(file, map.as_bytes())
        };
        let filled = write("uid_map").and_then(|_| write("gid_map")).and_then(|_| sys::user_namespace(pidfd));
        match filled {
            Ok(file) => Ok(Self(file)),
            Err(error) => Err(Failure::internal("cannot set up a user namespace", error)),
        }
    }

    /// What the guest calls this id of the container.
    pub fn outside(&self, id: u32) -> u32 {
        BASE + id % IDS
    }

    /// Mounts what is at `path` a second time at `place`, with the container's ids for the guest's.
    ///
    /// # Errors
    /// When the file system cannot be mounted so.
    pub fn shift(&self, path: &str, place: &str) -> io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = mount::open_tree(CWD, path, flags)?;
        sys::shift_ids(tree.as_fd(), self.0.as_fd())?;
        mount::move_mount(&tree, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }
}
