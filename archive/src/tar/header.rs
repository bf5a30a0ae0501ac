//! One 512-byte header block.

use super::{Error, Kind, Time};

/// Size of everything in an archive, in bytes.
pub(super) const BLOCK: usize = 512;

/// A header block whose checksum is right.
pub(super) struct Header {
    block: [u8; BLOCK],
    position: u64,
}

impl Header {
    /// Checks the checksum of the block that was read at `position`.
    pub(super) fn new(block: [u8; BLOCK], position: u64) -> Result<Self, Error> {
        let header = Header { block, position };
        let counted = |i: usize, byte: u8| if (148..156).contains(&i) { b' ' } else { byte };
        let bytes = || header.block.iter().enumerate().map(|(i, &byte)| counted(i, byte));
        let unsigned: i64 = bytes().map(i64::from).sum();
        // Some historic writers summed signed characters.
        let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
        let sum = header.number(148, 8)?;
        if sum != unsigned && sum != signed {
            return Err(header.error("its checksum is wrong"));
        }
        Ok(header)
    }

    fn error(&self, reason: &'static str) -> Error {
        Error::NotTar { position: self.position, reason }
    }

    pub(super) fn field(&self, offset: usize, length: usize) -> &[u8] {
        &self.block[offset..offset + length]
    }

    fn text(&self, offset: usize, length: usize) -> &[u8] {
        let field = self.field(offset, length);
        field.split(|&b| b == 0).next().unwrap_or(field)
    }

    /// A number: octal digits between blanks and NULs, or GNU's base 256 (two's complement, top bit of the first byte set).
    pub(super) fn number(&self, offset: usize, length: usize) -> Result<i64, Error> {
        parse_number(self.field(offset, length)).ok_or_else(|| self.error("a field is not a number"))
    }

    /// The type flag.
    pub(super) fn kind_byte(&self) -> u8 {
        self.block[156]
    }

    /// Size of the data that follows.
    pub(super) fn size(&self) -> Result<u64, Error> {
        let size = u64::try_from(self.number(124, 12)?).map_err(|_| self.error("its size is negative"))?;
        // So that adding padding cannot overflow.
        if size > 1 << 62 { Err(self.error("its size is absurd")) } else { Ok(size) }
    }

    /// What the member called `path` is; in the oldest archives only the trailing slash tells a directory.
    pub(super) fn kind(&self, path: &[u8]) -> Result<Kind, String> {
        match self.kind_byte() {
            0 if path.ends_with(b"/") => Ok(Kind::Directory),
            // S is GNU's sparse file, 7 a contiguous file.
            0 | b'0' | b'7' | b'S' => Ok(Kind::File),
            b'1' => Ok(Kind::HardLink),
            b'2' => Ok(Kind::Symlink),
            b'3' => Ok(Kind::CharDevice),
            b'4' => Ok(Kind::BlockDevice),
            b'5' => Ok(Kind::Directory),
            b'6' => Ok(Kind::Fifo),
            b'M' => Err("it continues another archive: multi-volume archives are not supported".into()),
            other => Err(format!("members of type {:?} are not supported", char::from(other))),
        }
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let prefix = self.text(345, 155);
        // GNU's magic is "ustar  \0", and it uses the prefix's place for other things.
        match self.field(257, 6) == b"ustar\0" && !prefix.is_empty() {
            true => [prefix, b"/", name].concat(),
            false => name.to_vec(),
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        self.text(157, 100).to_vec()
    }

    pub(super) fn mode(&self) -> Result<i64, Error> {
        self.number(100, 8)
    }

    pub(super) fn uid(&self) -> Result<i64, Error> {
        self.number(108, 8)
    }

    pub(super) fn gid(&self) -> Result<i64, Error> {
        self.number(116, 8)
    }

    pub(super) fn mtime(&self) -> Result<Time, Error> {
        Ok(Time { seconds: self.number(136, 12)?, nanoseconds: 0 })
    }

    /// Major and minor number; the oldest archives have none.
    pub(super) fn device(&self) -> Result<(u32, u32), Error> {
        if self.field(257, 5) != b"ustar" {
            return Ok((0, 0));
        }
        let number = |offset| {
            u32::try_from(self.number(offset, 8)?).map_err(|_| self.error("a device number is absurd"))
        };
        Ok((number(329)?, number(337)?))
    }
}

pub(super) fn parse_number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // The sign is the second-highest bit.
        let high = if first & 0x40 != 0 { i128::from(first) - 0x100 } else { i128::from(first & 0x7f) };
        let value = rest.iter().try_fold(high, |value, &byte| {
            value.checked_mul(256).map(|shifted| shifted + i128::from(byte))
        })?;
        return i64::try_from(value).ok();
    }
    let blank = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = &field[start..];
    let digits = &digits[..digits.iter().position(blank).unwrap_or(digits.len())];
    digits.iter().try_fold(0i64, |value, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}
