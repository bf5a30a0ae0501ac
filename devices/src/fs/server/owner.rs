//! Who owns a file, what it may be used for, and what it is: what the host says, and what is written down beside it.
//!
//! An ordinary user can neither give a file away nor make a device, and a file with the set-user-id bit that a guest made would
//! be a door on the host. So where owners are mapped, what the host cannot have is kept in an extended attribute, as
//! `UID:GID:MODE:RDEV` (mode in octal: type, set-user-id and set-group-id). A file that is plainly the user's own has none. What is no
//! file, directory or link in the guest is an empty file on the host, on every host.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Statx, Uid, XattrFlags, chmodat, chownat, getxattr, removexattr,
    setxattr,
};
use rustix::io::Errno;

use super::super::wire::Attributes;
use super::node::{self, Found};
use super::{Owners, Policy, Result, Share, by_number};

/// The attribute.
pub const NAME: &str = "user.hull.stat";
/// What begins like this is not for the guest.
pub const RESERVED: &[u8] = b"user.hull.";

const S_IFMT: u32 = 0o170_000;
const PERMISSIONS: u32 = 0o1777;
const SET_ID: u32 = 0o6000;
const GROUP_EXECUTE: u32 = 0o010;
const SET_GROUP: u32 = 0o2000;

/// Owner and mode of a file, as the guest sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Device number.
    pub rdev: u32,
}

impl Share {
    /// A file as the guest sees it.
    pub(super) fn attributes(&self, place: &OwnedFd, root: usize, status: &Statx) -> Attributes {
        let owner = self.ownership(place, root, status);
        let time = |time: &rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
        Attributes {
            ino: self.nodes().number(status),
            size: status.stx_size,
            blocks: status.stx_blocks,
            times: [time(&status.stx_atime), time(&status.stx_mtime), time(&status.stx_ctime)],
            mode: owner.mode,
            nlink: status.stx_nlink,
            uid: owner.uid,
            gid: owner.gid,
            rdev: owner.rdev,
            block_size: status.stx_blksize,
        }
    }

    /// Who owns a file in the guest, and what it is there.
    pub(super) fn ownership(&self, place: &OwnedFd, root: usize, status: &Statx) -> Ownership {
        let host = self.of_host(root, status);
        let may_have = match (node::kind(status), self.policy(root).owners) {
            (FileType::RegularFile, Owners::Same) => status.stx_size == 0,
            (FileType::RegularFile | FileType::Directory, Owners::Mapped { .. }) => true,
            _ => false,
        };
        let stored = if may_have { self.read_stored(place, root) } else { None };
        stored.and_then(|stored| self.believed(stored, host, root, status)).unwrap_or(host)
    }

    /// What is believed of a note. Who may write to a file on the host may write notes, too, so one is believed only as far as a share
    /// could have made it so: on its own user's files, and what is something else is empty.
    fn believed(&self, stored: Ownership, host: Ownership, root: usize, status: &Statx) -> Option<Ownership> {
        let (here, there) =
            (FileType::from_raw_mode(host.mode & S_IFMT), FileType::from_raw_mode(stored.mode & S_IFMT));
        let is_device = matches!(there, FileType::CharacterDevice | FileType::BlockDevice);
        let stands_in = is_device || matches!(there, FileType::Fifo | FileType::Socket);
        if stands_in && (here != FileType::RegularFile || status.stx_size != 0) || !stands_in && here != there
        {
            return None;
        }
        let rdev = if is_device { stored.rdev } else { 0 };
        let kind = stored.mode & S_IFMT;
        match self.policy(root).owners {
            // The host keeps everything else. Only root makes devices, so nobody else's file is one.
            Owners::Same if stands_in && (!is_device || status.stx_uid == 0) => {
                Some(Ownership { mode: kind | host.mode & 0o7777, rdev, ..host })
            }
            Owners::Mapped { .. } if status.stx_uid == self.user.0 => {
                let set_id = if stands_in { 0 } else { stored.mode & SET_ID };
                Some(Ownership { mode: kind | host.mode & PERMISSIONS | set_id, rdev, ..stored })
            }
            Owners::Same | Owners::Mapped { .. } => None,
        }
    }

    /// What the host says.
    fn of_host(&self, root: usize, status: &Statx) -> Ownership {
        let mode = u32::from(status.stx_mode);
        let (uid, gid) = (status.stx_uid, status.stx_gid);
        match self.policy(root).owners {
            // Devices of the host are shown as what they are, but with no number: in the guest it would be another's.
            Owners::Same => Ownership { uid, gid, mode, rdev: 0 },
            Owners::Mapped { uid: guest_uid, gid: guest_gid } => Ownership {
                uid: if uid == self.user.0 { guest_uid } else { uid },
                gid: if gid == self.user.1 { guest_gid } else { gid },
                mode,
                rdev: 0,
            },
        }
    }

    fn read_stored(&self, place: &OwnedFd, root: usize) -> Option<Ownership> {
        let mut value = [0; 64];
        let path = by_number(place);
        let read = || getxattr(&*path, NAME, &mut value[..]);
        let length = self.in_spite_of_permissions(place, root, read).ok()?;
        parse(value.get(..length)?)
    }

