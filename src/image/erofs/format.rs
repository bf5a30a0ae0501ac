//! The structures of fs/erofs/erofs_fs.h, as far as uncompressed images need them. All numbers are little-endian.

/// Size of a block in bytes.
pub const BLOCK: usize = 4096;
/// Size of an inode slot in bytes: an inode's number is its position in slots.
pub(super) const SLOT: usize = 32;
/// Where the superblock is, in bytes.
pub(super) const SUPER_OFFSET: usize = 1024;
/// Size of the superblock in bytes.
pub(super) const SUPER_SIZE: usize = 128;
/// Size of a directory entry without its name.
pub(super) const DIRENT: usize = 12;
/// Longest name of a directory entry or extended attribute, in bytes.
pub(super) const MAX_NAME: usize = 255;

const MAGIC: u32 = 0xe0f5_e1e2;
const BLOCK_BITS: u8 = 12;
/// Times in inodes are of modification, not of the inode's change.
const COMPAT_MTIME: u32 = 0x2;

pub(super) const S_IFIFO: u16 = 0o010000;
pub(super) const S_IFCHR: u16 = 0o020000;
pub(super) const S_IFDIR: u16 = 0o040000;
pub(super) const S_IFBLK: u16 = 0o060000;
pub(super) const S_IFREG: u16 = 0o100000;
pub(super) const S_IFLNK: u16 = 0o120000;
pub(super) const S_IFMT: u16 = 0o170000;

/// Number of an inode: its byte offset in the image in slots of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nid(pub u64);

/// How an inode's data is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// In blocks.
    FlatPlain = 0,
    /// In blocks, but what does not fill one lies behind the inode.
    FlatInline = 2,
}

/// What a superblock says.
pub(super) struct SuperBlock {
    pub root: Nid,
    pub inodes: u64,
    /// Time of every compact inode.
    pub time: (i64, u32),
    pub blocks: u32,
}

impl SuperBlock {
    /// The superblock's bytes. It has no checksum: the guest would pay for it at every mount, and the layer's digest
    /// was checked on the way in.
    pub(super) fn encode(&self) -> [u8; SUPER_SIZE] {
        let mut bytes = [0; SUPER_SIZE];
        let mut put =
            |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        put(0, &MAGIC.to_le_bytes());
        put(8, &COMPAT_MTIME.to_le_bytes());
        put(12, &[BLOCK_BITS]);
        put(14, &(self.root.0 as u16).to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(24, &self.time.0.to_le_bytes());
        put(32, &self.time.1.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        bytes
    }
}

/// What an inode says, apart from extended attributes and inline data, which follow it.
pub(super) struct DiskInode {
    pub layout: DataLayout,
    /// Size of the extended attributes' area in bytes, 0 or at least 12.
    pub xattr_size: usize,
    pub mode: u16,
    pub nlink: u32,
    pub size: u64,
    /// First block of data, or the device number.
    pub address: u32,
    /// A number for 32-bit callers.
    pub serial: u32,
    pub uid: u32,
    pub gid: u32,
    pub time: (i64, u32),
}

impl DiskInode {
    /// Whether the 32-byte form holds it, in an image whose superblock has `time`.
    pub(super) fn is_compact(&self, time: (i64, u32)) -> bool {
        let fits = |value: u32| u16::try_from(value).is_ok();
        self.time == time
            && u32::try_from(self.size).is_ok()
            && fits(self.nlink)
            && fits(self.uid)
            && fits(self.gid)
    }

    /// Appends the 32- or the 64-byte form.
    pub(super) fn encode(&self, compact: bool, out: &mut Vec<u8>) {
        let format = u16::from(!compact) | (self.layout as u16) << 1;
        let xattr_count = if self.xattr_size == 0 { 0 } else { ((self.xattr_size - 12) / 4 + 1) as u16 };
        for half in [format, xattr_count, self.mode] {
            out.extend(half.to_le_bytes());
        }
        if compact {
            out.extend((self.nlink as u16).to_le_bytes());
            for word in [self.size as u32, 0, self.address, self.serial] {
                out.extend(word.to_le_bytes());
            }
            out.extend((self.uid as u16).to_le_bytes());
            out.extend((self.gid as u16).to_le_bytes());
            out.extend([0; 4]);
        } else {
            out.extend([0; 2]);
            out.extend(self.size.to_le_bytes());
            for word in [self.address, self.serial, self.uid, self.gid] {
                out.extend(word.to_le_bytes());
            }
            out.extend(self.time.0.to_le_bytes());
            out.extend(self.time.1.to_le_bytes());
            out.extend(self.nlink.to_le_bytes());
            out.extend([0; 16]);
        }
    }
}

/// The type in a directory entry of something with `mode`.
pub(super) fn file_type(mode: u16) -> u8 {
    match mode & S_IFMT {
        S_IFREG => 1,
        S_IFDIR => 2,
        S_IFCHR => 3,
        S_IFBLK => 4,
        S_IFIFO => 5,
        S_IFLNK => 7,
        _ => 0,
    }
}

/// A device number as the kernel encodes it: 12 bits of major, 20 of minor.
pub(super) fn device(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20).then_some((minor & 0xff) | major << 8 | (minor & !0xff) << 12)
}
