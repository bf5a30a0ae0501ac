//! Archives for tests, down to what no honest program writes.

/// An archive being written.
#[derive(Default)]
pub struct Tar(Vec<u8>);

/// A member's header, with what most tests want.
#[derive(Clone)]
pub struct Head<'a> {
    pub kind: u8,
    pub path: &'a [u8],
    pub link: &'a [u8],
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub size: u64,
    pub device: (u32, u32),
}

impl Default for Head<'_> {
    fn default() -> Self {
        Head {
            kind: b'0',
            path: b"file",
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            device: (0, 0),
        }
    }
}

impl Tar {
    /// A header alone, as it is told.
    pub fn header(mut self, head: &Head<'_>) -> Self {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, head.path);
        put(100, format!("{:07o}", head.mode).as_bytes());
        put(108, &number(head.uid, 8));
        put(116, &number(head.gid, 8));
        put(124, &number(head.size, 12));
        put(136, &number(head.mtime, 12));
        put(148, b"        ");
        put(156, &[head.kind]);
        put(157, head.link);
        put(257, b"ustar\x0000");
        put(329, &number(u64::from(head.device.0), 8));
        put(337, &number(u64::from(head.device.1), 8));
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(block);
        self
    }

    /// Bytes and their padding.
    pub fn data(mut self, data: &[u8]) -> Self {
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// An extended header with these records.
    pub fn pax(self, records: &[(&[u8], &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap();
            text.extend(format!("{} ", rest + digits).bytes());
            text.extend(*key);
            text.push(b'=');
            text.extend(*value);
            text.push(b'\n');
        }
        self.header(&Head { kind: b'x', path: b"pax", size: text.len() as u64, ..Head::default() })
            .data(&text)
    }

    /// A member of any name.
    pub fn member(self, head: &Head<'_>, data: &[u8]) -> Self {
        let mut records: Vec<(&[u8], &[u8])> = Vec::new();
        if head.path.len() > 100 {
            records.push((b"path", head.path));
        }
        if head.link.len() > 100 {
            records.push((b"linkpath", head.link));
        }
        let cut = |name: &'_ [u8]| name[..name.len().min(100)].to_vec();
        let (path, link) = (cut(head.path), cut(head.link));
        let head = Head { path: &path, link: &link, size: data.len() as u64, ..head.clone() };
        if records.is_empty() { self } else { self.pax(&records) }.header(&head).data(data)
    }

    pub fn file(self, path: &str, data: &[u8]) -> Self {
        self.member(&Head { path: path.as_bytes(), ..Head::default() }, data)
    }

    pub fn directory(self, path: &str) -> Self {
        self.member(&Head { kind: b'5', path: path.as_bytes(), mode: 0o755, ..Head::default() }, b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.member(
            &Head {
                kind: b'2',
                path: path.as_bytes(),
                link: target.as_bytes(),
                mode: 0o777,
                ..Head::default()
            },
            b"",
        )
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.member(
            &Head { kind: b'1', path: path.as_bytes(), link: target.as_bytes(), ..Head::default() },
            b"",
        )
    }

    /// The archive with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    /// The archive without one.
    pub fn unfinished(self) -> Vec<u8> {
        self.0
    }
}

/// Octal where it fits, base 256 otherwise.
fn number(value: u64, width: usize) -> Vec<u8> {
    let octal = format!("{value:0digits$o}", digits = width - 1);
    if octal.len() < width {
        return octal.into_bytes();
    }
    let mut bytes = vec![0; width];
    bytes[width - 8..].copy_from_slice(&value.to_be_bytes());
    bytes[0] |= 0x80;
    bytes
}
