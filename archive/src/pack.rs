//! Making archives of what is in a directory.
//!
//! What is packed may change meanwhile, by whoever lives there: each name is opened in the directory that it was found in and never followed,
//! and of a file as much is taken as it had when it was opened.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags, fgetxattr, flistxattr, fstat, fstatfs, openat,
    readlinkat, statx,
};
use rustix::io::Errno;

use crate::tar::{Kind, Member, Segment, Time, printable};
use crate::write::Writer;

/// Deepest directory that is packed: a descriptor is open for each above it.
const DEEPEST: usize = 800;
/// Most files with several names that are remembered, so that the others become links.
const MOST_LINKS: usize = 1 << 20;
/// Longest list of extended attributes, and longest value: what Linux allows.
const MOST_XATTRS: usize = 64 << 10;
/// Marks a directory that hides what lower layers have in it.
const OPAQUE: &CStr = c"trusted.overlay.opaque";
/// File systems that only the kernel knows, by `statfs(2)`: proc, sysfs, tmpfs and devtmpfs, devpts, mqueue, both cgroups, debugfs,
/// tracefs, securityfs, bpf.
const MADE_UP: [i64; 11] = [
    0x9fa0,
    0x6265_6572,
    0x0102_1994,
    0x1cd1,
    0x1980_0202,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
];
/// What begins like this in a layer's archive is a whiteout.
const WHITEOUT: &[u8] = b".wh.";

/// How to pack.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// It is the writable layer of an overlay: whiteouts and opaque directories are written as layers of images have them.
    pub layer: bool,
    /// Extended attributes are packed.
    pub xattrs: bool,
    /// What is mounted in it.
    pub mounts: Mounts,
    /// Everything belongs to this user and group.
    pub owner: Option<(u32, u32)>,
}

/// Which mounts in a directory are packed with what they hold. The others are as they look, and empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mounts {
    /// Each.
    #[default]
    All,
    /// Those of stored files, and not directories of what only the kernel knows: `/proc`, `/sys`, `/dev`, and memory.
    Stored,
    /// None.
    None,
}

/// An archive being made.
pub struct Packer<W> {
    writer: Writer<W>,
    options: Options,
    mount: u64,
    links: HashMap<(u32, u32, u64), Vec<u8>>,
    bytes: u64,
}

/// Says which file an error is about.
fn about(path: &[u8], error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{}: {error}", printable(path)))
}

impl<W: Write> Packer<W> {
    /// An archive that goes to `to`.
    pub fn new(to: W, options: Options) -> Self {
        Self { writer: Writer::new(to), options, mount: 0, links: HashMap::new(), bytes: 0 }
    }

    /// Packs what a directory has under a name, with everything in it, as `path`. The name may be `.`.
    ///
    /// # Errors
    /// When something cannot be read, or the archive not be written.
    pub fn add(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> io::Result<()> {
        let status = look(directory, name).map_err(|error| about(path, error))?;
        self.mount = status.stx_mnt_id;
        self.entry(directory, name, path, &status, 0)
    }

    /// Packs what is in a directory.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn add_content(&mut self, directory: &OwnedFd) -> io::Result<()> {
        let status = look(directory.as_fd(), c".")?;
        self.mount = status.stx_mnt_id;
        self.content(directory, b"", 0)
    }

