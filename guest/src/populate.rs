//! A new volume gets what the image has in its place, with owners, modes and times.
//!
//! Done by the agent before the container starts: nobody else sees either side. A link in the image is copied, and none is followed on
//! the way to what is copied but inside the root.

use std::{collections::HashMap, ffi::CStr};

use hull_protocol::{Mount, SHARE, SHARE_TAG};
use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{
        self, AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
        fstat,
    },
    io::{self, Errno},
    mount::{self, MountFlags, UnmountFlags},
};

use crate::failure::Failure;

/// Where the share is mounted meanwhile: a container's root is not there yet.
const PLACE: &str = "/c";
/// Bytes that are copied at once.
const PIECE: usize = 64 << 10;
/// Deepest directory that is copied: a descriptor or two are open for each above it.
const DEEPEST: usize = 200;

/// Gives each of these mounts that is a new volume what is in its place below `root`.
///
/// # Errors
/// When the share cannot be mounted or the volume not be written.
pub fn populate(mounts: &[Mount], root: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut wanted = mounts.iter().filter(|mount| mount.populate && mount.kind == SHARE).peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    mount::mount(SHARE_TAG, PLACE, "virtiofs", MountFlags::NODEV, c"")
        .map_err(|error| Failure::internal("cannot mount the file share", error))?;
    let done = wanted.try_for_each(|mount| {
        one(mount, root).map_err(|error| {
            Failure::internal(format_args!("cannot fill the volume at {}", mount.destination), error)
        })
    });
    let _ = mount::unmount(PLACE, UnmountFlags::DETACH);
    done
}

fn one(mount: &Mount, root: BorrowedFd<'_>) -> io::Result<()> {
    const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let volume = fs::openat(CWD, format!("{PLACE}/{}", mount.source), DIRECTORY, Mode::empty())?;
    match fs::openat2(root, &*mount.destination, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(image) => Copying { volume: &volume, links: HashMap::new() }.directory(&image, &volume, "", 0),
        // The image has nothing there.
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What is in a directory.
fn names(directory: &OwnedFd) -> io::Result<impl Iterator<Item = std::ffi::CString> + use<>> {
    let entries = Dir::read_from(directory)?.flatten();
    Ok(entries
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| !matches!(name.to_bytes(), b"." | b"..")))
}

/// A volume that is being filled.
struct Copying<'a> {
    volume: &'a OwnedFd,
    /// Where in the volume files are that have several names, by the image's device and number.
    links: HashMap<(u64, u64), String>,
}

impl Copying<'_> {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, path: &str, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(Errno::LOOP);
        }
        for name in names(from)? {
            let name = &*name;
            let about = fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(about.st_mode) {
                FileType::Directory => {
                    let open = |at: &OwnedFd| {
                        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                        fs::openat(at, name, flags, Mode::empty())
                    };
                    fs::mkdirat(to, name, Mode::RWXU)?;
                    let inner = format!("{path}{}/", name.to_string_lossy());
                    self.directory(&open(from)?, &open(to)?, &inner, depth + 1)?;
                    continue;
                }
                FileType::RegularFile if self.is_linked(&about, to, name) => continue,
                FileType::RegularFile => {
                    file(from, to, name)?;
                    // A name that is no text is copied by itself.
                    if let (2.., Ok(name)) = (about.st_nlink, name.to_str()) {
                        self.links.insert((about.st_dev, about.st_ino), format!("{path}{name}"));
                    }
                }
                FileType::Symlink => fs::symlinkat(&*fs::readlinkat(from, name, Vec::new())?, to, name)?,
                kind => fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, about.st_rdev)?,
            }
            own(to, name, &about)?;
        }
        let about = fstat(from)?;
        own(to, c".", &about)
    }

    /// Makes another name for a file that is there already; false when there is none, or it cannot have one more.
    fn is_linked(&self, about: &Stat, to: &OwnedFd, name: &CStr) -> bool {
        let known = self.links.get(&(about.st_dev, about.st_ino));
        known.is_some_and(|known| fs::linkat(self.volume, &**known, to, name, AtFlags::empty()).is_ok())
    }
}

fn file(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> io::Result<()> {
    let source = fs::openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut piece = vec![0; PIECE];
    loop {
        let count = io::read(&source, &mut piece[..])?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &piece[..count];
        while !rest.is_empty() {
            rest = rest.get(io::write(&target, rest)?..).unwrap_or_default();
        }
    }
}

/// Gives a copy owner, mode and times of what it is a copy of.
fn own(directory: &OwnedFd, name: &CStr, about: &Stat) -> io::Result<()> {
    let link = FileType::from_raw_mode(about.st_mode) == FileType::Symlink;
    let (uid, gid) = (Uid::from_raw(about.st_uid), Gid::from_raw(about.st_gid));
    fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !link {
        fs::chmodat(directory, name, Mode::from_raw_mode(about.st_mode & 0o7777), AtFlags::empty())?;
    }
    let time = |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    let times = Timestamps {
        last_access: time(about.st_atime, about.st_atime_nsec),
        last_modification: time(about.st_mtime, about.st_mtime_nsec),
    };
    fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}
