//! The tree of a file system while it is being read: everything but the data of files.

use std::collections::BTreeMap;

use super::format::{S_IFCHR, S_IFDIR, S_IFMT};
use super::xattr::Xattrs;
use crate::image::tar::Time;

/// An inode of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InodeId(u32);

/// The root directory.
pub(super) const ROOT: InodeId = InodeId(0);

#[derive(Debug)]
pub(super) struct Inode {
    /// Type and permissions.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Xattrs,
    pub content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Directory(Directory),
    /// A file whose data is in the image already.
    File {
        size: u64,
        /// Its first block.
        block: u32,
    },
    /// The data of a small file, or a symbolic link's target.
    Bytes(Box<[u8]>),
    /// A device's number, as the kernel encodes it.
    Device(u32),
    Fifo,
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    pub entries: BTreeMap<Box<[u8]>, InodeId>,
    /// Names hidden in lower layers.
    pub whiteouts: Vec<Box<[u8]>>,
}

/// All inodes; those that were replaced stay, without a name.
#[derive(Debug)]
pub(super) struct Tree {
    inodes: Vec<Inode>,
    memory: usize,
}

impl Inode {
    /// A directory that no member described.
    pub(super) fn implied_directory() -> Self {
        Inode {
            mode: S_IFDIR | 0o755,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            xattrs: Xattrs::default(),
            content: Content::Directory(Directory::default()),
        }
    }

    fn whiteout() -> Self {
        Inode { mode: S_IFCHR, content: Content::Device(0), ..Self::implied_directory() }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }
}

impl Tree {
    pub(super) fn new() -> Self {
        Tree { inodes: vec![Inode::implied_directory()], memory: 0 }
    }

    /// Bytes of memory the tree takes, about.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// How many inodes there ever were.
    pub(super) fn len(&self) -> usize {
        self.inodes.len()
    }

    pub(super) fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    pub(super) fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.index()]
    }

    /// The directory `id`, or `None` if it is something else.
    pub(super) fn directory(&self, id: InodeId) -> Option<&Directory> {
        match &self.inode(id).content {
            Content::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn directory_mut(&mut self, id: InodeId) -> &mut Directory {
        match &mut self.inode_mut(id).content {
            Content::Directory(directory) => directory,
            _ => unreachable!("only directories are given entries"),
        }
    }

    /// What `name` is in directory `parent`.
    pub(super) fn lookup(&self, parent: InodeId, name: &[u8]) -> Option<InodeId> {
        self.directory(parent)?.entries.get(name).copied()
    }

    /// Adds an inode that has no name yet.
    pub(super) fn add(&mut self, inode: Inode) -> InodeId {
        self.memory += size_of::<Inode>() + inode.xattrs.size();
        if let Content::Bytes(bytes) = &inode.content {
            self.memory += bytes.len();
        }
        self.inodes.push(inode);
        InodeId(self.inodes.len() as u32 - 1)
    }

    /// Gives `inode` the name `name` in directory `parent`, in place of what had it.
    pub(super) fn link(&mut self, parent: InodeId, name: &[u8], inode: InodeId) {
        // A map's nodes are about two thirds full.
        self.memory += name.len() + 48;
        self.directory_mut(parent).entries.insert(name.into(), inode);
    }

    /// Hides `name` of lower layers.
    pub(super) fn hide(&mut self, parent: InodeId, name: &[u8]) {
        self.memory += name.len() + size_of::<Box<[u8]>>();
        self.directory_mut(parent).whiteouts.push(name.into());
    }

    /// Turns whiteouts into what overlayfs knows. A whiteout speaks of lower layers only (layer.md, "Whiteouts"): where
    /// this layer has a directory of the name, that hides the lower one's content; anything else hides it as it is.
    pub(super) fn place_whiteouts(&mut self) {
        // All of them are one inode, which a guest then reads once.
        let mut whiteout = None;
        for index in 0..self.inodes.len() {
            let Content::Directory(directory) = &mut self.inodes[index].content else { continue };
            for name in std::mem::take(&mut directory.whiteouts) {
                match self.lookup(InodeId(index as u32), &name) {
                    Some(id) if self.inode(id).is_directory() => self.inode_mut(id).xattrs.set_opaque(),
                    Some(_) => {}
                    None => {
                        let id = *whiteout.get_or_insert_with(|| {
                            self.inodes.push(Inode::whiteout());
                            InodeId(self.inodes.len() as u32 - 1)
                        });
                        self.link(InodeId(index as u32), &name, id);
                    }
                }
            }
        }
    }
}

impl InodeId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}
