//! The nodes that a guest knows: numbers for files, by which it asks for them.
//!
//! A node is known by its place, the node of its directory and a name in it, and by what it is, device and number. It is opened
//! (`O_PATH`) while it is in use, but only so many are at a time: the one that was not used for longest is closed, and opened again
//! from its place when it is asked for. If something else is there by then, the guest is told that its node is stale, and looks
//! again. So a guest that knows a million files costs a million small entries here, and some thousand descriptors.

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat2, statx};
use rustix::io::Errno;

use super::super::wire::ROOT_ID;

/// Most bytes that nodes may take, names included.
const MAX_BYTES: usize = 192 << 20;
/// What a node takes beside its name, in all tables.
const NODE_BYTES: usize = 256;

/// What of a file is asked of the kernel.
pub const ASKED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME).union(StatxFlags::MNT_ID);

/// A file that was opened with `O_PATH`.
pub type Place = Arc<OwnedFd>;

/// A file, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    root: usize,
    /// A directory that is mounted at two places has a way up from each.
    mount: u64,
    device: (u32, u32),
    ino: u64,
}

/// A node.
#[derive(Debug)]
struct Node {
    identity: Identity,
    /// When the file was made, where the file system says: a number may be used again.
    born: Option<(i64, u32)>,
    kind: FileType,
    /// Node of its directory, and its name there. A root has none.
    parent: u64,
    name: CString,
    /// How often the guest was told of it and has not forgotten, and how many nodes are in it.
    references: u64,
    open: Option<Place>,
    /// It was used since it was last looked at for closing.
    used: bool,
    /// Its name is gone: it cannot be opened again.
    unlinked: bool,
}

/// What is known of a node when it is used.
#[derive(Debug, Clone)]
pub struct Found {
    /// The file.
    pub place: Place,
    /// The root it is below.
    pub root: usize,
    /// What it is.
    pub kind: FileType,
}

/// All nodes.
#[derive(Debug)]
pub struct Nodes {
    nodes: HashMap<u64, Node>,
    by_identity: HashMap<Identity, u64>,
    /// Those that are open, the one that was opened first in front. One that was forgotten stays until it gets there.
    open: VecDeque<u64>,
    open_count: usize,
    most_open: usize,
    next: u64,
    bytes: usize,
    /// File systems, for numbers that are unique in the share.
    devices: Vec<(u32, u32)>,
    roots: usize,
}

impl Nodes {
    /// Nodes of so many roots, of which `most_open` are open at a time.
    pub fn new(most_open: usize) -> Self {
        Self {
            nodes: HashMap::new(),
            by_identity: HashMap::new(),
            open: VecDeque::new(),
            open_count: 0,
            most_open: most_open.max(1),
            next: ROOT_ID + 1,
            bytes: 0,
            devices: Vec::new(),
            roots: 0,
        }
    }

    /// Adds a root, whose node is there for ever.
    pub fn add_root(&mut self, place: Place, status: &Statx) {
        let identity = identity(self.roots, status);
        let node = Node {
            identity,
            born: born(status),
            kind: kind(status),
            parent: 0,
            name: CString::default(),
            references: 1,
            open: Some(place),
            used: true,
            unlinked: false,
        };
        let id = self.next;
        self.next += 1;
        self.roots += 1;
        self.by_identity.insert(identity, id);
        self.nodes.insert(id, node);
    }

    /// The node of the root with this index.
    pub fn root(&self, index: usize) -> Option<u64> {
        (index < self.roots).then_some(ROOT_ID + 1 + index as u64)
    }

    /// The number of a file that is unique in the share: the file system's own, with another beginning for each after the first.
    pub fn number(&mut self, status: &Statx) -> u64 {
        let device = (status.stx_dev_major, status.stx_dev_minor);
        let index = self.devices.iter().position(|known| *known == device).unwrap_or_else(|| {
            // Some thousand file systems below one share: those after them look like one.
            if self.devices.len() < 1 << 12 {
                self.devices.push(device);
            }
            self.devices.len() - 1
        });
        status.stx_ino ^ (index as u64) << 48
    }

