//! Files of a container, opened by the agent: whatever links the image has, the kernel resolves them inside the root, and
//! nothing but a regular file is opened. To open a device is to do something to it already.

use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2},
};

/// The regular file at this path, to be read. `None` if there is none.
pub fn open(root: BorrowedFd<'_>, path: &str) -> Option<OwnedFd> {
    let open =
        |flags| openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT).ok();
    let status = fstat(open(OFlags::PATH)?).ok()?;
    let is_file = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    // It can become another only in a container that runs, by whoever has the right to open that, too.
    is_file.then(|| open(OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK)).flatten()
}
