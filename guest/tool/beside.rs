//! `hull diff` and `hull commit`: what is in a container's writable layer.

use std::ffi::CStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hull_archive::pack::{self, Packer};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fgetxattr, openat, statat};
use rustix::io::Errno;

use crate::{Result, output};

/// Deepest directory that is looked into.
const DEEPEST: usize = 250;
/// How long processes may take to stand still.
const PATIENCE: Duration = Duration::from_secs(10);

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Processes that stand still.
struct Frozen<'a>(&'a str);

impl<'a> Frozen<'a> {
    fn freeze(cgroup: &'a str) -> io::Result<Self> {
        fs::write(format!("{cgroup}/cgroup.freeze"), "1")?;
        let frozen = Self(cgroup);
        let end = Instant::now() + PATIENCE;
        while !fs::read_to_string(format!("{cgroup}/cgroup.events"))?.contains("frozen 1") {
            if Instant::now() > end {
                return Err(io::Error::other("the container's processes do not stand still"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(frozen)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = fs::write(format!("{}/cgroup.freeze", self.0), "0");
    }
}

/// Writes the writable layer as a layer of an image, while the processes in `freeze` stand still.
pub fn layer(upper: &str, freeze: Option<&str>) -> Result<()> {
    let layer = || -> io::Result<()> {
        let _frozen = freeze.map(Frozen::freeze).transpose()?;
        let options = pack::Options { layer: true, xattrs: true, ..pack::Options::default() };
        let mut packer = Packer::new(output().map_err(io::Error::other)?, options);
        if upper != "-" {
            packer.add_content(&openat(CWD, upper, DIRECTORY, Mode::empty())?)?;
        }
        packer.finish().map(drop)
    };
    layer().map_err(|error| error.to_string())
}

/// Writes what was added, changed and deleted, a line each.
pub fn diff(upper: &str, layers: &[&str]) -> Result<()> {
    let diff = || -> io::Result<()> {
        if upper == "-" {
            return Ok(());
        }
        let upper = openat(CWD, upper, DIRECTORY, Mode::empty())?;
        let lowers: std::result::Result<Vec<_>, _> =
            layers.iter().map(|layer| openat(CWD, *layer, DIRECTORY, Mode::empty())).collect();
        let mut changes = Changes { lines: output().map_err(io::Error::other)? };
        changes.directory(&upper, &lowers?, "", 0)?;
        changes.lines.flush()
    };
    diff().map_err(|error| error.to_string())
}

struct Changes<W> {
    lines: W,
}

impl<W: Write> Changes<W> {
    /// What has changed in a directory that is in the writable layer, and in these below it, the topmost first.
    fn directory(&mut self, upper: &OwnedFd, lowers: &[OwnedFd], path: &str, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!("{path}: the directories are too deep")));
        }
        let mut names = names(upper)?;
        names.sort();
        if is_opaque(upper) {
            for name in hidden(lowers, &names)? {
                self.line('D', path, &name)?;
            }
        }
        let none = Vec::new();
        let lowers = if is_opaque(upper) { &none } else { lowers };
        for name in &names {
            let now = statat(upper, &**name, AtFlags::SYMLINK_NOFOLLOW)?;
            let below = first(lowers, name)?;
            if is_whiteout(&now) {
                if below.is_some() {
                    self.line('D', path, name)?;
                }
                continue;
            }
            let is_directory = FileType::from_raw_mode(now.st_mode) == FileType::Directory;
            let same = |below: &Stat| {
                let key = |s: &Stat| (s.st_mode, s.st_uid, s.st_gid, s.st_mtime, s.st_mtime_nsec);
                is_directory && key(below) == key(&now)
            };
            match &below {
                None => self.line('A', path, name)?,
                Some(below) if same(below) => {}
                Some(_) => self.line('C', path, name)?,
            }
            if is_directory {
                let inner = openat(upper, &**name, DIRECTORY, Mode::empty())?;
                let path = format!("{path}/{}", name.to_string_lossy());
                self.directory(&inner, &merged(lowers, name)?, &path, depth + 1)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, what: char, path: &str, name: &CStr) -> io::Result<()> {
        let name = hull_archive::tar::printable(name.to_bytes());
        writeln!(self.lines, "{what} {}/{name}", hull_archive::tar::printable(path.as_bytes()))
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// What lower directories have under a name, if they have anything.
fn first(lowers: &[OwnedFd], name: &CStr) -> io::Result<Option<Stat>> {
    for lower in lowers {
        match statat(lower, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) if is_whiteout(&status) => return Ok(None),
            Ok(status) => return Ok(Some(status)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// The directories of this name in lower ones that are seen as one.
fn merged(lowers: &[OwnedFd], name: &CStr) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for lower in lowers {
        match openat(lower, name, DIRECTORY, Mode::empty()) {
            Ok(directory) => {
                let opaque = is_opaque(&directory);
                found.push(directory);
                if opaque {
                    break;
                }
            }
            Err(Errno::NOENT) => {}
            // Something else, which hides what is below it.
            Err(Errno::NOTDIR | Errno::LOOP) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// What lower directories have that an opaque one hides and has not itself.
fn hidden(lowers: &[OwnedFd], own: &[std::ffi::CString]) -> io::Result<Vec<std::ffi::CString>> {
    let mut hidden = Vec::new();
    for lower in lowers {
        for name in names(lower)? {
            if !own.contains(&name) && !hidden.contains(&name) && first(lowers, &name)?.is_some() {
                hidden.push(name);
            }
        }
    }
    hidden.sort();
    Ok(hidden)
}

fn is_whiteout(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice && status.st_rdev == 0
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 1];
    let found = fgetxattr(directory, c"trusted.overlay.opaque", &mut value[..]);
    found.is_ok_and(|length| value[..length] == *b"y")
}