    /// Makes this the owner and the mode of a file: `old` is what they are.
    ///
    /// # Errors
    /// When the host cannot keep them.
    pub(super) fn own(&self, found: &Found, old: Ownership, new: Ownership) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let path = by_number(&found.place);
        let stands_in = !matches!(
            FileType::from_raw_mode(new.mode),
            FileType::RegularFile | FileType::Directory | FileType::Symlink
        );
        match self.policy(found.root).owners {
            Owners::Same => {
                if (new.uid, new.gid) != (old.uid, old.gid) {
                    let (uid, gid) = (Uid::from_raw(new.uid), Gid::from_raw(new.gid));
                    chownat(&found.place, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
                }
                if found.kind != FileType::Symlink {
                    // After the owner: a new one takes bits away.
                    chmodat(CWD, &*path, Mode::from_raw_mode(new.mode & 0o7777), AtFlags::empty())?;
                }
                if stands_in {
                    self.store(found, Some(new))?;
                }
                Ok(())
            }
            // The kernel keeps nothing beside a link, and a link's mode is of no account.
            Owners::Mapped { .. } if found.kind == FileType::Symlink => Ok(()),
            Owners::Mapped { .. } if !matches!(found.kind, FileType::RegularFile | FileType::Directory) => {
                Err(Errno::PERM)
            }
            Owners::Mapped { .. } => {
                let status = node::status(&found.place)?;
                if new.mode & PERMISSIONS != u32::from(status.stx_mode) & 0o7777 {
                    let _one_at_a_time = self.changing_modes();
                    let mode = Mode::from_raw_mode(new.mode & PERMISSIONS);
                    chmodat(CWD, &*path, mode, AtFlags::empty())?;
                }
                let host = self.of_host(found.root, &status);
                let plain = (host.uid, host.gid) == (new.uid, new.gid) && new.mode & SET_ID == 0;
                self.store(found, (!plain || stands_in).then_some(new))
            }
        }
    }

    /// Writes down what the host cannot have, or that there is nothing.
    fn store(&self, found: &Found, what: Option<Ownership>) -> Result<()> {
        let path = by_number(&found.place);
        let write = || match what {
            Some(Ownership { uid, gid, mode, rdev }) => {
                let value = format!("{uid}:{gid}:{:o}:{rdev}", mode & (S_IFMT | SET_ID));
                setxattr(&*path, NAME, value.as_bytes(), XattrFlags::empty())
            }
            None => match removexattr(&*path, NAME) {
                Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
                other => other,
            },
        };
        let written = self.in_spite_of_permissions(&found.place, found.root, write);
        // A file system without extended attributes cannot give files away.
        written.map_err(|error| if error == Errno::OPNOTSUPP { Errno::PERM } else { error })
    }

    /// Takes the bits away that make a program run as its owner, because its content or owner has changed; that of the group only
    /// where the group may execute it.
    pub(super) fn without_set_id(mode: u32) -> u32 {
        if mode & S_IFMT == FileType::Directory.as_raw_mode() {
            return mode;
        }
        let group = if mode & GROUP_EXECUTE != 0 { SET_GROUP } else { 0 };
        mode & !(0o4000 | group)
    }

    /// Takes those bits away from a file.
    pub(super) fn drop_set_id(&self, found: &Found) -> Result<()> {
        let old = self.ownership(&found.place, found.root, &node::status(&found.place)?);
        self.own(found, old, Ownership { mode: Self::without_set_id(old.mode), ..old })
    }

    /// Does something that the host may refuse because of a file's permissions; if it does, and the file is this user's,
    /// does it again while they are wider.
    pub(super) fn in_spite_of_permissions<T>(
        &self,
        place: &OwnedFd,
        root: usize,
        act: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        self.in_spite_of(&[(place, root)], act)
    }

    /// The same with the permissions of several files.
    pub(super) fn in_spite_of<T>(
        &self,
        places: &[(&OwnedFd, usize)],
        mut act: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let refused = match act() {
            Err(error @ (Errno::ACCESS | Errno::PERM)) => error,
            other => return other,
        };
        // Others see the wider permissions as little as can be. `act` is not to come here again.
        let _one_at_a_time = self.changing_modes();
        let mut changed = Vec::new();
        for &(place, root) in places {
            let Policy { read_only, owners, .. } = *self.policy(root);
            let status = node::status(place)?;
            let wider = match node::kind(&status) {
                FileType::Directory => 0o700,
                FileType::RegularFile => 0o600,
                _ => continue,
            };
            let (mode, ours) = (u32::from(status.stx_mode) & 0o7777, status.stx_uid == self.user.0);
            if read_only || owners == Owners::Same || !ours || mode & wider == wider {
                continue;
            }
            let path = by_number(place);
            if chmodat(CWD, &*path, Mode::from_raw_mode(mode | wider), AtFlags::empty()).is_ok() {
                changed.push((path, mode));
            }
        }
        if changed.is_empty() {
            return Err(refused);
        }
        let done = act();
        for (path, mode) in changed {
            let _ = chmodat(CWD, &*path, Mode::from_raw_mode(mode), AtFlags::empty());
        }
        done
    }
}

fn parse(value: &[u8]) -> Option<Ownership> {
    let mut parts = std::str::from_utf8(value).ok()?.split(':');
    let mut next = |radix| u32::from_str_radix(parts.next()?, radix).ok();
    let (uid, gid, mode, rdev) = (next(10)?, next(10)?, next(8)?, next(10)?);
    parts.next().is_none().then_some(Ownership { uid, gid, mode, rdev })
}

#[cfg(test)]
#[path = "owner_test.rs"]
mod tests;
