//! Extended attributes: those of users. The others mean something to the host's kernel, and are not for a guest.

use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno;

use super::super::wire::Answer;
use super::owner::RESERVED;
use super::{Request, Result, Share, by_number};

/// Most bytes of a value, and of a list: what Linux allows.
const MOST: usize = 64 << 10;

/// A name that the guest may use.
fn allowed(name: &[u8]) -> bool {
    name.starts_with(b"user.") && !name.starts_with(RESERVED) && name.len() <= 255
}

impl Share {
    pub(super) fn set_xattr(&self, request: &mut Request<'_>) -> Result<Answer> {
        let found = self.changeable(request.header.node)?;
        let (size, flags) = (request.arguments.u32()?, request.arguments.u32()?);
        let name = request.arguments.string()?;
        let value = request.arguments.bytes(size as usize)?;
        if !allowed(name) {
            return Err(Errno::OPNOTSUPP);
        }
        let (path, flags) = (by_number(&found.place), XattrFlags::from_bits_retain(flags));
        let set = || setxattr(&*path, name, value, flags);
        self.in_spite_of_permissions(&found.place, found.root, set)?;
        Ok(Answer::default())
    }

    pub(super) fn get_xattr(&self, request: &mut Request<'_>) -> Result<Answer> {
        let (size, _) = (request.arguments.u32()?, request.arguments.u32()?);
        let name = request.arguments.string()?;
        if !allowed(name) {
            // It may ask for anything, and there is none of it.
            return Err(Errno::NODATA);
        }
        let found = self.node(request.header.node)?;
        let path = by_number(&found.place);
        let mut value = vec![0; MOST];
        let get = || getxattr(&*path, name, &mut value[..]);
        let length = self.in_spite_of_permissions(&found.place, found.root, get)?;
        value.truncate(length);
        sized(value, size)
    }

    pub(super) fn list_xattrs(&self, request: &mut Request<'_>) -> Result<Answer> {
        let (size, _) = (request.arguments.u32()?, request.arguments.u32()?);
        let found = self.node(request.header.node)?;
        let path = by_number(&found.place);
        let mut names = vec![0; MOST];
        let list = || listxattr(&*path, &mut names[..]);
        let length = self.in_spite_of_permissions(&found.place, found.root, list)?;
        let names = names[..length].split_inclusive(|byte| *byte == 0);
        let names = names.filter(|name| allowed(name.strip_suffix(b"\0").unwrap_or(name)));
        sized(names.flatten().copied().collect(), size)
    }

    pub(super) fn remove_xattr(&self, request: &mut Request<'_>) -> Result<Answer> {
        let found = self.changeable(request.header.node)?;
        let name = request.arguments.string()?;
        if !allowed(name) {
            return Err(Errno::OPNOTSUPP);
        }
        let path = by_number(&found.place);
        let remove = || removexattr(&*path, name);
        self.in_spite_of_permissions(&found.place, found.root, remove)?;
        Ok(Answer::default())
    }
}

/// A value, or how long it is if there is room for nothing.
fn sized(value: Vec<u8>, room: u32) -> Result<Answer> {
    if room == 0 {
        return Ok(Answer::default().u32(value.len() as u32).u32(0));
    }
    if value.len() > room as usize {
        return Err(Errno::RANGE);
    }
    Ok(Answer(value))
}
