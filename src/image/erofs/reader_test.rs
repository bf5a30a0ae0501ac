//! A reader of the images, for tests: written from the format's description, and strict about what a kernel relies on.

use std::collections::BTreeMap;

const BLOCK: usize = 4096;

/// What a path is, in a file system that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub time: (i64, u32),
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// File content or link target.
    pub data: Vec<u8>,
    /// Device number as the kernel encodes it.
    pub device: u32,
    /// Two paths with one number are one file.
    pub nid: u64,
}

/// Every path of an image, without a leading slash; the root is "".
pub fn read(image: &[u8]) -> BTreeMap<Vec<u8>, Node> {
    let image = Image(image);
    assert_eq!(image.u32(1024), 0xe0f5_e1e2, "magic");
    assert_eq!(image.0.len(), image.u32(1024 + 36) as usize * BLOCK, "the superblock counts all blocks");
    let mut nodes = BTreeMap::new();
    let root = u64::from(image.u16(1024 + 14));
    image.walk(root, root, Vec::new(), &mut nodes);
    let distinct: std::collections::HashSet<u64> = nodes.values().map(|node| node.nid).collect();
    assert_eq!(image.u64(1024 + 16), distinct.len() as u64, "the superblock counts all inodes");
    nodes
}

struct Image<'a>(&'a [u8]);

impl Image<'_> {
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.0[at..at + 2].try_into().unwrap())
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    fn walk(&self, nid: u64, parent: u64, path: Vec<u8>, nodes: &mut BTreeMap<Vec<u8>, Node>) {
        let node = self.inode(nid);
        let entries = if node.mode & 0o170000 == 0o040000 { self.entries(&node.data) } else { Vec::new() };
        if !entries.is_empty() {
            assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "entries are in order and unique: {entries:?}");
            let find = |name: &[u8]| entries.iter().find(|entry| entry.0 == name).map(|entry| entry.1);
            assert_eq!((find(b"."), find(b"..")), (Some(nid), Some(parent)), "dots of {path:?}");
        }
        nodes.insert(path.clone(), node);
        for (name, child, kind) in entries {
            if name == b"." || name == b".." {
                continue;
            }
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend(name);
            self.walk(child, nid, below.clone(), nodes);
            let expected = [0, 5, 3, 0, 2, 0, 4, 0, 1, 0, 7][usize::from(nodes[&below].mode >> 12)];
            assert_eq!(kind, expected, "type of {below:?}");
        }
    }

    fn inode(&self, nid: u64) -> Node {
        let at = nid as usize * 32;
        let format = self.u16(at);
        let (extended, layout) = (format & 1 == 1, format >> 1);
        assert!(at % BLOCK + if extended { 64 } else { 32 } <= BLOCK, "an inode crosses a block");
        let count = usize::from(self.u16(at + 2));
        let xattr_size = if count == 0 { 0 } else { 12 + (count - 1) * 4 };
        let (header, size, nlink, uid, gid, time) = if extended {
            let time = (self.u64(at + 32) as i64, self.u32(at + 40));
            (64, self.u64(at + 8) as usize, self.u32(at + 44), self.u32(at + 24), self.u32(at + 28), time)
        } else {
            let time = (self.u64(1024 + 24) as i64, self.u32(1024 + 32));
            let owner = (u32::from(self.u16(at + 24)), u32::from(self.u16(at + 26)));
            (32, self.u32(at + 8) as usize, u32::from(self.u16(at + 6)), owner.0, owner.1, time)
        };
        let mode = self.u16(at + 4);
        let address = self.u32(at + 16);
        let has_data = matches!(mode & 0o170000, 0o100000 | 0o040000 | 0o120000);
        let mut data = Vec::new();
        if has_data {
            let inline = match layout {
                0 => 0,
                2 => size % BLOCK,
                other => panic!("data layout {other}"),
            };
            let start = address as usize * BLOCK;
            data.extend(&self.0[start..start + size - inline]);
            let tail = at + header + xattr_size;
            assert!(
                inline == 0 || tail / BLOCK == (tail + inline - 1) / BLOCK,
                "inline data crosses a block"
            );
            data.extend(&self.0[tail..tail + inline]);
        }
        let xattrs = self.xattrs(at + header, xattr_size);
        let device = if has_data { 0 } else { address };
        Node { mode, uid, gid, nlink, time, xattrs, data, device, nid }
    }

    fn xattrs(&self, start: usize, size: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut xattrs = BTreeMap::new();
        let mut at = start + 12;
        while size > 0 && at < start + size {
            let (length, index, value) =
                (usize::from(self.0[at]), self.0[at + 1], usize::from(self.u16(at + 2)));
            let prefix: &[u8] = match index {
                1 => b"user.",
                2 => b"system.posix_acl_access",
                3 => b"system.posix_acl_default",
                4 => b"trusted.",
                6 => b"security.",
                other => panic!("attribute name index {other}"),
            };
            let name = [prefix, &self.0[at + 4..at + 4 + length]].concat();
            xattrs.insert(name, self.0[at + 4 + length..at + 4 + length + value].to_vec());
            at += (4 + length + value).next_multiple_of(4);
        }
        assert!(size == 0 || at == start + size, "attributes fill their area");
        xattrs
    }

    fn entries(&self, data: &[u8]) -> Vec<(Vec<u8>, u64, u8)> {
        let mut entries = Vec::new();
        for block in data.chunks(BLOCK) {
            let view = Image(block);
            let count = usize::from(view.u16(8)) / 12;
            assert!(count > 0, "a directory block without entries");
            for i in 0..count {
                let start = usize::from(view.u16(i * 12 + 8));
                let end = if i + 1 < count { usize::from(view.u16(i * 12 + 20)) } else { block.len() };
                let name = &block[start..end];
                let name = name.split(|&b| b == 0).next().unwrap();
                assert!(!name.is_empty() && name.len() <= 255, "a name of {} bytes", name.len());
                entries.push((name.to_vec(), view.u64(i * 12), block[i * 12 + 10]));
            }
        }
        entries
    }
}
