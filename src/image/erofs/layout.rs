//! Where inodes go, and writing them: everything of an image that is not the data of files.

use std::collections::HashMap;
use std::io::{Seek, Write};

use super::directory::{self, Entry};
use super::format::{
    BLOCK, DataLayout, DiskInode, Nid, SLOT, SUPER_OFFSET, SUPER_SIZE, SuperBlock, file_type,
};
use super::sink::Sink;
use super::tree::{Content, InodeId, ROOT, Tree};
use super::{Error, Summary};

/// Where the root's inode is, in bytes: in block 0, so that a mount needs no other.
const ROOT_OFFSET: usize = SUPER_OFFSET + SUPER_SIZE;

/// Where an inode is and what it looks like on disk.
struct Placed {
    id: InodeId,
    disk: DiskInode,
    compact: bool,
    nid: Nid,
    /// Bytes that are not in the image yet: of directories, links and small files.
    pending: u64,
    /// How many of these lie behind the inode; the others are in blocks.
    inline: usize,
}

impl Placed {
    /// Size of inode, attributes and inline data, in bytes.
    fn size(&self) -> usize {
        header_size(self.compact, &self.disk) + self.inline
    }
}

fn header_size(compact: bool, disk: &DiskInode) -> usize {
    (if compact { 32 } else { 64 }) + disk.xattr_size
}

/// Writes the rest of the image, whose file data `sink` has taken already.
pub(super) fn write<W: Write + Seek>(tree: &Tree, mut sink: Sink<W>) -> Result<Summary, Error> {
    let reached = Reached::walk(tree);
    let time = most_common_time(tree, &reached.order);
    let mut placed = describe(tree, &reached, time);
    let inodes_start = place(&mut placed, u64::from(sink.block()?))?;
    let mut nids = vec![Nid(0); tree.len()];
    for inode in &placed {
        nids[inode.id.index()] = inode.nid;
    }
    let contents = Contents { tree, nids: &nids, parents: &reached.parents };

    for inode in placed.iter().filter(|inode| inode.pending > inode.inline as u64) {
        let bytes = contents.of(inode.id);
        sink.write(&bytes[..bytes.len() - inode.inline])?;
        sink.pad()?;
    }
    debug_assert_eq!(sink.position(), inodes_start);
    let mut record = Vec::new();
    for inode in &placed[1..] {
        sink.skip(inode.nid.0 * SLOT as u64 - sink.position())?;
        encode(inode, &contents, &mut record);
        sink.write(&record)?;
    }
    sink.pad()?;

    let mut first = [0; BLOCK];
    let (root, blocks) = (&placed[0], sink.block()?);
    let inodes = placed.len() as u64;
    let superblock = SuperBlock { root: root.nid, inodes, time, blocks }.encode();
    first[SUPER_OFFSET..ROOT_OFFSET].copy_from_slice(&superblock);
    encode(root, &contents, &mut record);
    first[ROOT_OFFSET..ROOT_OFFSET + record.len()].copy_from_slice(&record);
    let (_, size) = sink.finish(&first)?;
    Ok(Summary { size, inodes })
}

/// What can be reached from the root.
struct Reached {
    /// Breadth first, and by name within a directory.
    order: Vec<InodeId>,
    /// How many names each inode has, by its index; 0 for what was replaced.
    links: Vec<u32>,
    /// The parent of each directory.
    parents: Vec<InodeId>,
}

impl Reached {
    fn walk(tree: &Tree) -> Self {
        let mut reached =
            Reached { order: vec![ROOT], links: vec![0; tree.len()], parents: vec![ROOT; tree.len()] };
        reached.links[ROOT.index()] = 2;
        let mut next = 0;
        while let Some(&at) = reached.order.get(next) {
            next += 1;
            for &child in tree.directory(at).iter().flat_map(|directory| directory.entries.values()) {
                let directory = tree.inode(child).is_directory();
                if reached.links[child.index()] == 0 {
                    reached.order.push(child);
                    reached.parents[child.index()] = at;
                }
                // A directory's second name is its own "."; each below it is a name of it too.
                reached.links[child.index()] += if directory { 2 } else { 1 };
                reached.links[at.index()] += u32::from(directory);
            }
        }
        reached
    }
}

/// The time of most inodes: those with it can be compact. Of several the earliest.
fn most_common_time(tree: &Tree, order: &[InodeId]) -> (i64, u32) {
    let mut counts = HashMap::new();
    for &id in order {
        *counts.entry(tree.inode(id).mtime).or_insert(0u32) += 1;
    }
    let best = counts.into_iter().max_by_key(|&(time, count)| (count, std::cmp::Reverse(time)));
    best.map_or((0, 0), |(time, _)| (time.seconds, time.nanoseconds))
}

