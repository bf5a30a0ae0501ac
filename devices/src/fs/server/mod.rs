//! The file system behind a share: it answers requests of a guest by what the host has below some roots.
//!
//! Nobody is believed: each name is one component, resolved by the kernel beneath the directory it is in and never followed
//! (`openat2(2)`), what is opened is what was looked at, and only files and directories are opened at all. The guest's kernel
//! decides who in the guest may do what (`default_permissions`); what the host allows the user that this runs as comes on top.
//!
//! Threads that call [`Share::answer`] have `/proc/self/fd` as their working directory, and a umask of zero: what was opened with `O_PATH`
//! is opened for use by its number there. That is the one link that is followed, and it is the kernel's own.

mod change;
mod data;
mod directory;
mod look;
mod node;
mod owner;
mod root;
mod xattr;

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use self::directory::Listing;
use self::node::{Found, Nodes};
pub use self::root::{Freshness, Owners, Policy, Root};
use super::wire::{Answer, Arguments, Header, ROOT_ID, opcode};
use crate::device::Memory;
use crate::queue::Buffers;

/// How much of the host a share may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files held open for what the guest knows of, a descriptor each.
    pub places: usize,
    /// Files that the guest has open at a time, likewise.
    pub handles: usize,
}

/// A file that the guest has open.
#[derive(Debug)]
struct Handle {
    file: OwnedFd,
    listing: Mutex<Listing>,
}

/// What a request gives.
pub(super) enum Outcome {
    /// This.
    Answer(Answer),
    /// So many bytes, which are in the guest's memory already.
    Written(usize),
    /// Nothing, not even an error.
    Silence,
}

type Result<T> = std::result::Result<T, Errno>;

/// The file system.
#[derive(Debug)]
pub struct Share {
    roots: Vec<Policy>,
    nodes: Mutex<Nodes>,
    handles: Mutex<HashMap<u64, Arc<Handle>>>,
    next_handle: AtomicU64,
    limits: Limits,
    /// Held while permissions of a file are wider than they are.
    modes: Mutex<()>,
    /// The user that this runs as.
    user: (u32, u32),
}

/// A request, as far as it is not data.
struct Request<'a> {
    header: Header,
    arguments: Arguments<'a>,
}

impl Share {
    /// A share of these roots.
    ///
    /// # Errors
    /// When one cannot be looked at.
    pub fn new(roots: Vec<Root>, limits: Limits) -> std::io::Result<Self> {
        let mut nodes = Nodes::new(limits.places);
        let mut policies = Vec::new();
        for root in roots {
            let status = node::status(&root.place)?;
            nodes.add_root(Arc::new(root.place), &status);
            policies.push(root.policy);
        }
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Ok(Self {
            roots: policies,
            nodes: Mutex::new(nodes),
            handles: Mutex::default(),
            next_handle: AtomicU64::new(1),
            limits,
            modes: Mutex::default(),
            user: (uid, gid),
        })
    }

    /// Carries out a request. Data to write is in `data`, room for data that is read in `room`.
    pub(super) fn carry_out(
        &self,
        header: Header,
        arguments: &[u8],
        memory: &Memory,
        data: &mut Buffers,
        room: &mut Buffers,
    ) -> Result<Outcome> {
        let mut request = Request { header, arguments: Arguments(arguments) };
        let request = &mut request;
        let answer = match header.opcode {
            opcode::INIT => self.initialize(request),
            opcode::DESTROY => {
                self.forget_everything();
                Ok(Answer::default())
            }
            opcode::FORGET | opcode::BATCH_FORGET => {
                // There is no answer, whatever it is.
                let _ = self.forget(request);
                return Ok(Outcome::Silence);
            }
            // Requests are short, or else the host's disk is slow, and nothing can be done.
            opcode::INTERRUPT => return Ok(Outcome::Silence),
            opcode::LOOKUP => self.lookup(request),
            opcode::GETATTR => self.get_attributes(request),
            opcode::SETATTR => self.set_attributes(request),
            opcode::READLINK => self.read_link(request),
            opcode::STATFS => self.file_system(request),
            opcode::SYMLINK => self.make_link(request),
            opcode::MKNOD => self.make_node(request),
            opcode::MKDIR => self.make_directory(request),
            opcode::UNLINK => self.remove(request, false),
            opcode::RMDIR => self.remove(request, true),
            opcode::RENAME | opcode::RENAME2 => self.rename(request),
            opcode::LINK => self.link(request),
            opcode::CREATE => self.create(request),
            opcode::OPEN => self.open(request),
            opcode::READ => return self.read(request, memory, room).map(Outcome::Written),
            opcode::WRITE => self.write(request, memory, data),
            opcode::RELEASE | opcode::RELEASEDIR => self.close(request),
            opcode::FSYNC | opcode::FSYNCDIR => self.synchronize(request),
            opcode::SYNCFS => self.synchronize_all(),
            opcode::FALLOCATE => self.allocate(request),
            opcode::LSEEK => self.seek(request),
            opcode::COPY_FILE_RANGE => self.copy(request),
            opcode::OPENDIR => self.open_directory(request),
            opcode::READDIR => self.read_directory(request, false),
            opcode::READDIRPLUS => self.read_directory(request, true),
            opcode::SETXATTR => self.set_xattr(request),
            opcode::GETXATTR => self.get_xattr(request),
            opcode::LISTXATTR => self.list_xattrs(request),
            opcode::REMOVEXATTR => self.remove_xattr(request),
            _ => Err(Errno::NOSYS),
        };
        answer.map(Outcome::Answer)
    }

