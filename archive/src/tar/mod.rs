//! Reading tar archives as container tools write them: POSIX.1-2017 pax and ustar (`pax`, "ustar Interchange Format"),
//! GNU tar's long names, base-256 numbers and sparse files in all four encodings ("GNU tar", appendix D).
//!
//! A reader of our own because an archive is hostile input: every length in it is bounded before memory is taken,
//! a cut-short archive is told from a complete one, and names stay bytes.

mod header;
mod pax;
mod sparse;

use std::io::{self, Read, Seek};

pub use self::sparse::Segment;
use header::{BLOCK, Header};

/// Longest extended header or long name, in bytes. Go's archive/tar, and so Docker, has the same limit.
const MAX_EXTENSION: u64 = 1 << 20;
/// Most bytes of all those before one member.
const MAX_EXTENSIONS: u64 = 2 << 20;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its bytes cannot be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It ends in the middle of something.
    #[error("the archive is cut short: it ends at byte {0}, inside a member or header")]
    CutShort(u64),
    /// There is something that is no tar header.
    #[error("byte {position} is no tar header: {reason}")]
    NotTar {
        /// Where the header was expected.
        position: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A member that makes no sense, or needs what hull does not do.
    #[error("\"{member}\": {reason}")]
    Member {
        /// The member's path.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name for an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A point in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since the epoch; negative before it.
    pub seconds: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// A member of an archive, without its data.
#[derive(Debug, Clone)]
pub struct Member {
    /// Path as written: it may be absolute, hold `..`, or end in `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Permission, set-id and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Time,
    /// Size of the file in bytes, holes included; 0 for everything but files.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes: full names and values. Of one that is there twice, the later counts.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the archive's data goes in the file: in ascending order, apart from each other, within `size`.
    pub segments: Vec<Segment>,
}

impl Member {
    /// The path for messages.
    pub fn name(&self) -> String {
        printable(&self.path)
    }

    /// For `map_err`-like use: an error about this member.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error::Member { member: self.name(), reason: reason.into() }
    }
}

/// A name of any bytes as text that is safe to print.
pub fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// An archive being read from its beginning to its end.
///
/// [`next_member`](Self::next_member) gives a member; its data is what [`Read`] then yields, up to the sum of the member's segments.
pub struct Archive<R> {
    source: R,
    /// Bytes of the source that were read.
    position: u64,
    /// Bytes of the current member's data not yet read.
    data: u64,
    /// Bytes between that data and the next header.
    padding: u64,
    ended: bool,
}

impl<R: Read> Archive<R> {
    /// Reads the archive that begins at `source`'s next byte.
    pub fn new(source: R) -> Self {
        Archive { source, position: 0, data: 0, padding: 0, ended: false }
    }

    /// The source, after the part of it that was read.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// How far the source was read, in bytes: after [`next_member`](Self::next_member), where the member's data begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next member, or `None` at the end of the archive. What is unread of the last one's data is skipped.
    pub fn next_member(&mut self) -> Result<Option<Member>, Error> {
        self.skip_rest()?;
        let mut extensions = pax::Extensions::default();
        let (mut extended, mut left) = (false, MAX_EXTENSIONS);
        loop {
            let Some(header) = self.header()? else {
                return if extended { Err(Error::CutShort(self.position)) } else { Ok(None) };
            };
            let size = header.size()?;
            match header.kind_byte() {
                b'L' => extensions.path = Some(trim_nul(self.extension(size, &mut left)?)),
                b'K' => extensions.link = Some(trim_nul(self.extension(size, &mut left)?)),
                b'x' => {
                    let text = self.extension(size, &mut left)?;
                    extensions
                        .parse(&text)
                        .map_err(|reason| Error::NotTar { position: self.position, reason })?;
                }
                // A pax header for the whole archive holds a comment in practice. Docker ignores it too.
                b'g' => drop(self.extension(size, &mut left)?),
                // A GNU volume header is a name for the archive.
                b'V' => {}
                _ => return self.member(&header, extensions).map(Some),
            }
            extended = true;
        }
    }

    /// Reads the next header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        if self.ended {
            return Ok(None);
        }
        let position = self.position;
        let mut block = [0; BLOCK];
        // Writers that leave out the end-of-archive mark are accepted as Docker accepts them: between members.
        if !self.fill(&mut block)? || block == [0; BLOCK] {
            self.ended = true;
            return Ok(None);
        }
        Header::new(block, position).map(Some)
    }

    /// Turns a header and what came before it into a member.
    fn member(&mut self, header: &Header, mut extensions: pax::Extensions) -> Result<Member, Error> {
        let path = extensions.path.take().unwrap_or_else(|| header.path());
        let error = |reason: String| Error::Member { member: printable(&path), reason };
        let kind = header.kind(&path).map_err(error)?;
        let stored = match kind {
            Kind::File => extensions.size.map_or_else(|| header.size(), Ok)?,
            _ => 0,
        };
        self.data = stored;
        self.padding = stored.next_multiple_of(BLOCK as u64) - stored;

        let id = |given: Option<i64>, field: i64| {
            u32::try_from(given.unwrap_or(field))
                .map_err(|_| error("its owner is not a 32-bit number".into()))
        };
        let mut member = Member {
            kind,
            link: extensions.link.take().unwrap_or_else(|| header.link()),
            mode: (header.mode()? & 0o7777) as u16,
            uid: id(extensions.uid, header.uid()?)?,
            gid: id(extensions.gid, header.gid()?)?,
            mtime: extensions.mtime.map_or_else(|| header.mtime(), Ok)?,
            size: stored,
            device: header.device()?,
            xattrs: std::mem::take(&mut extensions.xattrs),
            segments: vec![Segment { offset: 0, length: stored }],
            path,
        };
        if kind == Kind::File
            && let Some((size, segments)) = self.sparse_map(header, &mut extensions, &mut member)?
        {
            sparse::check(&segments, size, self.data).map_err(|reason| member.error(reason))?;
            (member.size, member.segments) = (size, segments);
        }
        Ok(member)
    }

    /// The bytes of an extended header or long name; so many are left for this member.
    fn extension(&mut self, size: u64, left: &mut u64) -> Result<Vec<u8>, Error> {
        let refused = |reason| Error::NotTar { position: self.position, reason };
        if size > MAX_EXTENSION {
            return Err(refused("an extended header or long name of more than 1 MiB"));
        }
        *left = left
            .checked_sub(size)
            .ok_or_else(|| refused("extended headers and long names of more than 2 MiB before one member"))?;
        let mut bytes = vec![0; (size as usize).next_multiple_of(BLOCK)];
        self.fill_fully(&mut bytes)?;
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    /// Fills `buffer`; `false` if the source was at its end.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(Error::CutShort(self.position)),
                Ok(n) => (filled, self.position) = (filled + n, self.position + n as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Fills `buffer`, which is not allowed to meet the end.
    fn fill_fully(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        match buffer.is_empty() || self.fill(buffer)? {
            true => Ok(()),
            false => Err(Error::CutShort(self.position)),
        }
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        let mut scratch = [0; 16 << 10];
        while self.data > 0 {
            let n = self.data.min(scratch.len() as u64);
            self.fill_fully(&mut scratch[..n as usize])?;
            self.data -= n;
        }
        // Some writers leave out the last member's padding, as they do the end-of-archive mark.
        let padding = std::mem::take(&mut self.padding) as usize;
        match self.fill(&mut scratch[..padding]) {
            Err(Error::CutShort(_)) => self.ended = true,
            other => drop(other?),
        }
        Ok(())
    }
}

impl<R: Read + Seek> Archive<R> {
    /// Goes over the current member's data without reading it. Beyond the source's end this goes unnoticed.
    pub fn skip_data(&mut self) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.data) + std::mem::take(&mut self.padding);
        let offset = i64::try_from(rest).map_err(|_| Error::CutShort(self.position))?;
        self.source.seek_relative(offset)?;
        self.position += rest;
        Ok(())
    }
}

/// The current member's data. An archive that ends inside it is an error of kind `UnexpectedEof`.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self.data.min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.source.read(&mut buffer[..wanted])?;
        if n == 0 {
            let error = Error::CutShort(self.position).to_string();
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        self.data -= n as u64;
        self.position += n as u64;
        Ok(n)
    }
}

fn trim_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

#[cfg(test)]
#[path = "build_test.rs"]
#[allow(dead_code, reason = "others include it, too, and use the rest")]
pub(crate) mod build;
#[cfg(test)]
#[path = "tar_test.rs"]
mod tests;
