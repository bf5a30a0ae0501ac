//! `hull cp` and `hull export`: archives of what the container sees, and into it.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use hull_archive::pack::{self, Mounts, Packer};
use hull_archive::tar;
use hull_archive::unpack::{self, Target, unpack};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::find::{self, Path};
use crate::{Result, input, output};

fn no_such_file(path: &str, container: &str) -> String {
    format!("Could not find the file {path} in container {container}")
}

/// Writes what is at a path: what it is, then an archive of it. With `follow`, of what a link there leads to.
pub fn read(container: &str, wanted: &str, follow: bool) -> Result<()> {
    let path = Path::parse(wanted);
    let name = path.base().to_owned();
    let cannot = |error| match error {
        Errno::NOENT | Errno::NOTDIR => no_such_file(wanted, container),
        error => format!("{wanted}: {}", io::Error::from(error)),
    };
    let found = if follow { path.resolve().1 } else { path.find() }.map_err(cannot)?;
    let mut output = output()?;
    let pack = || -> io::Result<()> {
        output.write_all(if found.kind == FileType::Directory { b"d" } else { b"f" })?;
        let options = pack::Options { xattrs: true, mounts: Mounts::Stored, ..pack::Options::default() };
        let mut packer = Packer::new(output, options);
        let name = if name.is_empty() { "." } else { &*name };
        packer.add(found.directory.as_fd(), &found.name, name.as_bytes())?;
        packer.finish().map(drop)
    };
    pack().map_err(|error| error.to_string())
}

/// What is copied into the container.
pub struct Source {
    /// It is one archive of anything, to be unpacked as it is.
    is_archive: bool,
    is_directory: bool,
    name: String,
    owner: Option<(u32, u32)>,
}

impl Source {
    /// Reads the host's words for it.
    pub fn parse(kind: &str, name: &str, owner: &str) -> Result<Self> {
        let owner = match owner.split_once(':') {
            Some((uid, gid)) => Some(uid.parse().ok().zip(gid.parse().ok()).ok_or("no owner")?),
            None => None,
        };
        Ok(Self { is_archive: kind == "-", is_directory: kind == "d", name: name.to_owned(), owner })
    }
}

/// Unpacks an archive at a path, by Docker's rules: into a directory that is there, or as what the path names.
pub fn write(container: &str, wanted: &str, source: &Source) -> Result<()> {
    let (into, name) = destination(container, wanted, source)?;
    let cannot = |error: Errno| match error {
        Errno::NOENT => no_such_file(&into.text(), container),
        Errno::NOTDIR => "extraction point is not a directory".to_owned(),
        error => format!("{wanted}: {}", io::Error::from(error)),
    };
    Path { is_directory: true, ..into.clone() }.find().map_err(cannot)?;
    let below = into.text().trim_start_matches('/').as_bytes().to_vec();
    let below = if below.is_empty() { below } else { [&*below, b"/"].concat() };
    let target = Target { root: find::root().map_err(cannot)?, below, links: ResolveFlags::IN_ROOT };
    let rename = name.map(|name| {
        let old = if source.name == "." { Vec::new() } else { source.name.clone().into_bytes() };
        (old, name.into_bytes())
    });
    let owners = source.owner.map_or(unpack::Owners::Archive, |(uid, gid)| unpack::Owners::Given(uid, gid));
    let options = unpack::Options { faithful: true, owners, rename };
    let mut input = input()?;
    match unpack(&mut input, &target, &options) {
        // Whoever sends the archive may send more than its end.
        Ok(_) => io::copy(&mut input, &mut io::sink()).map(drop).map_err(|error| error.to_string()),
        Err(tar::Error::Member { reason, .. }) if reason.starts_with("Read-only file system") => {
            Err("container rootfs is marked read-only".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Where to unpack, and the name that it gets there if that is another.
fn destination(container: &str, wanted: &str, source: &Source) -> Result<(Path, Option<String>)> {
    let (path, found) = Path::parse(wanted).resolve();
    if let Err(Errno::LOOP) = found {
        return Err(format!("{wanted}: {}", io::Error::from(Errno::LOOP)));
    }
    let kind = found.as_ref().ok().map(|found| found.kind);
    if matches!(kind, Some(FileType::CharacterDevice | FileType::BlockDevice)) {
        return Err(format!("destination \"{container}:{wanted}\" must be a directory or a regular file"));
    }
    let is_directory = kind == Some(FileType::Directory);
    if source.is_archive && !is_directory {
        return Err(format!("destination \"{container}:{wanted}\" must be a directory"));
    }
    if is_directory {
        return Ok((path, None));
    }
    if kind.is_some() && source.is_directory {
        return Err("cannot copy directory".to_owned());
    }
    if kind.is_none() && !source.is_directory && path.is_directory {
        return Err("no such directory".to_owned());
    }
    let name = Path { is_content: false, ..path.clone() }.base().to_owned();
    Ok((path.parent(), Some(name)))
}

/// Writes an archive of the root, without what is mounted in it.
pub fn export() -> Result<()> {
    let export = || -> io::Result<()> {
        // A copy of the mount has none of those on it, so what lies under them is seen.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let root: OwnedFd = open_tree(CWD, c"/", flags).or_else(|_| find::root())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&root, ".", flags, Mode::empty())?;
        let options = pack::Options { xattrs: true, mounts: Mounts::None, ..pack::Options::default() };
        let mut packer = Packer::new(output().map_err(io::Error::other)?, options);
        packer.add_content(&root)?;
        packer.finish().map(drop)
    };
    export().map_err(|error| error.to_string())
}
