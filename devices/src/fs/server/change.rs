//! Directories change: files, links and directories are made, removed, renamed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, linkat, mkdirat, openat2, renameat_with, symlinkat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::super::wire::{Answer, ROOT_ID};
use super::look::place_of;
use super::node::{BENEATH, Found, status};
use super::owner::Ownership;
use super::{Request, Result, Share, by_number};

/// Of an open, what the host is asked for; what else there is, is the guest's affair.
const OPEN_FLAGS: OFlags = OFlags::RWMODE.union(OFlags::TRUNC);

impl Share {
    pub(super) fn make_directory(&self, request: &mut Request<'_>) -> Result<Answer> {
        let mode = request.arguments.u32()? & 0o7777;
        let _umask = request.arguments.u32()?;
        let name = request.arguments.name()?;
        let directory = self.changeable(request.header.node)?;
        let owner = self.new_owner(request, &directory, FileType::Directory.as_raw_mode() | mode)?;
        let begun = now();
        self.within(&directory, || mkdirat(&*directory.place, name, Mode::from_raw_mode(mode & 0o1777)))?;
        self.finish(request, &directory, name, owner, begun)
    }

    /// What is no file in the guest is an empty file here, with a note beside it of what it is.
    pub(super) fn make_node(&self, request: &mut Request<'_>) -> Result<Answer> {
        let (mode, rdev) = (request.arguments.u32()?, request.arguments.u32()?);
        let (_umask, _) = (request.arguments.u32()?, request.arguments.u32()?);
        let name = request.arguments.name()?;
        let directory = self.changeable(request.header.node)?;
        let kind = match FileType::from_raw_mode(mode) {
            FileType::Unknown if mode >> 12 == 0 => FileType::RegularFile,
            FileType::Unknown | FileType::Directory | FileType::Symlink => return Err(Errno::INVAL),
            kind => kind,
        };
        let has_number = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let owner = self.new_owner(request, &directory, kind.as_raw_mode() | mode & 0o7777)?;
        let owner = Ownership { rdev: if has_number { rdev } else { 0 }, ..owner };
        let file = self.make_file(&directory, name, OFlags::WRONLY, mode)?;
        let admitted = self.admit_new(request, &directory, name, place_of(&file)?, owner);
        let entry = admitted.inspect_err(|_| {
            let _ = self.within(&directory, || unlinkat(&*directory.place, name, AtFlags::empty()));
        })?;
        Ok(Answer::default().entry(&entry))
    }

    pub(super) fn make_link(&self, request: &mut Request<'_>) -> Result<Answer> {
        let name = request.arguments.name()?;
        let target = request.arguments.string()?;
        let directory = self.changeable(request.header.node)?;
        let owner = self.new_owner(request, &directory, FileType::Symlink.as_raw_mode() | 0o777)?;
        let begun = now();
        self.within(&directory, || symlinkat(target, &*directory.place, name))?;
        self.finish(request, &directory, name, owner, begun)
    }

    /// Tells the guest of the directory or link that was made under a name; takes it away again if it cannot be the owner's.
    ///
    /// The kernel gives no descriptor of these, so somebody on the host may have put something else there meanwhile. That is not
    /// given to anybody: what is, was made since `begun`, is of that kind and belongs to whoever makes things here.
    pub(super) fn finish(
        &self,
        request: &Request<'_>,
        directory: &Found,
        name: &[u8],
        owner: Ownership,
        begun: (i64, u32),
    ) -> Result<Answer> {
        let place = self.open_entry(directory, name)?;
        let about = status(&place)?;
        let made = FileType::from_raw_mode(owner.mode);
        let older = super::node::born(&about).is_some_and(|born| born < begun);
        let linked = made != FileType::Directory && about.stx_nlink != 1;
        if super::node::kind(&about) != made || about.stx_uid != self.user.0 || older || linked {
            return Err(Errno::STALE);
        }
        let kind = if made == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let admitted = self.admit_new(request, directory, name, place, owner);
        match admitted {
            Ok(entry) => Ok(Answer::default().entry(&entry)),
            Err(error) => {
                let _ = self.within(directory, || unlinkat(&*directory.place, name, kind));
                Err(error)
            }
        }
    }

    /// Makes a file that was not there.
    fn make_file(&self, directory: &Found, name: &[u8], flags: OFlags, mode: u32) -> Result<OwnedFd> {
        let new = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let mode = Mode::from_raw_mode(mode & 0o1777);
        self.within(directory, || openat2(&*directory.place, name, flags | new, mode, BENEATH))
    }

    pub(super) fn create(&self, request: &mut Request<'_>) -> Result<Answer> {
        let (flags, mode) = (request.arguments.u32()?, request.arguments.u32()?);
        let (_umask, _) = (request.arguments.u32()?, request.arguments.u32()?);
        let name = request.arguments.name()?;
        let directory = self.changeable(request.header.node)?;
        let flags = OFlags::from_bits_retain(flags);
        let owner =
            self.new_owner(request, &directory, FileType::RegularFile.as_raw_mode() | mode & 0o7777)?;
        let (file, entry) = match self.make_file(&directory, name, flags & OPEN_FLAGS, mode) {
            Ok(file) => {
                let place = place_of(&file)?;
                let admitted = self.admit_new(request, &directory, name, place, owner);
                let entry = admitted.inspect_err(|_| {
                    let _ = unlinkat(&*directory.place, name, AtFlags::empty());
                })?;
                (file, entry)
            }
            // Somebody was quicker, on the host perhaps.
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => {
                let entry = self.enter(request.header.node, name)?;
                let opened =
                    self.node(entry.node).and_then(|found| self.open_for_use(&found, flags & OPEN_FLAGS));
                (opened.inspect_err(|_| self.nodes().forget(entry.node, 1))?, entry)
            }
            Err(error) => return Err(error),
        };
        let handle = self.keep(file).inspect_err(|_| self.nodes().forget(entry.node, 1))?;
        Ok(Answer::default().entry(&entry).opened(handle, self.open_answer(directory.root)))
    }

