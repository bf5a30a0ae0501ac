//! Extended headers: what comes before a member and says more about it (POSIX `pax`, "pax Extended Header").

use super::Time;
use super::sparse::Segment;

/// What the members named `SCHILY.xattr.NAME` hold: extended attributes, in star's encoding, which is also Docker's.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Everything said about the next member ahead of its own header. Of extended attributes named twice the later counts.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// GNU's sparse file records.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// Format 1.x: the map is at the start of the data.
    pub(super) major: Option<u64>,
    /// Size of the file with its holes.
    pub(super) size: Option<u64>,
    /// Format 0.0's pairs or format 0.1's map.
    pub(super) map: Vec<Segment>,
    offset: Option<u64>,
    /// The file's name: `path` is then an invented one.
    pub(super) name: Option<Vec<u8>>,
}

impl Extensions {
    /// Takes in the records of one extended header: `LENGTH KEY=VALUE\n`, the length counting all of it.
    pub(super) fn parse(&mut self, mut text: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "a pax record is malformed";
        while !text.is_empty() {
            let space = text.iter().take(20).position(|&b| b == b' ').ok_or(BAD)?;
            let length = decimal(&text[..space]).ok_or(BAD)?;
            let length =
                usize::try_from(length).ok().filter(|&l| l > space + 1 && l <= text.len()).ok_or(BAD)?;
            let (record, rest) = text.split_at(length);
            let record = record[space + 1..].strip_suffix(b"\n").ok_or(BAD)?;
            let equals = record.iter().position(|&b| b == b'=').ok_or(BAD)?;
            self.record(&record[..equals], &record[equals + 1..])
                .ok_or("a pax record has a value that makes no sense")?;
            text = rest;
        }
        Ok(())
    }

    /// One record; `None` if its value makes no sense. Unknown keys are ignored, as POSIX asks.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = given(value, name)?,
            b"linkpath" => self.link = given(value, name)?,
            // So that adding padding cannot overflow.
            b"size" => self.size = given(value, |value| decimal(value).filter(|&size| size <= 1 << 62))?,
            b"uid" => self.uid = given(value, id)?,
            b"gid" => self.gid = given(value, id)?,
            b"mtime" => self.mtime = given(value, time)?,
            b"GNU.sparse.major" => self.sparse.major = given(value, decimal)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = given(value, decimal)?,
            b"GNU.sparse.name" => self.sparse.name = given(value, name)?,
            b"GNU.sparse.offset" => self.sparse.offset = given(value, decimal)?,
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take()?;
                self.sparse.map.push(Segment { offset, length: decimal(value)? });
            }
            b"GNU.sparse.map" => self.sparse.map = given(value, map)?.unwrap_or_default(),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Some(())
    }
}

/// A parsed value; an empty one takes back what was said before.
fn given<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { parse(value).map(Some) }
}

fn name(value: &[u8]) -> Option<Vec<u8>> {
    (!value.contains(&0)).then(|| value.to_vec())
}

fn id(value: &[u8]) -> Option<i64> {
    decimal(value).and_then(|id| i64::try_from(id).ok())
}

/// An unsigned decimal number, nothing around it.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Format 0.1's map: `offset,length,offset,length,…`
fn map(value: &[u8]) -> Option<Vec<Segment>> {
    let numbers: Vec<u64> = value.split(|&b| b == b',').map(decimal).collect::<Option<_>>()?;
    let pairs = numbers.chunks(2).map(|pair| match *pair {
        [offset, length] => Some(Segment { offset, length }),
        _ => None,
    });
    pairs.collect()
}

/// Seconds since the epoch with an optional sign and fraction.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match value.iter().position(|&b| b == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    // A negative time's fraction counts towards the past; nanoseconds always count forward.
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}
