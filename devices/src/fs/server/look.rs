//! Names and what they stand for: looking up, attributes, links, the file system.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, fstatvfs};
use rustix::fs::{
    CWD, FileType, Mode, OFlags, Statx, Timespec, Timestamps, ftruncate, readlinkat, utimensat,
};
use rustix::io::Errno;

use super::super::wire::{Answer, Attributes, Entry, ROOT_ID, Validity};
use super::node::{Found, open_in, status};
use super::owner::Ownership;
use super::{Freshness, Request, Result, Share, by_number};

/// What is to be set (`FATTR_*`).
mod set {
    pub const MODE: u32 = 1;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const FH: u32 = 1 << 6;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
    pub const KILL_SET_ID: u32 = 1 << 11;
}

/// `UTIME_NOW` and `UTIME_OMIT`.
const NOW: i64 = 0x3fff_ffff;
const OMIT: i64 = 0x3fff_fffe;

impl Share {
    pub(super) fn lookup(&self, request: &mut Request<'_>) -> Result<Answer> {
        let name = request.arguments.name()?;
        let parent = request.header.node;
        if parent == ROOT_ID {
            return self.lookup_root(name);
        }
        match self.enter(parent, name) {
            Ok(entry) => Ok(Answer::default().entry(&entry)),
            Err(Errno::NOENT) if self.believes_absence(parent) => {
                let valid = Freshness::Cached.validity();
                Ok(Answer::default().entry(&Entry { valid, ..Entry::default() }))
            }
            Err(error) => Err(error),
        }
    }

    fn believes_absence(&self, parent: u64) -> bool {
        let found = self.node(parent);
        found.is_ok_and(|found| self.policy(found.root).freshness == Freshness::Cached)
    }

    /// Finds a name in a directory, and tells the guest of it.
    pub(super) fn enter(&self, parent: u64, name: &[u8]) -> Result<Entry> {
        let directory = self.node(parent)?;
        let place = self.open_entry(&directory, name)?;
        self.admit(parent, directory.root, name, place)
    }

    /// Opens what is in a directory under a name.
    pub(super) fn open_entry(&self, directory: &Found, name: &[u8]) -> Result<OwnedFd> {
        let open = || open_in(&directory.place, name);
        self.in_spite_of_permissions(&directory.place, directory.root, open)
    }

    /// Tells the guest of what was found.
    pub(super) fn admit(&self, parent: u64, root: usize, name: &[u8], place: OwnedFd) -> Result<Entry> {
        let status = status(&place)?;
        let attributes = self.attributes(&place, root, &status);
        let node = self.nodes().remember(parent, name, Arc::new(place), &status)?;
        Ok(Entry { node, valid: self.validity(root), attributes })
    }

