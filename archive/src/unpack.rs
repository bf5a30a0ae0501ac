//! Unpacking archives into a directory.
//!
//! An archive is hostile, and so may be what is in the directory: each path is resolved by the kernel, beneath the directory or inside a
//! root, links on the way included, so nothing is made, changed or removed elsewhere.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, ftruncate, futimens, linkat, makedev, mkdirat, mknodat, openat, openat2,
    statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::pack::is_kept;
use crate::tar::{self, Archive, Kind, Member, Time};

/// Most memory for the directories of an archive: what they are like is set when all that is in them is there.
const MOST_LATER: usize = 128 << 20;
/// What is wrong with a path.
const LEADS_OUT: &str = "the path leads out of the destination";
/// Bytes that are copied at once.
const PIECE: usize = 128 << 10;

/// How to unpack.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What devices, set-id bits and extended attributes mean is this system's own affair: all is as in the archive. Otherwise devices
    /// are refused, and no file runs as its owner.
    pub faithful: bool,
    /// Whose everything is.
    pub owners: Owners,
    /// The first part of each path, and what it becomes: a path, or link, with another is refused. Nothing as the first stands for what
    /// all of them are in.
    pub rename: Option<(Vec<u8>, Vec<u8>)>,
}

/// Whose files are that are unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owners {
    /// This user's.
    #[default]
    User,
    /// As in the archive.
    Archive,
    /// This user's and group's.
    Given(u32, u32),
}

/// Where to unpack.
#[derive(Debug)]
pub struct Target {
    /// A directory.
    pub root: OwnedFd,
    /// Where below that: empty, or a path that ends with `/`.
    pub below: Vec<u8>,
    /// How links are followed: beneath `root` (`RESOLVE_BENEATH`), as if it were `/` (`RESOLVE_IN_ROOT`), or not at all
    /// (`RESOLVE_NO_SYMLINKS`).
    pub links: ResolveFlags,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of the files.
    pub bytes: u64,
}

fn at(member: &Member, error: impl Into<io::Error>) -> tar::Error {
    let error = error.into();
    match error.kind() {
        // The source's own.
        io::ErrorKind::UnexpectedEof => tar::Error::Io(error),
        _ => member.error(error.to_string()),
    }
}

/// A directory that is there, and is to be like this in the end.
struct Later {
    path: Vec<u8>,
    mode: u16,
    mtime: Time,
}

/// Unpacks an archive.
///
/// # Errors
/// When it is none, leads elsewhere, or something cannot be made; what was made by then stays.
pub fn unpack(archive: impl Read, target: &Target, options: &Options) -> Result<Unpacked, tar::Error> {
    let mut archive = Archive::new(archive);
    let mut unpacking =
        Unpacking { target, options, later: Vec::new(), later_bytes: 0, done: Unpacked::default() };
    while let Some(mut member) = archive.next_member()? {
        member.path = unpacking.renamed(&member, &member.path)?;
        if member.kind == Kind::HardLink {
            member.link = unpacking.renamed(&member, &member.link)?;
        }
        unpacking.member(&member, &mut archive)?;
    }
    unpacking.finish()?;
    Ok(unpacking.done)
}

struct Unpacking<'a> {
    target: &'a Target,
    options: &'a Options,
    later: Vec<Later>,
    /// What that takes.
    later_bytes: usize,
    done: Unpacked,
}

/// The parts of a path. `None` when it leads upwards.
fn parts(path: &[u8]) -> Option<Vec<&[u8]>> {
    let parts: Vec<_> =
        path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    (!parts.contains(&&b".."[..])).then_some(parts)
}

fn text(bytes: &[u8]) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::INVAL)
}