    pub(super) fn open(&self, request: &mut Request<'_>) -> Result<Answer> {
        /// `FUSE_OPEN_KILL_SUIDGID`.
        const DROP_SET_ID: u32 = 1;
        let (flags, extra) = (request.arguments.u32()?, request.arguments.u32()?);
        let flags = OFlags::from_bits_retain(flags) & OPEN_FLAGS;
        let changes = flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC);
        let node = request.header.node;
        let found = if changes { self.changeable(node)? } else { self.node(node)? };
        if found.kind != FileType::RegularFile {
            return Err(Errno::ACCESS);
        }
        let file = self.open_for_use(&found, flags)?;
        if flags.contains(OFlags::TRUNC) && extra & DROP_SET_ID != 0 {
            self.drop_set_id(&found)?;
        }
        let handle = self.keep(file)?;
        Ok(Answer::default().opened(handle, self.open_answer(found.root)))
    }

    /// Flags for a file that was opened.
    fn open_answer(&self, root: usize) -> u32 {
        /// `FOPEN_KEEP_CACHE`.
        const KEEP_CACHE: u32 = 1 << 1;
        if self.policy(root).freshness.keeps_content() { KEEP_CACHE } else { 0 }
    }

    pub(super) fn link(&self, request: &mut Request<'_>) -> Result<Answer> {
        let found = self.changeable(request.arguments.u64()?)?;
        let name = request.arguments.name()?;
        let directory = self.changeable(request.header.node)?;
        if found.root != directory.root {
            return Err(Errno::XDEV);
        }
        let path = by_number(&found.place);
        let flags = AtFlags::SYMLINK_FOLLOW;
        self.within(&directory, || linkat(CWD, &*path, &*directory.place, name, flags))?;
        Ok(Answer::default().entry(&self.enter(request.header.node, name)?))
    }

    pub(super) fn remove(&self, request: &mut Request<'_>, is_directory: bool) -> Result<Answer> {
        let name = request.arguments.name()?;
        let directory = self.changeable(request.header.node)?;
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let last = self.about_to_go(&directory, name);
        self.within(&directory, || unlinkat(&*directory.place, name, flags))?;
        self.has_gone(last);
        Ok(Answer::default())
    }

    /// What a name stands for whose file will have none, if the guest knows it.
    fn about_to_go(&self, directory: &Found, name: &[u8]) -> Option<(u64, OwnedFd)> {
        let place = self.open_entry(directory, name).ok()?;
        let status = status(&place).ok()?;
        let is_last = status.stx_nlink <= 1 || super::node::kind(&status) == FileType::Directory;
        let node = self.nodes().known(directory.root, &status)?;
        is_last.then_some((node, place))
    }

    fn has_gone(&self, last: Option<(u64, OwnedFd)>) {
        if let Some((node, place)) = last {
            self.nodes().unlinked(node, Arc::new(place));
        }
    }

    pub(super) fn rename(&self, request: &mut Request<'_>) -> Result<Answer> {
        let target = request.arguments.u64()?;
        let flags = if request.header.opcode == super::opcode::RENAME2 {
            let (flags, _) = (request.arguments.u32()?, request.arguments.u32()?);
            RenameFlags::from_bits_retain(flags)
        } else {
            RenameFlags::empty()
        };
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(Errno::INVAL);
        }
        let (name, new_name) = (request.arguments.name()?, request.arguments.name()?);
        let source = request.header.node;
        if source == ROOT_ID || target == ROOT_ID {
            return Err(Errno::ROFS);
        }
        let (from, to) = (self.changeable(source)?, self.changeable(target)?);
        if from.root != to.root {
            return Err(Errno::XDEV);
        }
        let last = if flags.is_empty() { self.about_to_go(&to, new_name) } else { None };
        let rename = || renameat_with(&*from.place, name, &*to.place, new_name, flags);
        // A directory that moves says itself where it is, so that it must be writable, too.
        let moved = self.open_entry(&from, name).ok();
        let mut places: Vec<(&OwnedFd, usize)> = vec![(&from.place, from.root), (&to.place, to.root)];
        places.extend(moved.as_ref().map(|moved| (moved, from.root)));
        self.in_spite_of(&places, rename)?;
        self.has_gone(last);
        self.has_moved(&to, target, new_name);
        if flags.contains(RenameFlags::EXCHANGE) {
            self.has_moved(&from, source, name);
        }
        Ok(Answer::default())
    }

    /// Takes note of where a file is now, if the guest knows it.
    fn has_moved(&self, directory: &Found, parent: u64, name: &[u8]) {
        let Ok(place) = self.open_entry(directory, name) else { return };
        if let Ok(status) = status(&place) {
            let mut nodes = self.nodes();
            if let Some(node) = nodes.known(directory.root, &status) {
                nodes.move_to(node, parent, name);
            }
        }
    }

    /// Does something in a directory.
    fn within<T>(&self, directory: &Found, act: impl FnMut() -> Result<T>) -> Result<T> {
        self.in_spite_of_permissions(&directory.place, directory.root, act)
    }
}

/// The time that files made from now on have at least.
pub(super) fn now() -> (i64, u32) {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    (now.tv_sec, now.tv_nsec as u32)
}
