//! Where the parts of an image are read from: a folder, an archive in a file, or an archive that streams by.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::image::compression::{self, Compression};
use crate::image::manifest::MAX_JSON;
use crate::image::store::{Expected, Ingest, Ingested, Spooled};
use crate::image::tar::{self, Archive, Kind, printable};
use crate::image::{Error, Result};

/// Most members of an archive.
const MAX_MEMBERS: usize = 1 << 16;
/// Members of a stream up to this size, in bytes, are kept in memory…
const SMALL: u64 = 64 << 10;
/// …until they are so many bytes together.
const MAX_SMALL: u64 = 32 << 20;
/// Links of links are followed this far.
const MAX_LINKS: usize = 8;

/// The parts of an image, by name.
pub(super) struct Source {
    name: String,
    parts: Parts,
}

enum Parts {
    Folder(PathBuf),
    Archive { file: File, members: HashMap<String, Part> },
}

/// A member of an archive.
enum Part {
    /// It is in the file, from this byte on, this long.
    Range(u64, u64),
    /// It is in memory.
    Memory(Vec<u8>),
    /// It is in the store's temporary folder; `None` after it was taken into the store.
    Spooled(Option<Spooled>),
    /// It is a link to another member.
    Link(String),
}

impl Source {
    /// The files of a folder.
    pub(super) fn folder(path: &Path) -> Self {
        Source { name: path.display().to_string(), parts: Parts::Folder(path.to_owned()) }
    }

    /// The members of an archive, compressed or not; `name` is its name in messages.
    pub(super) fn archive(mut file: File, name: &str, ingest: &Ingest) -> Result<Self> {
        let read_error = |source| Error::Read { what: name.to_owned(), source };
        let start =
            file.stream_position().ok().filter(|_| file.metadata().is_ok_and(|metadata| metadata.is_file()));
        let (compression, stream) = compression::detect(&file).map_err(read_error)?;
        let members = match (compression, start) {
            (Compression::None, Some(start)) => {
                drop(stream);
                file.seek(io::SeekFrom::Start(start)).map_err(read_error)?;
                scan(&file, start, name)?
            }
            _ => {
                let stream = BufReader::with_capacity(256 << 10, stream);
                spool(compression::decompress(compression, stream).map_err(read_error)?, name, ingest)?
            }
        };
        Ok(Source { name: name.to_owned(), parts: Parts::Archive { file, members } })
    }

    /// The archive's or folder's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The whole of a small part, or `None` if there is none of that name.
    pub(super) fn json(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(part) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = part.take(MAX_JSON + 1).read_to_end(&mut bytes);
        read.map_err(|source| Error::Read { what: name.to_owned(), source })?;
        match bytes.len() as u64 > MAX_JSON {
            true => Err(Error::malformed(
                name,
                "it is larger than the 4 MiB a manifest or configuration may have",
            )),
            false => Ok(Some(bytes)),
        }
    }

    /// Takes a layer into the store.
    pub(super) fn layer(&mut self, name: &str, ingest: &Ingest, expected: &Expected) -> Result<Ingested> {
        if let Some(Part::Spooled(spooled)) = self.part(name)
            && let Some(spooled) = spooled.take()
        {
            return ingest.spooled_layer(spooled, expected);
        }
        match self.open(name)? {
            Some(part) => ingest.layer(part, expected),
            None => Err(Error::malformed(name, "the image needs this layer, and it is not there")),
        }
    }

    fn open(&mut self, name: &str) -> Result<Option<Box<dyn Read + '_>>> {
        if let Parts::Folder(folder) = &self.parts {
            // Names come from the folder's own JSON: they must not lead out of it.
            let Some(name) = normalise(name.as_bytes()) else { return Ok(None) };
            let path = folder.join(name);
            return match File::open(&path) {
                Ok(file) => Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::file("cannot open", &path)(error)),
            };
        }
        let file = match &self.parts {
            Parts::Archive { file, .. } => {
                file.try_clone().map_err(Error::file("cannot open", Path::new(&self.name)))?
            }
            Parts::Folder(_) => unreachable!("folders were handled"),
        };
        Ok(match self.part(name) {
            Some(&mut Part::Range(at, length)) => Some(Box::new(Range { file, at, end: at + length })),
            Some(Part::Memory(bytes)) => Some(Box::new(Cursor::new(&*bytes))),
            Some(Part::Spooled(Some(spooled))) => Some(Box::new(spooled.open()?)),
            _ => None,
        })
    }

    /// The member called `name`, links followed.
    fn part(&mut self, name: &str) -> Option<&mut Part> {
        let Parts::Archive { members, .. } = &mut self.parts else { return None };
        let mut name = normalise(name.as_bytes())?;
        for _ in 0..MAX_LINKS {
            match members.get(&name)? {
                Part::Link(target) => name = target.clone(),
                _ => return members.get_mut(&name),
            }
        }
        None
    }
}