    /// `FUSE_INIT`: what both sides know.
    fn initialize(&self, request: &mut Request<'_>) -> Result<Answer> {
        const MAJOR: u32 = 7;
        const MINOR: u32 = 38;
        /// The oldest kernel that is spoken to has virtio-fs, and so 7.31.
        const OLDEST: u32 = 31;
        /// Bytes of a write, and of a read: what a request's pages can be.
        const MAX_WRITE: u32 = MAX_PAGES as u32 * 4096;
        const MAX_PAGES: u16 = 256;
        /// Requests that the guest has under way by itself: reading ahead, writing back.
        const BACKGROUND: u16 = 64;
        const WANTED: u32 = init::ASYNC_READ
            | init::ATOMIC_O_TRUNC
            | init::BIG_WRITES
            | init::AUTO_INVAL_DATA
            | init::DO_READDIRPLUS
            | init::READDIRPLUS_AUTO
            | init::ASYNC_DIO
            | init::PARALLEL_DIROPS
            | init::MAX_PAGES
            | init::CACHE_SYMLINKS
            | init::HANDLE_KILLPRIV_V2;
        let arguments = &mut request.arguments;
        let (major, minor) = (arguments.u32()?, arguments.u32()?);
        let (read_ahead, offered) = (arguments.u32()?, arguments.u32()?);
        if major < MAJOR || (major == MAJOR && minor < OLDEST) {
            return Err(Errno::PROTO);
        }
        self.forget_everything();
        let answer = Answer::default().u32(MAJOR).u32(MINOR).u32(read_ahead).u32(WANTED & offered);
        let answer = answer.u16(BACKGROUND).u16(BACKGROUND / 4 * 3).u32(MAX_WRITE).u32(1).u16(MAX_PAGES);
        Ok(answer.u16(0).bytes(&[0; 32]))
    }

    fn forget_everything(&self) {
        self.handles().clear();
        self.nodes().clear();
    }

    fn forget(&self, request: &mut Request<'_>) -> Result<()> {
        let arguments = &mut request.arguments;
        let mut nodes = self.nodes();
        if request.header.opcode == opcode::FORGET {
            nodes.forget(request.header.node, arguments.u64()?);
            return Ok(());
        }
        let (count, _) = (arguments.u32()?, arguments.u32()?);
        for _ in 0..count {
            nodes.forget(arguments.u64()?, arguments.u64()?);
        }
        Ok(())
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<u64, Arc<Handle>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing_modes(&self) -> MutexGuard<'_, ()> {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node that the guest knows. The one above all roots is none.
    fn node(&self, id: u64) -> Result<Found> {
        if id == ROOT_ID { Err(Errno::ACCESS) } else { self.nodes().find(id) }
    }

    /// A node that is to be changed.
    fn changeable(&self, id: u64) -> Result<Found> {
        if id == ROOT_ID {
            return Err(Errno::ROFS);
        }
        let found = self.node(id)?;
        if self.roots[found.root].read_only { Err(Errno::ROFS) } else { Ok(found) }
    }

    fn policy(&self, root: usize) -> &Policy {
        &self.roots[root]
    }

    fn handle(&self, id: u64) -> Result<Arc<Handle>> {
        self.handles().get(&id).cloned().ok_or(Errno::BADF)
    }

    /// Keeps a file open for the guest.
    fn keep(&self, file: OwnedFd) -> Result<u64> {
        let mut handles = self.handles();
        if handles.len() >= self.limits.handles {
            return Err(Errno::NFILE);
        }
        let id = self.next_handle.fetch_add(1, Ordering::Relaxed);
        handles.insert(id, Arc::new(Handle { file, listing: Mutex::default() }));
        Ok(id)
    }

    /// How many nodes the guest knows, how many of them are open, and how many files it has open.
    pub fn usage(&self) -> (usize, usize, usize) {
        let (nodes, open) = self.nodes().count();
        (nodes, open, self.handles().len())
    }

    /// Opens for use what was opened with `O_PATH`. A file that the user who this runs as owns is opened although its
    /// permissions say otherwise: the guest has decided who may do what, and its root may do everything.
    fn open_for_use(&self, found: &Found, flags: OFlags) -> Result<OwnedFd> {
        if !matches!(found.kind, FileType::RegularFile | FileType::Directory) {
            // Whatever it is on the host, it is not for the guest.
            return Err(Errno::ACCESS);
        }
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let open = || openat(CWD, by_number(&found.place), flags, Mode::empty());
        self.in_spite_of_permissions(&found.place, found.root, open)
    }
}

/// The name of an open file in the working directory.
fn by_number(file: &OwnedFd) -> CString {
    // Digits have no NUL among them.
    CString::new(file.as_raw_fd().to_string()).unwrap_or_default()
}

/// Flags of `FUSE_INIT`.
mod init {
    pub const ASYNC_READ: u32 = 1;
    pub const ATOMIC_O_TRUNC: u32 = 1 << 3;
    pub const BIG_WRITES: u32 = 1 << 5;
    pub const AUTO_INVAL_DATA: u32 = 1 << 12;
    pub const DO_READDIRPLUS: u32 = 1 << 13;
    pub const READDIRPLUS_AUTO: u32 = 1 << 14;
    pub const ASYNC_DIO: u32 = 1 << 15;
    pub const PARALLEL_DIROPS: u32 = 1 << 18;
    pub const MAX_PAGES: u32 = 1 << 22;
    pub const CACHE_SYMLINKS: u32 = 1 << 23;
    pub const HANDLE_KILLPRIV_V2: u32 = 1 << 28;
}

#[cfg(test)]
#[path = "share_test.rs"]
pub(super) mod tests;
