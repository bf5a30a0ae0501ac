//! Paths of a container: what they lead to, as Docker resolves them for `cp`.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat, statat};
use rustix::io::Errno;

/// Links that are followed one after the other at most, as the kernel has it.
const MOST_LINKS: usize = 40;

/// A path of the container, in parts: absolute, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Its parts, from the root.
    pub parts: Vec<String>,
    /// It ends with `/` or `/.`, so it means a directory, behind whatever links.
    pub is_directory: bool,
    /// It ends with `/.`, which means what is in the directory.
    pub is_content: bool,
}

/// What is at a path.
#[derive(Debug)]
pub struct Found {
    /// The directory that it is in, and its name there; `.` in itself.
    pub directory: OwnedFd,
    /// Its name.
    pub name: CString,
    /// What it is.
    pub kind: FileType,
}

impl Path {
    /// Reads a path. `..` takes back a part, whatever that is: Docker does so, too.
    pub fn parse(text: &str) -> Self {
        let mut parts: Vec<String> = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part.to_owned()),
            }
        }
        let is_content = text == "." || text.ends_with("/.");
        let is_directory = is_content || text.ends_with('/') || parts.is_empty();
        Self { parts, is_directory, is_content }
    }

    /// Its last part; `.` when it means what is in it, and nothing for the root.
    pub fn base(&self) -> &str {
        if self.is_content { "." } else { self.parts.last().map_or("", String::as_str) }
    }

    /// The path of the directory that it is in.
    pub fn parent(&self) -> Self {
        let above = self.parts.len().saturating_sub(1);
        Self { parts: self.parts[..above].to_vec(), is_directory: true, is_content: false }
    }

    /// The same path as text, which begins with `/`.
    pub fn text(&self) -> String {
        format!("/{}", self.parts.join("/"))
    }

    /// The path below a root, `.` for that itself.
    fn relative(&self) -> String {
        if self.parts.is_empty() { ".".to_owned() } else { self.parts.join("/") }
    }

    /// What is there. A link at its end is not followed, unless it means a directory.
    pub fn find(&self) -> Result<Found, Errno> {
        if self.is_directory {
            let directory = open(&self.relative())?;
            return Ok(Found { directory, name: c".".to_owned(), kind: FileType::Directory });
        }
        let directory = open(&self.parent().relative())?;
        let name = CString::new(self.base()).map_err(|_| Errno::INVAL)?;
        let status = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Found { directory, name, kind: FileType::from_raw_mode(status.st_mode) })
    }

    /// What is there and the path of that, behind all links at its end; of one that leads to nothing, that path is the last it leads to.
    pub fn resolve(mut self) -> (Self, Result<Found, Errno>) {
        for _ in 0..MOST_LINKS {
            match self.find() {
                Ok(link) if link.kind == FileType::Symlink => match self.followed(&link) {
                    Ok(next) => self = next,
                    Err(error) => return (self, Err(error)),
                },
                found => return (self, found),
            }
        }
        (self, Err(Errno::LOOP))
    }

    /// Where the link that was found here leads to, one step.
    fn followed(&self, link: &Found) -> Result<Self, Errno> {
        let target = readlinkat(&link.directory, &link.name, Vec::new())?;
        let target = target.to_string_lossy().into_owned();
        let whole =
            if target.starts_with('/') { target } else { format!("{}/{target}", self.parent().text()) };
        Ok(Self::parse(&whole))
    }
}

/// The root of the container.
pub fn root() -> Result<OwnedFd, Errno> {
    openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn open(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(root()?, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

#[cfg(test)]
#[path = "find_test.rs"]
mod tests;