/// Finds the members of an archive in a file.
fn scan(file: &File, start: u64, name: &str) -> Result<HashMap<String, Part>> {
    let length = file.metadata().map_err(Error::file("cannot read", Path::new(name)))?.len();
    let mut archive = Archive::new(BufReader::with_capacity(4096, file));
    let mut members = HashMap::new();
    while let Some(member) = archive.next_member().map_err(|error| malformed(name, error))? {
        let at = start + archive.position();
        if member.kind == Kind::File && at + member.size > length {
            return Err(malformed(name, tar::Error::CutShort(length)));
        }
        archive.skip_data().map_err(|error| malformed(name, error))?;
        let size = member.size;
        add(&mut members, member, name, || Ok(Part::Range(at, size)))?;
    }
    not_empty(&archive, name).map(|()| members)
}

/// Whether there was anything at all.
fn not_empty<R: Read>(archive: &Archive<R>, name: &str) -> Result<()> {
    if archive.position() == 0 { Err(Error::malformed(name, "it is empty")) } else { Ok(()) }
}

/// Keeps the members of an archive that streams by.
fn spool(stream: impl Read, name: &str, ingest: &Ingest) -> Result<HashMap<String, Part>> {
    let mut archive = Archive::new(stream);
    let mut members = HashMap::new();
    let mut in_memory = 0;
    while let Some(member) = archive.next_member().map_err(|error| malformed(name, error))? {
        let size = member.size;
        let what = format!("\"{}\" in {name}", member.name());
        add(&mut members, member, name, || {
            if size > SMALL || in_memory + size > MAX_SMALL {
                return Ok(Part::Spooled(Some(ingest.spool(&mut archive, &what)?)));
            }
            in_memory += size;
            let mut bytes = Vec::with_capacity(size as usize);
            archive.read_to_end(&mut bytes).map_err(|source| Error::Read { what: what.clone(), source })?;
            Ok(Part::Memory(bytes))
        })?;
    }
    not_empty(&archive, name).map(|()| members)
}

/// Adds a member to those of an archive; `data` is asked for a file's.
fn add(
    members: &mut HashMap<String, Part>,
    member: tar::Member,
    archive: &str,
    data: impl FnOnce() -> Result<Part>,
) -> Result<()> {
    let name = normalise(&member.path);
    let part = match member.kind {
        Kind::File if member.segments.len() == 1 && member.segments[0].length == member.size => data()?,
        Kind::File => {
            let reason =
                format!("\"{}\" is a sparse file; save the image again without --sparse", member.name());
            return Err(Error::malformed(archive, reason));
        }
        Kind::HardLink => Part::Link(normalise(&member.link).unwrap_or_default()),
        Kind::Symlink => {
            let folder =
                member.path.iter().rposition(|&b| b == b'/').map_or(&b""[..], |slash| &member.path[..=slash]);
            Part::Link(normalise(&[folder, &member.link].concat()).unwrap_or_default())
        }
        _ => return Ok(()),
    };
    let Some(name) = name else {
        let reason = format!("\"{}\" leaves the archive", member.name());
        return Err(Error::malformed(archive, reason));
    };
    members.insert(name, part);
    match members.len() > MAX_MEMBERS {
        true => Err(Error::malformed(archive, "it has more than 65,536 members: it is no image")),
        false => Ok(()),
    }
}

/// A name without what means nothing in it, or `None` if it leaves the archive.
fn normalise(name: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            _ => parts.push(printable(part)),
        }
    }
    Some(parts.join("/"))
}

fn malformed(archive: &str, error: tar::Error) -> Error {
    match error {
        tar::Error::Io(source) => Error::Read { what: archive.to_owned(), source },
        other => Error::malformed(archive, other.to_string()),
    }
}

/// A part of a file.
struct Range {
    file: File,
    at: u64,
    end: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = (self.end - self.at).min(buffer.len() as u64) as usize;
        let n = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
