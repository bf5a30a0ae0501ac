//! From members of an archive to a tree: names, links, whiteouts, and what an archive may not say.

use std::io::{Read, Seek, Write};

use super::format::{self, BLOCK, MAX_NAME};
use super::sink::Sink;
use super::tree::{Content, Directory, Inode, InodeId, ROOT, Tree};
use super::xattr::Xattrs;
use super::{Error, MAX_MEMORY, Summary, layout};
use crate::image::tar::{Kind, Member, Segment, printable};

/// Files up to this size lie behind their inode: a guest reads both at once.
const INLINE: u64 = 1024;
/// Longest target of a symbolic link, in bytes: Linux's `PATH_MAX` with its NUL.
const MAX_TARGET: usize = 4095;
/// Most components of a path. Linux could not name a file below more than `PATH_MAX` / 2.
const MAX_DEPTH: usize = 2048;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of AUFS's own, which Docker skips too.
const AUFS: &[u8] = b".wh..wh.";

/// A file system being made of an archive's members.
pub(super) struct Builder<W> {
    tree: Tree,
    sink: Sink<W>,
    members: u64,
}

impl<W: Write + Seek> Builder<W> {
    /// A file system with an empty root, whose image goes to `image`.
    pub(super) fn new(image: W) -> Result<Self, Error> {
        let mut sink = Sink::new(image);
        // Block 0 is written last.
        sink.skip(BLOCK as u64)?;
        Ok(Builder { tree: Tree::new(), sink, members: 0 })
    }