    fn lookup_root(&self, name: &[u8]) -> Result<Answer> {
        let index = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()).ok_or(Errno::NOENT)?;
        let id = self.nodes().root(index).ok_or(Errno::NOENT)?;
        let attributes = self.attributes_of(id)?;
        Ok(Answer::default().entry(&Entry { node: id, valid: self.validity(index), attributes }))
    }

    pub(super) fn validity(&self, root: usize) -> Validity {
        self.policy(root).freshness.validity()
    }

    fn attributes_of(&self, node: u64) -> Result<Attributes> {
        let found = self.node(node)?;
        Ok(self.attributes(&found.place, found.root, &status(&found.place)?))
    }

    pub(super) fn get_attributes(&self, request: &mut Request<'_>) -> Result<Answer> {
        let node = request.header.node;
        if node == ROOT_ID {
            let mode = FileType::Directory.as_raw_mode() | 0o555;
            let attributes =
                Attributes { ino: ROOT_ID, mode, nlink: 2, block_size: 4096, ..Default::default() };
            return Ok(Answer::default().attributes_for(&attributes, Freshness::Cached.validity().attributes));
        }
        self.attributes_answer(&self.node(node)?)
    }

    fn attributes_answer(&self, found: &Found) -> Result<Answer> {
        let attributes = self.attributes(&found.place, found.root, &status(&found.place)?);
        Ok(Answer::default().attributes_for(&attributes, self.validity(found.root).attributes))
    }

    pub(super) fn set_attributes(&self, request: &mut Request<'_>) -> Result<Answer> {
        let found = self.changeable(request.header.node)?;
        let arguments = &mut request.arguments;
        let (valid, _) = (arguments.u32()?, arguments.u32()?);
        let (handle, size, _) = (arguments.u64()?, arguments.u64()?, arguments.u64()?);
        let (atime, mtime, _) = (arguments.u64()?, arguments.u64()?, arguments.u64()?);
        let (atime_nsec, mtime_nsec, _) = (arguments.u32()?, arguments.u32()?, arguments.u32()?);
        let (mode, _) = (arguments.u32()?, arguments.u32()?);
        let (uid, gid) = (arguments.u32()?, arguments.u32()?);
        let has = |bits: u32| valid & bits != 0;

        if has(set::SIZE) {
            let size = i64::try_from(size).map_err(|_| Errno::FBIG)?.cast_unsigned();
            if has(set::FH) {
                ftruncate(&self.handle(handle)?.file, size)?;
            } else {
                ftruncate(self.open_for_use(&found, OFlags::WRONLY)?, size)?;
            }
        }
        if has(set::MODE | set::UID | set::GID | set::KILL_SET_ID) {
            let old = self.ownership(&found.place, found.root, &status(&found.place)?);
            let mut new = old;
            if has(set::UID | set::GID | set::KILL_SET_ID) {
                new.mode = Self::without_set_id(new.mode);
            }
            if has(set::MODE) {
                new.mode = new.mode & !0o7777 | mode & 0o7777;
            }
            if has(set::UID) {
                new.uid = uid;
            }
            if has(set::GID) {
                new.gid = gid;
            }
            self.own(&found, old, new)?;
        }
        if has(set::ATIME | set::MTIME) {
            let time = |bit, now, seconds: u64, nanoseconds: u32| match (has(bit), has(now)) {
                (false, _) => Timespec { tv_sec: 0, tv_nsec: OMIT },
                (true, true) => Timespec { tv_sec: 0, tv_nsec: NOW },
                (true, false) => {
                    Timespec { tv_sec: seconds.cast_signed(), tv_nsec: nanoseconds.min(999_999_999).into() }
                }
            };
            let times = Timestamps {
                last_access: time(set::ATIME, set::ATIME_NOW, atime, atime_nsec),
                last_modification: time(set::MTIME, set::MTIME_NOW, mtime, mtime_nsec),
            };
            self.set_times(&found, &times)?;
        }
        self.attributes_answer(&found)
    }

    fn set_times(&self, found: &Found, times: &Timestamps) -> Result<()> {
        let path = by_number(&found.place);
        let set = || utimensat(CWD, &*path, times, AtFlags::empty());
        self.in_spite_of_permissions(&found.place, found.root, set)
    }

    pub(super) fn read_link(&self, request: &mut Request<'_>) -> Result<Answer> {
        let found = self.node(request.header.node)?;
        if found.kind != FileType::Symlink {
            return Err(Errno::INVAL);
        }
        let target = readlinkat(&*found.place, c"", Vec::new())?;
        Ok(Answer(target.into_bytes()))
    }

    /// `struct fuse_kstatfs`.
    pub(super) fn file_system(&self, request: &mut Request<'_>) -> Result<Answer> {
        let node = match request.header.node {
            ROOT_ID => self.nodes().root(0).ok_or(Errno::NOENT)?,
            node => node,
        };
        let found = self.node(node)?;
        let fs = fstatvfs(&*found.place)?;
        let answer = Answer::default().u64(fs.f_blocks).u64(fs.f_bfree).u64(fs.f_bavail);
        let answer = answer.u64(fs.f_files).u64(fs.f_ffree).u32(fs.f_bsize as u32).u32(fs.f_namemax as u32);
        Ok(answer.u32(fs.f_frsize as u32).bytes(&[0; 28]))
    }

    /// What a new file in a directory is owned by, and its mode: whoever makes it, but of the directory's group if that has the
    /// set-group-id bit, which directories in it get too.
    pub(super) fn new_owner(&self, request: &Request<'_>, directory: &Found, mode: u32) -> Result<Ownership> {
        let above = self.ownership(&directory.place, directory.root, &status(&directory.place)?);
        let inherits = above.mode & 0o2000 != 0;
        let is_directory = FileType::from_raw_mode(mode) == FileType::Directory;
        Ok(Ownership {
            uid: request.header.uid,
            gid: if inherits { above.gid } else { request.header.gid },
            mode: if inherits && is_directory { mode | 0o2000 } else { mode },
            rdev: 0,
        })
    }

    /// The same of what was just made there: tells the guest, when it is the owner's.
    pub(super) fn admit_new(
        &self,
        request: &Request<'_>,
        directory: &Found,
        name: &[u8],
        place: OwnedFd,
        owner: Ownership,
    ) -> Result<Entry> {
        let status: Statx = status(&place)?;
        let (root, kind) = (directory.root, super::node::kind(&status));
        let place = Arc::new(place);
        let old = self.ownership(&place, root, &status);
        let found = Found { place: place.clone(), root, kind };
        self.own(&found, old, owner)?;
        let status = super::node::status(&place)?;
        let attributes = self.attributes(&place, root, &status);
        let node = self.nodes().remember(request.header.node, name, place, &status)?;
        Ok(Entry { node, valid: self.validity(root), attributes })
    }
}

/// Opens again, with `O_PATH`, what is open.
pub(super) fn place_of(file: &OwnedFd) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, by_number(file), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
