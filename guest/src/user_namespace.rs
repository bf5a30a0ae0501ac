//! A user namespace for a container: its root is an ordinary user of the guest.
//!
//! Each container gets 65536 ids of its own. Its layers and its writable layer keep the ids that images have: they are seen
//! through mounts that shift them (mount_setattr(2), `MOUNT_ATTR_IDMAP`), so a layer is shared by containers with different ids,
//! and a writable layer does not care which ids its container has this time.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, CWD, Mode, OFlags},
    io,
    mount::{self, MoveMountFlags, OpenTreeFlags},
};

use crate::{failure::Failure, sys};

/// How many ids a container has.
const IDS: u32 = 1 << 16;

/// A container's user namespace.
#[derive(Debug)]
pub struct UserNamespace {
    file: OwnedFd,
    base: u32,
}

impl UserNamespace {
    /// Gives the process behind a pidfd, which was made in a user namespace of its own, the ids that belong to `number`, which is
    /// unique to its container. `/proc` must be mounted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fill(pid: u32, pidfd: BorrowedFd<'_>, number: u32) -> Result<Self, Failure> {
        // Never the guest's own ids, and never beyond the 31 bits that everything takes.
        let base = (number % 0x7ffe + 1) * IDS;
        let map = format!("0 {base} {IDS}\n");
        let write = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            let file = fs::openat(CWD, &*path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            io::write(file, map.as_bytes())
        };
        let filled = write("uid_map").and_then(|_| write("gid_map")).and_then(|_| sys::user_namespace(pidfd));
        match filled {
            Ok(file) => Ok(Self { file, base }),
            Err(error) => Err(Failure::internal("cannot set up a user namespace", error)),
        }
    }

    /// What the guest calls this id of the container.
    pub fn outside(&self, id: u32) -> u32 {
        self.base + id % IDS
    }

    /// Mounts what is at `path` a second time at `place`, with the container's ids for the guest's.
    ///
    /// # Errors
    /// When the file system cannot be mounted so.
    pub fn shift(&self, path: &str, place: &str) -> io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = mount::open_tree(CWD, path, flags)?;
        sys::shift_ids(tree.as_fd(), self.file.as_fd())?;
        mount::move_mount(&tree, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }
}