    /// Adds a member, whose data is read from `data`.
    pub(super) fn add(&mut self, member: Member, data: &mut impl Read) -> Result<(), Error> {
        let refuse = |reason: String| Error::Member { path: printable(&member.path), reason };
        let components = components(&member.path).map_err(refuse)?;
        if components.iter().any(|name| name.starts_with(AUFS) && *name != OPAQUE) {
            return Ok(());
        }
        let Some((&name, parents)) = components.split_last() else {
            return match member.kind {
                Kind::Directory => self.directory(ROOT, &member),
                _ => Err(refuse("the root of a file system can only be a directory".into())),
            };
        };
        let parent = self.parents(parents).map_err(refuse)?;
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            self.whiteout(parent, name, hidden).map_err(refuse)?;
        } else if name.len() > MAX_NAME {
            return Err(refuse(format!("a name in it is longer than {MAX_NAME} bytes")));
        } else {
            self.named(parent, name, &member, data)?;
        }
        self.members += 1;
        if self.tree.memory() > MAX_MEMORY { Err(Error::TooLarge(self.members)) } else { Ok(()) }
    }

    /// Bytes of memory that what was added takes, about.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.tree.memory()
    }

    /// Writes what is left of the image.
    pub(super) fn finish(mut self) -> Result<Summary, Error> {
        self.tree.place_whiteouts();
        layout::write(&self.tree, self.sink)
    }

    /// The directory that the components name; what is missing of it is made.
    fn parents(&mut self, components: &[&[u8]]) -> Result<InodeId, String> {
        let mut at = ROOT;
        for name in components {
            at = match self.tree.lookup(at, name) {
                None if name.len() > MAX_NAME => {
                    return Err(format!("a name in it is longer than {MAX_NAME} bytes"));
                }
                None => {
                    let new = self.tree.add(Inode::implied_directory());
                    self.tree.link(at, name, new);
                    new
                }
                Some(found) if self.tree.inode(found).is_directory() => found,
                // A link is never followed: it would lead elsewhere in the container than in this layer.
                Some(_) => {
                    return Err(format!("it lies below \"{}\", which is no directory", printable(name)));
                }
            };
        }
        Ok(at)
    }

    fn whiteout(&mut self, parent: InodeId, name: &[u8], hidden: &[u8]) -> Result<(), String> {
        match hidden {
            _ if name == OPAQUE => self.tree.inode_mut(parent).xattrs.set_opaque(),
            b"" | b"." | b".." => return Err("it is a whiteout of no name".into()),
            _ if hidden.len() > MAX_NAME => return Err("it is a whiteout of too long a name".into()),
            _ => self.tree.hide(parent, hidden),
        }
        Ok(())
    }

    /// Adds the member as `name` in `parent`.
    fn named(
        &mut self,
        parent: InodeId,
        name: &[u8],
        member: &Member,
        data: &mut impl Read,
    ) -> Result<(), Error> {
        let refuse = |reason: &str| Error::Member { path: member.name(), reason: reason.into() };
        let existing = self.tree.lookup(parent, name);
        let (kind, content) = match member.kind {
            Kind::Directory => {
                let id = match existing.filter(|&id| self.tree.inode(id).is_directory()) {
                    Some(id) => id,
                    None => {
                        let id = self.tree.add(Inode::implied_directory());
                        self.tree.link(parent, name, id);
                        id
                    }
                };
                return self.directory(id, member);
            }
            Kind::HardLink => {
                let target = self.target(member)?;
                self.tree.link(parent, name, target);
                return Ok(());
            }
            Kind::File => (format::S_IFREG, self.file(member, data)?),
            Kind::Symlink if member.link.is_empty() => {
                return Err(refuse("it is a symbolic link to nothing"));
            }
            Kind::Symlink if member.link.len() > MAX_TARGET => {
                return Err(refuse("it is a symbolic link with a target longer than 4095 bytes"));
            }
            Kind::Symlink => (format::S_IFLNK, Content::Bytes(member.link.as_slice().into())),
            Kind::Fifo => (format::S_IFIFO, Content::Fifo),
            Kind::CharDevice => (format::S_IFCHR, device(member)?),
            Kind::BlockDevice => (format::S_IFBLK, device(member)?),
        };
        let inode = Inode { content, ..self.attributes(kind, member)? };
        let id = self.tree.add(inode);
        self.tree.link(parent, name, id);
        Ok(())
    }

    /// Gives a directory the member's attributes; what is in it stays.
    fn directory(&mut self, id: InodeId, member: &Member) -> Result<(), Error> {
        let attributes = self.attributes(format::S_IFDIR, member)?;
        let inode = self.tree.inode_mut(id);
        let content = std::mem::replace(&mut inode.content, Content::Fifo);
        let opaque = inode.xattrs.is_opaque();
        *inode = Inode { content, ..attributes };
        if opaque {
            inode.xattrs.set_opaque();
        }
        Ok(())
    }

    /// What a hard link means: something before it in the archive that is no directory.
    fn target(&self, member: &Member) -> Result<InodeId, Error> {
        let refuse = |what: &str| Error::Member {
            path: member.name(),
            reason: format!("it is a hard link to \"{}\", {what}", printable(&member.link)),
        };
        let components = components(&member.link).map_err(|_| refuse("which leaves the file system"))?;
        let mut at = ROOT;
        for name in components {
            at = self.tree.lookup(at, name).ok_or_else(|| refuse("which is not in this layer before it"))?;
        }
        if self.tree.inode(at).is_directory() { Err(refuse("which is a directory")) } else { Ok(at) }
    }

    /// The member's owner, mode, time and attributes, as an inode without content.
    fn attributes(&self, kind: u16, member: &Member) -> Result<Inode, Error> {
        let xattrs = Xattrs::from_tar(&member.xattrs)
            .map_err(|reason| Error::Member { path: member.name(), reason })?;
        Ok(Inode {
            mode: kind | member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            xattrs,
            content: Content::Directory(Directory::default()),
        })
    }

    /// Takes in a file's data.
    fn file(&mut self, member: &Member, data: &mut impl Read) -> Result<Content, Error> {
        if member.size <= INLINE {
            let mut bytes = vec![0; member.size as usize];
            for &Segment { offset, length } in &member.segments {
                let part = &mut bytes[offset as usize..(offset + length) as usize];
                data.read_exact(part).map_err(|error| Error::Tar(error.into()))?;
            }
            return Ok(Content::Bytes(bytes.into()));
        }
        let block = self.sink.block()?;
        let start = self.sink.position();
        for &Segment { offset, length } in &member.segments {
            self.sink.skip(start + offset - self.sink.position())?;
            self.sink.copy(data, length)?;
        }
        self.sink.skip(start + member.size - self.sink.position())?;
        self.sink.pad()?;
        Ok(Content::File { size: member.size, block })
    }
}

fn device(member: &Member) -> Result<Content, Error> {
    let (major, minor) = member.device;
    format::device(major, minor).map(Content::Device).ok_or_else(|| Error::Member {
        path: member.name(),
        reason: format!("the device number {major}:{minor} is larger than Linux's"),
    })
}

/// The names in a path, after taking out what means nothing. A leading slash is dropped, as Docker does; `..` may not leave
/// the root.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut names = Vec::new();
    for name in path.split(|&b| b == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.pop().is_none() => return Err("it leaves the root of the file system".into()),
            b".." => {}
            _ if names.len() == MAX_DEPTH => {
                return Err(format!("it is more than {MAX_DEPTH} directories deep"));
            }
            _ => names.push(name),
        }
    }
    Ok(names)
}