/// What each inode will say, but for where it is.
fn describe(tree: &Tree, reached: &Reached, time: (i64, u32)) -> Vec<Placed> {
    let describe = |(serial, &id): (usize, &InodeId)| {
        let inode = tree.inode(id);
        let (size, address, pending) = match &inode.content {
            Content::Directory(_) => {
                let size = directory::size(sorted(tree, id).into_iter().map(|(name, _)| name));
                (size, 0, size)
            }
            Content::File { size, block } => (*size, *block, 0),
            Content::Bytes(bytes) => (bytes.len() as u64, 0, bytes.len() as u64),
            Content::Device(number) => (0, *number, 0),
            Content::Fifo => (0, 0, 0),
        };
        let mut disk = DiskInode {
            layout: DataLayout::FlatPlain,
            xattr_size: inode.xattrs.size(),
            mode: inode.mode,
            nlink: reached.links[id.index()],
            size,
            address,
            serial: serial as u32 + 1,
            uid: inode.uid,
            gid: inode.gid,
            time: (inode.mtime.seconds, inode.mtime.nanoseconds),
        };
        let compact = disk.is_compact(time);
        // Inline data must not cross a block, and the root shares its block with the superblock.
        let room = if id == ROOT { BLOCK - ROOT_OFFSET } else { BLOCK };
        let rest = (pending % BLOCK as u64) as usize;
        let inline = if header_size(compact, &disk) + rest <= room { rest } else { 0 };
        if inline > 0 {
            disk.layout = DataLayout::FlatInline;
        }
        Placed { id, disk, compact, nid: Nid(0), pending, inline }
    };
    reached.order.iter().enumerate().map(describe).collect()
}

/// Gives pending data its blocks from `block` on, and inodes their places behind them. Returns where the inodes begin, in bytes.
fn place(placed: &mut [Placed], mut block: u64) -> Result<u64, Error> {
    for inode in placed.iter_mut().filter(|inode| inode.pending > inode.inline as u64) {
        inode.disk.address = u32::try_from(block).map_err(|_| Error::TooManyBlocks)?;
        block += (inode.pending - inode.inline as u64).div_ceil(BLOCK as u64);
    }
    let start = block * BLOCK as u64;
    let mut at = start;
    let (root, others) = placed.split_first_mut().expect("there is always a root");
    if ROOT_OFFSET + root.size() > BLOCK {
        let reason = "the root directory has too many extended attributes".to_owned();
        return Err(Error::Member { path: "/".into(), reason });
    }
    root.nid = Nid((ROOT_OFFSET / SLOT) as u64);
    for inode in others {
        // What fits into one block never crosses two: inline data must not, and a guest reads one block for it.
        let room = BLOCK - (at % BLOCK as u64) as usize;
        if inode.size() > room && inode.size() <= BLOCK {
            at += room as u64;
        }
        inode.nid = Nid(at / SLOT as u64);
        at = (at + inode.size() as u64).next_multiple_of(SLOT as u64);
    }
    Ok(start)
}

/// The bytes behind directories, links and small files.
struct Contents<'a> {
    tree: &'a Tree,
    nids: &'a [Nid],
    parents: &'a [InodeId],
}

impl Contents<'_> {
    fn of(&self, id: InodeId) -> std::borrow::Cow<'_, [u8]> {
        match &self.tree.inode(id).content {
            Content::Bytes(bytes) => bytes.as_ref().into(),
            Content::Directory(_) => {
                let entry = |(name, target)| {
                    let id = match target {
                        Target::Child(child) => child,
                        Target::Itself => id,
                        Target::Parent => self.parents[id.index()],
                    };
                    Entry { name, nid: self.nids[id.index()], kind: file_type(self.tree.inode(id).mode) }
                };
                directory::encode(&sorted(self.tree, id).into_iter().map(entry).collect::<Vec<_>>()).into()
            }
            _ => (&[][..]).into(),
        }
    }
}

/// What an entry of a directory names.
enum Target {
    Child(InodeId),
    Itself,
    Parent,
}

/// Every entry of a directory, `.` and `..` among them, in the order of names' bytes.
fn sorted(tree: &Tree, id: InodeId) -> Vec<(&[u8], Target)> {
    let children = tree.directory(id).into_iter().flat_map(|directory| &directory.entries);
    let mut entries: Vec<(&[u8], Target)> =
        children.map(|(name, &child)| (name.as_ref(), Target::Child(child))).collect();
    entries.extend([(&b"."[..], Target::Itself), (b"..", Target::Parent)]);
    entries.sort_by_key(|&(name, _)| name);
    entries
}

/// The inode, its attributes and its inline data, into `record`.
fn encode(inode: &Placed, contents: &Contents<'_>, record: &mut Vec<u8>) {
    record.clear();
    inode.disk.encode(inode.compact, record);
    contents.tree.inode(inode.id).xattrs.encode(record);
    if inode.inline > 0 {
        let bytes = contents.of(inode.id);
        record.extend_from_slice(&bytes[bytes.len() - inode.inline..]);
    }
}
