//! `hull cp`: files between a container and the host, by the rules of Docker's.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::thread;

use hull_archive::pack::{self, Packer};
use hull_archive::unpack::{self, Target, unpack};
use hull_protocol::Tool;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat};

use super::Access;
use crate::container::error::{Error, Result};

/// Bytes that are copied at once.
const BUFFER: usize = 64 << 10;
/// Most bytes after the end of an archive that are waited for.
const MOST_PADDING: u64 = 1 << 20;
/// Links that are followed one after the other at most.
const MOST_LINKS: usize = 40;

/// How to copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Owners are kept.
    pub archive: bool,
    /// A link that is named as the source stands for what it leads to.
    pub follow: bool,
}

/// A path of the host, as it was written: how it ends has a meaning.
struct Local {
    path: PathBuf,
    /// It ends with `/` or `/.`.
    is_directory: bool,
    /// It ends with `/.`, or is one: what is in it is meant.
    is_content: bool,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Invalid(error.to_string())
}

impl Local {
    fn parse(text: &str) -> Result<Self> {
        let absolute = std::path::absolute(text).map_err(failed)?;
        // As Docker has it: `a/../b` is `b`, whatever `a` is.
        let mut path = PathBuf::from("/");
        for part in absolute.components() {
            match part {
                std::path::Component::Normal(part) => path.push(part),
                std::path::Component::ParentDir => drop(path.pop()),
                _ => {}
            }
        }
        let is_content = text == "." || text.ends_with("/.");
        Ok(Self { path, is_directory: is_content || text.ends_with('/'), is_content })
    }

    fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn base(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

/// Copies from a container to a path of the host, or to `to` as an archive. Gives the bytes.
///
/// # Errors
/// In Docker's words where there are some.
pub fn from_container(
    access: &Access,
    name: &str,
    source: &str,
    destination: &str,
    options: Options,
) -> Result<u64> {
    let local = if destination == "-" { None } else { Some(Local::parse(destination)?) };
    if let Some(local) = &local {
        let parent = if local.path.is_dir() { &*local.path } else { local.parent() };
        if !parent.is_dir() {
            return Err(Error::Invalid(format!(
                "invalid output path: directory {:?} does not exist",
                parent.display().to_string()
            )));
        }
    }
    let arguments: &[&str] =
        if options.follow { &["read", "-L", name, source] } else { &["read", name, source] };
    let mut running = access.start(Tool::Inside, arguments, false)?;
    let mut kind = [0];
    if running.output.read_exact(&mut kind).is_err() {
        running.finish()?;
        return Err(failed("the guest's tool said nothing"));
    }
    let Some(local) = local else {
        let mut to = io::stdout().lock();
        let copied = io::copy(&mut running.output, &mut to).and_then(|bytes| to.flush().map(|()| bytes));
        let copied = copied.map_err(failed)?;
        return running.finish().map(|()| copied);
    };
    let (folder, renamed) = place(&local, kind == *b"d")?;
    let base = base(source);
    // The archive is the guest's: what is not of the name that was asked for is refused, and nothing goes through a link, as what is
    // in the folder beside that name is none of its business.
    let base = base.into_bytes();
    let rename = match renamed {
        Some(new) => Some((base, new.into_vec())),
        None if base.is_empty() => None,
        None => Some((base.clone(), base)),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, &folder, flags, Mode::empty())
        .map_err(|error| failed(format!("{}: {}", folder.display(), io::Error::from(error))))?;
    let target = Target { root, below: Vec::new(), links: ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS };
    let kept = options.archive && rustix::process::geteuid().is_root();
    let owners = if kept { unpack::Owners::Archive } else { unpack::Owners::User };
    let options = unpack::Options { owners, rename, ..unpack::Options::default() };
    let mut archive = BufReader::with_capacity(BUFFER, &mut running.output);
    match unpack(&mut archive, &target, &options).map_err(failed) {
        Ok(unpacked) => {
            // What follows the mark of its end, which the tool is to be rid of.
            let _ = io::copy(&mut archive.take(MOST_PADDING), &mut io::sink());
            running.finish().map(|()| unpacked.bytes)
        }
        // It is so because of what the tool complains of.
        Err(error) if error.to_string().contains("cut short") => running.finish().and(Err(error)),
        // A guest may go on regardless of that nobody reads: it is not waited for.
        Err(error) => Err(error),
    }
}

/// The name with which the paths of an archive of this source begin; none when it means what is in a directory.
fn base(source: &str) -> String {
    if source == "." || source.ends_with("/.") {
        return String::new();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in source.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.last().map_or(String::new(), |part| (*part).to_owned())
}

/// Where to unpack what is copied to a path, and the name that it gets there, if it does not keep its own.
fn place(local: &Local, is_directory: bool) -> Result<(PathBuf, Option<std::ffi::OsString>)> {
    match fs::metadata(&local.path) {
        Ok(about) if about.is_dir() => Ok((local.path.clone(), None)),
        Ok(_) if is_directory => Err(failed("cannot copy directory")),
        Ok(about) if !about.is_file() => Err(failed(format!(
            "invalid output path: {:?} must be a directory or a regular file",
            local.path.display().to_string()
        ))),
        Err(_) if !is_directory && local.is_directory => Err(failed("no such directory")),
        _ => {
            // A link stands for what it leads to, be that there or not.
            let mut path = local.path.clone();
            for _ in 0..MOST_LINKS {
                let Ok(target) = fs::read_link(&path) else { break };
                path = path.parent().unwrap_or(Path::new("/")).join(target);
            }
            let name = path.file_name().ok_or_else(|| failed("no such directory"))?.to_owned();
            Ok((path.parent().unwrap_or(Path::new("/")).to_owned(), Some(name)))
        }
    }
}

/// Copies from a path of the host, or an archive on standard input, to a container. Gives the bytes.
///
/// # Errors
/// In Docker's words where there are some.
pub fn to_container(
    access: &Access,
    name: &str,
    source: &str,
    destination: &str,
    options: Options,
) -> Result<u64> {
    if source == "-" {
        let mut running = access.start(Tool::Inside, &["write", name, destination, "-", "", "-"], true)?;
        let mut input = running.input.take();
        let copying = thread::spawn(move || {
            let mut input = input.take()?;
            io::copy(&mut io::stdin().lock(), &mut input).ok()
        });
        running.finish()?;
        // When the tool has ended with success it has read all that there was.
        return Ok(if copying.is_finished() { copying.join().ok().flatten().unwrap_or(0) } else { 0 });
    }
    let mut local = Local::parse(source)?;
    let named = local.base().to_owned();
    if options.follow || local.is_directory {
        local.path = fs::canonicalize(&local.path).map_err(|error| unreadable(source, &error))?;
    }
    let about = fs::symlink_metadata(&local.path).map_err(|error| unreadable(source, &error))?;
    if local.is_directory && !about.is_dir() {
        return Err(unreadable(source, &io::ErrorKind::NotADirectory.into()));
    }
    let kind = if about.is_dir() { "d" } else { "f" };
    let base = if local.is_content { ".".to_owned() } else { named.to_string_lossy().into_owned() };
    let path = if base.is_empty() { ".".to_owned() } else { base.clone() };
    let owner = if options.archive { "-" } else { "0:0" };
    let mut running = access.start(Tool::Inside, &["write", name, destination, kind, &path, owner], true)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let (directory, inner) = if about.is_dir() {
        (openat(CWD, &local.path, flags, Mode::empty()), c".".to_owned())
    } else {
        let inner = CString::new(local.base().as_bytes()).map_err(failed)?;
        (openat(CWD, local.parent(), flags, Mode::empty()), inner)
    };
    let directory = directory.map_err(|error| unreadable(source, &error.into()))?;
    let input: File = running.input.take().ok_or_else(|| failed("the guest's tool reads nothing"))?;
    let packing = thread::spawn(move || -> io::Result<u64> {
        let mut packer = Packer::new(BufWriter::with_capacity(BUFFER, input), pack::Options::default());
        packer.add(directory.as_fd(), &inner, path.as_bytes())?;
        let bytes = packer.bytes();
        packer.finish().map(|_| bytes)
    });
    let finished = running.finish();
    let packed = packing.join().unwrap_or_else(|_| Err(io::Error::other("packing failed")));
    match (packed, finished) {
        // The tool ended before, and said why.
        (Err(error), Err(complaint)) if error.kind() == io::ErrorKind::BrokenPipe => Err(complaint),
        (Err(error), _) => Err(failed(error)),
        (Ok(_), Err(complaint)) => Err(complaint),
        (Ok(bytes), Ok(())) => Ok(bytes),
    }
}

fn unreadable(source: &str, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    let path = std::path::absolute(source).unwrap_or_else(|_| source.into());
    Error::Invalid(format!("lstat {}: {reason}", path.display()))
}

#[cfg(test)]
#[path = "copy_test.rs"]
mod tests;