    /// Bytes of the files so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<W> {
        self.writer.finish()
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        status: &Statx,
        depth: usize,
    ) -> io::Result<()> {
        let elsewhere = status.stx_mnt_id != self.mount;
        let mut member = self.member(path, status);
        match FileType::from_raw_mode(status.stx_mode.into()) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner =
                    openat(directory, name, flags, Mode::empty()).map_err(|error| about(path, error))?;
                member.kind = Kind::Directory;
                if !path.ends_with(b"/") {
                    member.path.push(b'/');
                }
                self.take_xattrs(&inner, &mut member).map_err(|error| about(path, error))?;
                self.writer.append(&member, &mut io::empty())?;
                if self.options.layer && is_opaque(&inner) {
                    self.mark(&[&*member.path, b".wh..wh..opq"].concat(), status)?;
                }
                let entered = match self.options.mounts {
                    Mounts::All => true,
                    Mounts::Stored => !elsewhere || is_stored(&inner),
                    Mounts::None => !elsewhere,
                };
                if !entered {
                    return Ok(());
                }
                if depth >= DEEPEST {
                    return Err(about(path, Errno::LOOP));
                }
                let inside = member.path;
                self.content(&inner, &inside, depth + 1)
            }
            FileType::RegularFile => {
                let empty = elsewhere && self.options.mounts == Mounts::None;
                self.file(directory, name, member, status, empty)
            }
            FileType::Symlink => {
                member.kind = Kind::Symlink;
                let target = readlinkat(directory, name, Vec::new()).map_err(|error| about(path, error))?;
                member.link = target.into_bytes();
                self.writer.append(&member, &mut io::empty())
            }
            // A socket is nothing without who listens on it.
            FileType::Socket | FileType::Unknown => Ok(()),
            FileType::CharacterDevice
                if self.options.layer && (status.stx_rdev_major, status.stx_rdev_minor) == (0, 0) =>
            {
                let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                self.mark(&[&path[..at], WHITEOUT, &path[at..]].concat(), status)
            }
            kind => {
                member.kind = match kind {
                    FileType::CharacterDevice => Kind::CharDevice,
                    FileType::BlockDevice => Kind::BlockDevice,
                    _ => Kind::Fifo,
                };
                member.device = (status.stx_rdev_major, status.stx_rdev_minor);
                if let Some(first) = self.first_name(&member, status) {
                    (member.kind, member.link) = (Kind::HardLink, first);
                }
                self.writer.append(&member, &mut io::empty())
            }
        }
    }

    fn file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        mut member: Member,
        status: &Statx,
        empty: bool,
    ) -> io::Result<()> {
        if let Some(first) = self.first_name(&member, status) {
            (member.kind, member.link) = (Kind::HardLink, first);
            return self.writer.append(&member, &mut io::empty());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = openat(directory, name, flags, Mode::empty());
        let opened = opened.and_then(|file| fstat(&file).map(|status| (file, status)));
        let (file, now) = opened.map_err(|error| about(&member.path, error))?;
        if FileType::from_raw_mode(now.st_mode) != FileType::RegularFile {
            return Err(about(&member.path, io::Error::other("it became something else just now")));
        }
        self.take_xattrs(&file, &mut member).map_err(|error| about(&member.path, error))?;
        member.size = if empty { 0 } else { now.st_size.cast_unsigned() };
        member.segments = vec![Segment { offset: 0, length: member.size }];
        self.bytes += member.size;
        self.writer.append(&member, &mut File::from(file))
    }

    fn content(&mut self, directory: &OwnedFd, path: &[u8], depth: usize) -> io::Result<()> {
        let named = |error| about(path, error);
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(directory).map_err(named)? {
            names.push(entry.map_err(named)?.file_name().to_owned());
        }
        names.retain(|name| !matches!(name.to_bytes(), b"." | b".."));
        names.sort();
        for name in &names {
            let inner = [path, name.to_bytes()].concat();
            if self.options.layer && name.to_bytes().starts_with(WHITEOUT) {
                let error = io::Error::other("a layer cannot have a file whose name begins with .wh.");
                return Err(about(&inner, error));
            }
            match look(directory.as_fd(), name) {
                Ok(status) => self.entry(directory.as_fd(), name, &inner, &status, depth)?,
                // Gone meanwhile.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(about(&inner, error)),
            }
        }
        Ok(())
    }

    /// What a layer has in the place of what is not there.
    fn mark(&mut self, path: &[u8], status: &Statx) -> io::Result<()> {
        let member = Member { kind: Kind::File, mode: 0, uid: 0, gid: 0, ..self.member(path, status) };
        self.writer.append(&member, &mut io::empty())
    }

    fn member(&self, path: &[u8], status: &Statx) -> Member {
        let (uid, gid) = self.options.owner.unwrap_or((status.stx_uid, status.stx_gid));
        Member {
            path: path.to_vec(),
            kind: Kind::File,
            link: Vec::new(),
            mode: status.stx_mode & 0o7777,
            uid,
            gid,
            mtime: Time { seconds: status.stx_mtime.tv_sec, nanoseconds: status.stx_mtime.tv_nsec },
            size: 0,
            device: (0, 0),
            xattrs: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// The name under which a file with several is in the archive already.
    fn first_name(&mut self, member: &Member, status: &Statx) -> Option<Vec<u8>> {
        if status.stx_nlink < 2 {
            return None;
        }
        let key = (status.stx_dev_major, status.stx_dev_minor, status.stx_ino);
        let known = self.links.get(&key).cloned();
        if known.is_none() && self.links.len() < MOST_LINKS {
            self.links.insert(key, member.path.clone());
        }
        known
    }

    fn take_xattrs(&self, file: &OwnedFd, member: &mut Member) -> io::Result<()> {
        if !self.options.xattrs {
            return Ok(());
        }
        let mut names = vec![0; MOST_XATTRS];
        let length = match flistxattr(file, &mut names[..]) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
            other => other?,
        };
        for name in names[..length].split(|byte| *byte == 0).filter(|name| is_kept(name)) {
            let mut value = vec![0; MOST_XATTRS];
            match fgetxattr(file, name, &mut value[..]) {
                Ok(length) => {
                    value.truncate(length);
                    member.xattrs.push((name.to_vec(), value));
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Whether an extended attribute is the file's own: overlayfs's are about layers, and hull's about a share.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    let reserved = [&b"trusted.overlay."[..], b"user.overlay.", b"user.hull."];
    let kept = [&b"user."[..], b"trusted.", b"system.posix_acl_", b"security.capability"];
    kept.iter().any(|prefix| name.starts_with(prefix))
        && !reserved.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the files of a file system are somewhere beside in the kernel's memory.
fn is_stored(directory: &OwnedFd) -> bool {
    let kind = fstatfs(directory).map(|status| status.f_type);
    !kind.is_ok_and(|kind| MADE_UP.contains(&kind))
}

fn look(directory: BorrowedFd<'_>, name: &CStr) -> Result<Statx, Errno> {
    let asked = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, asked)
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 1];
    fgetxattr(directory, OPAQUE, &mut value[..]).is_ok_and(|length| value[..length] == *b"y")
}
