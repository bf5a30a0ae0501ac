//! Writing tar archives: ustar headers, with pax records for what does not fit there (POSIX.1-2017 `pax`).

use std::io::{self, Read, Write};

use crate::tar::{Kind, Member};

/// Size of everything in an archive, in bytes.
const BLOCK: usize = 512;
/// Bytes that are copied at once.
const PIECE: usize = 64 << 10;
/// Largest numbers of 7 and of 11 octal digits.
const MOST_7: u64 = 0o7_777_777;
const MOST_11: u64 = 0o77_777_777_777;

/// An archive being written.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    piece: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// An archive that begins with the next byte of `to`.
    pub fn new(to: W) -> Self {
        Self { to, piece: vec![0; PIECE] }
    }

    /// Appends a member. Of a file's `data` exactly its size is taken, zeroes for what is missing: it may change while it is read.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn append(&mut self, member: &Member, data: &mut dyn Read) -> io::Result<()> {
        let records = records(member);
        if !records.is_empty() {
            let size = records.len() as u64;
            self.to.write_all(&header(b'x', b"pax", b"", &Fields { size, ..Fields::default() }))?;
            self.to.write_all(&records)?;
            self.pad(size)?;
        }
        self.to.write_all(&header(kind(member.kind), &member.path, &member.link, &Fields::of(member)))?;
        let mut left = member.size;
        while left > 0 {
            let wanted = left.min(PIECE as u64) as usize;
            let count = match data.read(&mut self.piece[..wanted]) {
                Ok(0) => {
                    self.piece[..wanted].fill(0);
                    wanted
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.to.write_all(&self.piece[..count])?;
            left -= count as u64;
        }
        self.pad(member.size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        self.to.write_all(&[0; BLOCK][..padding])
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.to)
    }
}

fn kind(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// Numbers of a header.
#[derive(Default)]
struct Fields {
    mode: u64,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: u64,
    device: (u32, u32),
}

impl Fields {
    fn of(member: &Member) -> Self {
        Self {
            mode: member.mode.into(),
            uid: member.uid.into(),
            gid: member.gid.into(),
            size: member.size,
            mtime: u64::try_from(member.mtime.seconds).unwrap_or(0),
            device: member.device,
        }
    }
}

/// What a header alone cannot say of a member.
fn records(member: &Member) -> Vec<u8> {
    let mut records = Vec::new();
    if member.path.len() > 100 || !member.path.is_ascii() {
        record(&mut records, b"path", &member.path);
    }
    if member.link.len() > 100 || !member.link.is_ascii() {
        record(&mut records, b"linkpath", &member.link);
    }
    if member.size > MOST_11 {
        record(&mut records, b"size", member.size.to_string().as_bytes());
    }
    for (name, id) in [(&b"uid"[..], member.uid), (b"gid", member.gid)] {
        if u64::from(id) > MOST_7 {
            record(&mut records, name, id.to_string().as_bytes());
        }
    }
    let time = member.mtime;
    if time.nanoseconds != 0 || time.seconds < 0 || time.seconds.cast_unsigned() > MOST_11 {
        // A negative time's fraction counts towards the past.
        let text = if time.seconds < 0 && time.nanoseconds != 0 {
            format!("-{}.{:09}", -(time.seconds + 1), 1_000_000_000 - time.nanoseconds)
        } else {
            format!("{}.{:09}", time.seconds, time.nanoseconds)
        };
        record(&mut records, b"mtime", text.as_bytes());
    }
    for (name, value) in &member.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &**name].concat(), value);
    }
    records
}

/// `LENGTH KEY=VALUE\n`, where the length counts all of it.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend([length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat());
}

fn header(kind: u8, path: &[u8], link: &[u8], fields: &Fields) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |offset: usize, bytes: &[u8]| block[offset..offset + bytes.len()].copy_from_slice(bytes);
    // What does not fit is in a record before it.
    put(0, &path[..path.len().min(100)]);
    put(157, &link[..link.len().min(100)]);
    let small = |value: u64| format!("{:07o}", if value > MOST_7 { 0 } else { value });
    let large = |value: u64| format!("{:011o}", if value > MOST_11 { 0 } else { value });
    put(100, small(fields.mode).as_bytes());
    put(108, small(fields.uid).as_bytes());
    put(116, small(fields.gid).as_bytes());
    put(124, large(fields.size).as_bytes());
    put(136, large(fields.mtime).as_bytes());
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, small(fields.device.0.into()).as_bytes());
    put(337, small(fields.device.1.into()).as_bytes());
    put(148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
#[path = "write_test.rs"]
mod tests;
