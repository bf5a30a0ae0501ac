//! Sparse files: GNU's old header (type `S`), and its pax formats 0.0, 0.1 and 1.0.

use std::io::Read;

use super::header::{BLOCK, Header, parse_number};
use super::pax::{Extensions, decimal};
use super::{Archive, Error, Member};

/// Most segments a sparse file may have.
const MAX_SEGMENTS: usize = 1 << 20;
/// Largest sparse file, in bytes: a few bytes of header must not claim what no disk has.
const MAX_SIZE: u64 = 8 << 40;

/// A part of a file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// Whether the segments ascend without overlap within `size` and take exactly the `stored` bytes of the archive.
pub(super) fn check(segments: &[Segment], size: u64, stored: u64) -> Result<(), String> {
    if size > MAX_SIZE {
        return Err(format!("a sparse file of {size} bytes is larger than the 8 TiB hull accepts"));
    }
    let mut end = 0;
    let mut sum = 0u64;
    for segment in segments {
        let next =
            segment.offset.checked_add(segment.length).filter(|&next| segment.offset >= end && next <= size);
        end = next.ok_or("its sparse map is out of order or leaves the file")?;
        sum += segment.length;
    }
    if sum != stored {
        return Err(format!("its sparse map speaks of {sum} bytes, and the archive holds {stored}"));
    }
    Ok(())
}

impl<R: Read> Archive<R> {
    /// The size and map of a sparse file, or `None` if the member is not sparse. What of the map lies in the archive's data is consumed.
    pub(super) fn sparse_map(
        &mut self,
        header: &Header,
        extensions: &mut Extensions,
        member: &mut Member,
    ) -> Result<Option<(u64, Vec<Segment>)>, Error> {
        if header.kind_byte() == b'S' {
            return self.old_map(header, member).map(Some);
        }
        let sparse = &mut extensions.sparse;
        let Some(size) = sparse.size else { return Ok(None) };
        if let Some(name) = sparse.name.take() {
            member.path = name;
        }
        match sparse.major {
            None | Some(0) => Ok(Some((size, std::mem::take(&mut sparse.map)))),
            Some(1) => Ok(Some((size, self.leading_map(member)?))),
            Some(other) => Err(member.error(format!("sparse format {other}.x is not supported"))),
        }
    }

    /// The map in a GNU header and the blocks that continue it.
    fn old_map(&mut self, header: &Header, member: &Member) -> Result<(u64, Vec<Segment>), Error> {
        let bad = || member.error("its sparse map is not made of numbers");
        let mut segments = Vec::new();
        let mut take = |fields: &[u8]| -> Result<(), Error> {
            for field in fields.chunks_exact(24).take_while(|field| field[0] != 0) {
                let number =
                    |part: &[u8]| parse_number(part).and_then(|n| u64::try_from(n).ok()).ok_or_else(bad);
                let (offset, length) = (number(&field[..12])?, number(&field[12..])?);
                segments.push(Segment { offset, length });
            }
            match segments.len() > MAX_SEGMENTS {
                true => Err(member.error("its sparse map has more than a million entries")),
                false => Ok(()),
            }
        };
        let size = parse_number(header.field(483, 12)).and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)?;
        take(header.field(386, 96))?;
        let mut more = header.field(482, 1)[0] != 0;
        while more {
            // These blocks stand between header and data, and the header's size does not count them.
            let mut block = [0; BLOCK];
            self.fill_fully(&mut block)?;
            take(&block[..504])?;
            more = block[504] != 0;
        }
        Ok((size, segments))
    }

    /// Format 1.0: decimal numbers, a line each, padded to whole blocks: the count, then offset and length of each segment.
    fn leading_map(&mut self, member: &Member) -> Result<Vec<Segment>, Error> {
        let mut lines = MapLines { block: [0; BLOCK], at: BLOCK };
        let count = lines.number(self, member)?;
        if count > MAX_SEGMENTS as u64 {
            return Err(member.error("its sparse map has more than a million entries"));
        }
        let mut segments = Vec::new();
        for _ in 0..count {
            let (offset, length) = (lines.number(self, member)?, lines.number(self, member)?);
            segments.push(Segment { offset, length });
        }
        Ok(segments)
    }
}

/// The lines of a map at the start of a member's data.
struct MapLines {
    block: [u8; BLOCK],
    at: usize,
}

impl MapLines {
    fn number<R: Read>(&mut self, archive: &mut Archive<R>, member: &Member) -> Result<u64, Error> {
        let mut digits = Vec::with_capacity(20);
        loop {
            if self.at == BLOCK {
                archive
                    .read_exact(&mut self.block)
                    .map_err(|_| member.error("its sparse map is cut short"))?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => break,
                _ if digits.len() == 20 => return Err(member.error("its sparse map is not made of numbers")),
                _ => digits.push(byte),
            }
        }
        decimal(&digits).ok_or_else(|| member.error("its sparse map is not made of numbers"))
    }
}
