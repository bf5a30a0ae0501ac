//! What a FUSE request and its answer look like: `include/uapi/linux/fuse.h` of Linux, version 7.38 and before.
//!
//! All numbers are little-endian here, as guest and host are. Nothing is cast: a request's arguments are taken from its bytes
//! one by one, so a short one is an error and not a surprise.

use rustix::io::Errno;

/// Bytes of `struct fuse_in_header`.
pub const IN_HEADER: usize = 40;
/// Bytes of `struct fuse_out_header`.
pub const OUT_HEADER: usize = 16;
/// The node that everything is below.
pub const ROOT_ID: u64 = 1;

/// Requests by number.
pub mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const COPY_FILE_RANGE: u32 = 47;
    pub const SYNCFS: u32 = 50;
}

/// `struct fuse_in_header`, as far as it is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What is asked for.
    pub opcode: u32,
    /// The request's name.
    pub unique: u64,
    /// The node that it is about.
    pub node: u64,
    /// User id of whoever asks, as the guest counts.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Header {
    /// Reads a header.
    pub fn parse(bytes: &[u8; IN_HEADER]) -> Self {
        let mut fields = Arguments(&bytes[4..]);
        // Enough bytes are there.
        let mut u32 = || fields.u32().unwrap_or_default();
        let opcode = u32();
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let (unique, node) = (pair(u32(), u32()), pair(u32(), u32()));
        Self { opcode, unique, node, uid: u32(), gid: u32() }
    }
}

/// The arguments of a request, taken from their front.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a>(pub &'a [u8]);

impl<'a> Arguments<'a> {
    /// The next bytes.
    ///
    /// # Errors
    /// `EINVAL` when fewer are left, as for everything here.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Errno> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        self.bytes(N)?.try_into().map_err(|_| Errno::INVAL)
    }

    /// A number of 32 bits.
    pub fn u32(&mut self) -> Result<u32, Errno> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number of 64 bits.
    pub fn u64(&mut self) -> Result<u64, Errno> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string that ends with NUL.
    pub fn string(&mut self) -> Result<&'a [u8], Errno> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Errno::INVAL)?;
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    /// The name of an entry of a directory: one component, which leads nowhere but there.
    pub fn name(&mut self) -> Result<&'a [u8], Errno> {
        let name = self.string()?;
        match name {
            b"" | b"." | b".." => Err(Errno::INVAL),
            name if name.contains(&b'/') => Err(Errno::INVAL),
            name if name.len() > 255 => Err(Errno::NAMETOOLONG),
            name => Ok(name),
        }
    }
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Answer(pub Vec<u8>);

impl Answer {
    /// Appends a number of 16 bits.
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends a number of 32 bits.
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends a number of 64 bits.
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// `struct fuse_attr`.
    fn attributes(self, attributes: &Attributes) -> Self {
        let [atime, mtime, ctime] = attributes.times;
        self.u64(attributes.ino)
            .u64(attributes.size)
            .u64(attributes.blocks)
            .u64(atime.0.cast_unsigned())
            .u64(mtime.0.cast_unsigned())
            .u64(ctime.0.cast_unsigned())
            .u32(atime.1)
            .u32(mtime.1)
            .u32(ctime.1)
            .u32(attributes.mode)
            .u32(attributes.nlink)
            .u32(attributes.uid)
            .u32(attributes.gid)
            .u32(attributes.rdev)
            .u32(attributes.block_size)
            .u32(0)
    }

    /// `struct fuse_entry_out`.
    pub fn entry(self, entry: &Entry) -> Self {
        let valid = entry.valid;
        let answer = self.u64(entry.node).u64(0).u64(valid.entry).u64(valid.attributes).u32(0).u32(0);
        answer.attributes(&entry.attributes)
    }

    /// `struct fuse_attr_out`.
    pub fn attributes_for(self, attributes: &Attributes, seconds: u64) -> Self {
        self.u64(seconds).u32(0).u32(0).attributes(attributes)
    }

    /// `struct fuse_open_out`.
    pub fn opened(self, handle: u64, flags: u32) -> Self {
        self.u64(handle).u32(flags).u32(0)
    }

    /// `struct fuse_dirent` with its name and padding.
    pub fn directory_entry(mut self, ino: u64, next: u64, kind: u32, name: &[u8]) -> Self {
        self = self.u64(ino).u64(next).u32(name.len() as u32).u32(kind).bytes(name);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }
}

/// What a guest is told of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Its number: unique in the share.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Read, written, changed: seconds and nanoseconds.
    pub times: [(i64, u32); 3],
    /// Type and permissions.
    pub mode: u32,
    /// Names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What it is a node of, as `new_encode_dev` has it.
    pub rdev: u32,
    /// What to read at once.
    pub block_size: u32,
}

/// For how many seconds the guest believes what it was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Validity {
    /// That a name is this node's.
    pub entry: u64,
    /// What the node is like.
    pub attributes: u64,
}

/// A name that was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    /// The node; 0 is none.
    pub node: u64,
    /// For how long.
    pub valid: Validity,
    /// What it is like.
    pub attributes: Attributes,
}

#[cfg(test)]
#[path = "wire_test.rs"]
mod tests;