    /// Tells the guest once more of what was found in a directory under a name: gives its node.
    ///
    /// # Errors
    /// `ENFILE` when the guest knows too many.
    pub fn remember(&mut self, parent: u64, name: &[u8], place: Place, status: &Statx) -> Result<u64, Errno> {
        let root = self.nodes.get(&parent).ok_or(Errno::STALE)?.identity.root;
        let identity = identity(root, status);
        if let Some(id) = self.by_identity.get(&identity).copied()
            && let Some(node) = self.nodes.get_mut(&id)
            && (node.open.is_some() || node.born == born(status))
        {
            node.used = true;
            if node.parent != 0 {
                node.references += 1;
                self.move_to(id, parent, name);
            }
            self.hold_open(id, place);
            return Ok(id);
        }
        let bytes = NODE_BYTES + name.len();
        if self.bytes + bytes > MAX_BYTES {
            return Err(Errno::NFILE);
        }
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        let (id, kind, born) = (self.next, kind(status), born(status));
        self.next += 1;
        self.bytes += bytes;
        let node = Node {
            identity,
            born,
            kind,
            parent,
            name,
            references: 1,
            open: None,
            used: true,
            unlinked: false,
        };
        self.nodes.insert(id, node);
        // One that was there under this identity was another file, which is gone.
        self.by_identity.insert(identity, id);
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.references += 1;
        }
        self.hold_open(id, place);
        Ok(id)
    }

    /// The guest forgets a node, so many times.
    pub fn forget(&mut self, id: u64, count: u64) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.parent != 0) else { return };
        // What is in it holds it too, whatever the guest says.
        let count = count.min(node.references);
        self.release(id, count);
    }

    fn release(&mut self, mut id: u64, mut count: u64) {
        // Not by recursion: a guest makes directories as deep as it likes.
        while let Some(node) = self.nodes.get_mut(&id) {
            node.references = node.references.saturating_sub(count);
            if node.references > 0 || node.parent == 0 {
                return;
            }
            let Some(node) = self.nodes.remove(&id) else { return };
            self.bytes = self.bytes.saturating_sub(NODE_BYTES + node.name.as_bytes().len());
            self.open_count -= usize::from(node.open.is_some());
            if self.by_identity.get(&node.identity) == Some(&id) {
                self.by_identity.remove(&node.identity);
            }
            (id, count) = (node.parent, 1);
        }
    }

    /// The guest forgets everything.
    pub fn clear(&mut self) {
        self.nodes.retain(|_, node| node.parent == 0);
        self.nodes.values_mut().for_each(|root| root.references = 1);
        self.by_identity.retain(|_, id| self.nodes.contains_key(id));
        self.open.clear();
        self.open_count = 0;
        self.bytes = 0;
    }

    /// A node, opened.
    ///
    /// # Errors
    /// `ESTALE` when the guest does not know it, or something else is in its place.
    pub fn find(&mut self, id: u64) -> Result<Found, Errno> {
        let mut closed = Vec::new();
        let mut at = id;
        let mut place = loop {
            let node = self.nodes.get_mut(&at).ok_or(Errno::STALE)?;
            node.used = true;
            match &node.open {
                Some(place) => break place.clone(),
                None if node.unlinked => return Err(Errno::STALE),
                None => closed.push(at),
            }
            at = node.parent;
        };
        for id in closed.into_iter().rev() {
            let node = self.nodes.get(&id).ok_or(Errno::STALE)?;
            let reopened = open_in(&place, &node.name).map_err(|_| Errno::STALE)?;
            let status = status(&reopened)?;
            if identity(node.identity.root, &status) != node.identity || born(&status) != node.born {
                return Err(Errno::STALE);
            }
            place = Arc::new(reopened);
            self.hold_open(id, place.clone());
        }
        let node = self.nodes.get(&id).ok_or(Errno::STALE)?;
        Ok(Found { place, root: node.identity.root, kind: node.kind })
    }

    /// The node of a file, if the guest knows it.
    pub fn known(&self, root: usize, status: &Statx) -> Option<u64> {
        self.by_identity.get(&identity(root, status)).copied()
    }

    /// A file has another place.
    pub fn move_to(&mut self, id: u64, parent: u64, name: &[u8]) {
        let Ok(name) = CString::new(name) else { return };
        let Some(node) = self.nodes.get(&id).filter(|node| node.parent != 0) else { return };
        // The host may have moved directories about: what the guest knows of them by now must not go round in circles.
        if node.parent != parent && self.is_within(parent, id) {
            return;
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        self.bytes = (self.bytes + name.as_bytes().len()).saturating_sub(node.name.as_bytes().len());
        node.name = name;
        node.unlinked = false;
        let old = std::mem::replace(&mut node.parent, parent);
        if old != parent {
            if let Some(parent) = self.nodes.get_mut(&parent) {
                parent.references += 1;
            }
            self.release(old, 1);
        }
    }

    /// Whether a node is another, or below it.
    fn is_within(&self, mut id: u64, above: u64) -> bool {
        while let Some(node) = self.nodes.get(&id) {
            if id == above {
                return true;
            }
            id = node.parent;
        }
        false
    }

    /// A file has lost its last name: it stays open, for it cannot be opened again.
    pub fn unlinked(&mut self, id: u64, place: Place) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.unlinked = true;
            self.hold_open(id, place);
        }
    }

    /// How many nodes there are, roots included, and how many are open.
    pub fn count(&self) -> (usize, usize) {
        (self.nodes.len(), self.open_count)
    }

    fn hold_open(&mut self, id: u64, place: Place) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.open.is_none()) else { return };
        node.open = Some(place);
        self.open.push_back(id);
        self.open_count += 1;
        // Three times round at most: what was used, then what could not be opened again, is left as long as there is anything else.
        let round = self.open.len();
        let mut left = 3 * round;
        while (self.open_count > self.most_open || self.open.len() > 2 * self.most_open) && left > 0 {
            left -= 1;
            let Some(oldest) = self.open.pop_front() else { return };
            let Some(node) = self.nodes.get_mut(&oldest).filter(|node| node.open.is_some()) else { continue };
            let keep = std::mem::take(&mut node.used) || (node.unlinked && left >= round);
            if keep || oldest == id {
                self.open.push_back(oldest);
            } else {
                node.open = None;
                self.open_count -= 1;
            }
        }
    }
}

/// Opens what is in a directory under a name, whatever it is, without following it.
///
/// # Errors
/// As `openat2(2)`.
pub fn open_in(directory: &OwnedFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(directory, name, flags, Mode::empty(), BENEATH)
}

/// The kernel leaves a directory by no name, whatever that is.
pub const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// What the kernel says of a file.
///
/// # Errors
/// As `statx(2)`.
pub fn status(place: &OwnedFd) -> Result<Statx, Errno> {
    statx(place, c"", AtFlags::EMPTY_PATH, ASKED)
}

/// What a file is.
pub fn kind(status: &Statx) -> FileType {
    FileType::from_raw_mode(status.stx_mode.into())
}

fn identity(root: usize, status: &Statx) -> Identity {
    let device = (status.stx_dev_major, status.stx_dev_minor);
    Identity { root, mount: status.stx_mnt_id, device, ino: status.stx_ino }
}

/// When a file was made, where the file system says.
pub fn born(status: &Statx) -> Option<(i64, u32)> {
    let known = StatxFlags::from_bits_retain(status.stx_mask).contains(StatxFlags::BTIME);
    known.then_some((status.stx_btime.tv_sec, status.stx_btime.tv_nsec))
}