impl Unpacking<'_> {
    /// Where a path that a member has goes.
    fn renamed(&self, member: &Member, path: &[u8]) -> Result<Vec<u8>, tar::Error> {
        let Some((old, new)) = &self.options.rename else { return Ok(path.to_vec()) };
        let mut parts = parts(path).ok_or_else(|| member.error(LEADS_OUT))?;
        match parts.first_mut() {
            _ if old.is_empty() => parts.insert(0, new),
            Some(first) if *first == &**old => *first = new,
            _ => return Err(member.error(format!("it is no part of \"{}\"", tar::printable(old)))),
        }
        Ok(parts.join(&b'/'))
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = [&*self.target.below, path].concat();
        let path = if path.is_empty() { b".".to_vec() } else { path };
        let links = self.target.links | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.target.root, text(&path)?, flags | OFlags::CLOEXEC, Mode::empty(), links)
    }

    /// The directory with this path, made with those above it where it is absent.
    fn directory(&self, parts: &[&[u8]]) -> Result<OwnedFd, Errno> {
        const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
        let whole = parts.join(&b'/');
        match self.open(&whole, DIRECTORY) {
            Err(Errno::NOENT) if !parts.is_empty() => {
                let (last, above) = parts.split_last().ok_or(Errno::NOENT)?;
                let above = self.directory(above)?;
                match mkdirat(&above, text(last)?, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => self.open(&whole, DIRECTORY),
                    Err(error) => Err(error),
                }
            }
            other => other,
        }
    }

    fn member(&mut self, member: &Member, data: &mut impl Read) -> Result<(), tar::Error> {
        let parts = parts(&member.path).ok_or_else(|| member.error(LEADS_OUT))?;
        // The destination itself stays as it is.
        let Some((last, above)) = parts.split_last() else { return Ok(()) };
        let name = text(last).map_err(|error| at(member, error))?;
        let parent = self.directory(above).map_err(|error| at(member, outside(error)))?;
        let there = match statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => Some(FileType::from_raw_mode(status.st_mode)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(at(member, error)),
        };
        let is_directory = there == Some(FileType::Directory);
        match (is_directory, member.kind == Kind::Directory) {
            (true, false) => {
                return Err(self.refused("directory", &parts, "non-directory"));
            }
            (false, true) if there.is_some() => {
                return Err(self.refused("non-directory", &parts, "directory"));
            }
            (false, _) if there.is_some() => {
                unlinkat(&parent, &name, AtFlags::empty()).map_err(|error| at(member, error))?;
            }
            _ => {}
        }
        match member.kind {
            Kind::File => self.file(&parent, &name, member, data)?,
            Kind::Directory => {
                let fail = |error| at(member, error);
                if !is_directory {
                    mkdirat(&parent, &name, Mode::RWXU).map_err(fail)?;
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = openat(&parent, &name, flags, Mode::empty()).map_err(fail)?;
                self.own(&opened, member).map_err(|error| at(member, error))?;
                let path = parts.join(&b'/');
                self.later_bytes += size_of::<Later>() + path.len();
                if self.later_bytes > MOST_LATER {
                    return Err(member.error("the directories up to it take more than 128 MiB of memory"));
                }
                self.later.push(Later { path, mode: member.mode, mtime: member.mtime });
            }
            _ => self.other(&parent, &name, member).map_err(|error| at(member, error))?,
        }
        Ok(())
    }

    /// Docker's words for what is not replaced by something of another kind.
    fn refused(&self, there: &str, parts: &[&[u8]], new: &str) -> tar::Error {
        let below = tar::printable(&self.target.below);
        let path = tar::printable(&parts.join(&b'/'));
        let below = below.trim_end_matches('/');
        let text = format!("cannot overwrite {there} \"/{below}/{path}\" with {new} \"/{below}\"")
            .replace("//", "/");
        io::Error::other(text).into()
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &CString,
        member: &Member,
        data: &mut impl Read,
    ) -> Result<(), tar::Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| at(member, error))?;
        let file = File::from(file);
        let mut piece = vec![0; PIECE];
        for segment in &member.segments {
            let (mut place, mut left) = (segment.offset, segment.length);
            while left > 0 {
                let wanted = left.min(PIECE as u64) as usize;
                let count = match data.read(&mut piece[..wanted]) {
                    Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error.into()),
                };
                file.write_all_at(&piece[..count], place).map_err(|error| at(member, error))?;
                place += count as u64;
                left -= count as u64;
            }
        }
        let end = || -> io::Result<()> {
            ftruncate(&file, member.size)?;
            let file = file.as_fd();
            self.own(file, member)?;
            // After the owner: a new one takes bits away.
            fchmod(file, Mode::from_raw_mode(self.mode(member.mode).into()))?;
            Ok(futimens(file, &times(member.mtime))?)
        };
        end().map_err(|error| at(member, error))?;
        self.done.bytes += member.size;
        Ok(())
    }

    /// Everything that has no content.
    fn other(&self, parent: &OwnedFd, name: &CString, member: &Member) -> io::Result<()> {
        let mode = Mode::from_raw_mode(self.mode(member.mode).into());
        match member.kind {
            Kind::Symlink => symlinkat(text(&member.link)?, parent, name)?,
            Kind::HardLink => {
                let outside = || io::Error::other("its link leads out of the destination");
                let target = parts(&member.link).ok_or_else(outside)?;
                let (last, above) = target.split_last().ok_or_else(outside)?;
                let from = self.directory(above)?;
                // What it leads to has owner and mode already.
                return Ok(linkat(&from, text(last)?, parent, name, AtFlags::empty())?);
            }
            Kind::CharDevice | Kind::BlockDevice if !self.options.faithful => {
                return Err(io::Error::other("it is a device, which is not made here"));
            }
            kind => {
                let (kind, (major, minor)) = match kind {
                    Kind::CharDevice => (FileType::CharacterDevice, member.device),
                    Kind::BlockDevice => (FileType::BlockDevice, member.device),
                    _ => (FileType::Fifo, (0, 0)),
                };
                mknodat(parent, name, kind, mode, makedev(major, minor))?;
            }
        }
        if let Some((uid, gid)) = self.owner(member) {
            chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if member.kind != Kind::Symlink {
            // Nobody else has had the time to put a link there who may not do what this does.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = openat(parent, name, flags, Mode::empty())?;
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place));
            rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())?;
        }
        Ok(utimensat(parent, name, &times(member.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn owner(&self, member: &Member) -> Option<(Uid, Gid)> {
        let ids = |uid, gid| Some((Uid::from_raw(uid), Gid::from_raw(gid)));
        match self.options.owners {
            Owners::User => None,
            Owners::Archive => ids(member.uid, member.gid),
            Owners::Given(uid, gid) => ids(uid, gid),
        }
    }

    fn mode(&self, mode: u16) -> u16 {
        if self.options.faithful { mode } else { mode & 0o1777 }
    }

    /// Gives a file its owner and extended attributes.
    fn own(&self, file: impl AsFd, member: &Member) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner(member) {
            fchown(&file, Some(uid), Some(gid))?;
        }
        if !self.options.faithful {
            return Ok(());
        }
        for (name, value) in member.xattrs.iter().filter(|(name, _)| is_kept(name)) {
            match fsetxattr(&file, text(name)?, value, XattrFlags::empty()) {
                // Not every file system has every kind.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives directories what would have been in the way, or have changed, while things were made in them.
    fn finish(&mut self) -> Result<(), tar::Error> {
        while let Some(Later { path, mode, mtime }) = self.later.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let done = self.open(&path, flags).and_then(|directory| {
                fchmod(&directory, Mode::from_raw_mode(self.mode(mode).into()))?;
                futimens(&directory, &times(mtime))
            });
            match done {
                // A later member, or somebody else, has put something else there.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }
}

/// Names what the kernel calls a link between file systems.
fn outside(error: Errno) -> io::Error {
    match error {
        Errno::XDEV => io::Error::other(LEADS_OUT),
        Errno::LOOP => io::Error::other("the path leads through links"),
        error => error.into(),
    }
}

fn times(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
#[path = "unpack_test.rs"]
mod tests;
