//! Extended attributes, encoded as they follow an inode (`erofs_xattr_ibody_header` and entries).

use std::collections::BTreeMap;

use super::format::MAX_NAME;
use crate::image::tar::printable;

/// Most bytes of attributes an inode can have: its count of words is 16 bits.
const MAX_SIZE: usize = 12 + 4 * (u16::MAX as usize - 1);

/// Names are stored as a number for the prefix and the rest.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// What overlayfs believes about a layer. A layer must not forge it: with `redirect` or `metacopy` it could show files
/// from elsewhere.
const OVERLAY: &[u8] = b"trusted.overlay.";

/// The attributes of one inode: prefix number and rest of the name give the value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Xattrs(BTreeMap<(u8, Vec<u8>), Vec<u8>>);

impl Xattrs {
    /// The attributes of a tar member. Those of unknown name spaces are left out, as Linux could not hold them.
    pub(super) fn from_tar(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<Self, String> {
        let mut result = Xattrs::default();
        for (name, value) in xattrs {
            if name.starts_with(OVERLAY) {
                let name = printable(name);
                return Err(format!("an image may not carry the attribute {name}: it belongs to overlayfs"));
            }
            let Some((index, rest)) = split(name) else { continue };
            if rest.len() > MAX_NAME || rest.contains(&0) {
                return Err("the name of an extended attribute is too long or holds a NUL".into());
            }
            if u16::try_from(value.len()).is_err() {
                return Err("an extended attribute is larger than 64 KiB".into());
            }
            result.0.insert((index, rest.to_vec()), value.clone());
        }
        if result.size() > MAX_SIZE {
            return Err(format!("its extended attributes take more than {MAX_SIZE} bytes"));
        }
        Ok(result)
    }

    /// Whether [`set_opaque`](Self::set_opaque) was called: an archive cannot say it itself.
    pub(super) fn is_opaque(&self) -> bool {
        self.0.contains_key(&opaque())
    }

    /// Marks a directory as hiding what lower layers have in it.
    pub(super) fn set_opaque(&mut self) {
        self.0.insert(opaque(), b"y".to_vec());
    }

    /// Size when encoded, in bytes: 0 for none.
    pub(super) fn size(&self) -> usize {
        let entries: usize = self.0.iter().map(|((_, name), value)| entry_size(name, value)).sum();
        if entries == 0 { 0 } else { 12 + entries }
    }

    /// Appends the encoded attributes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        // No name filter, nothing shared.
        out.extend([0; 12]);
        for ((index, name), value) in &self.0 {
            let end = out.len() + entry_size(name, value);
            out.extend([name.len() as u8, *index]);
            out.extend((value.len() as u16).to_le_bytes());
            out.extend_from_slice(name);
            out.extend_from_slice(value);
            out.resize(end, 0);
        }
    }
}

/// `trusted.overlay.opaque`
fn opaque() -> (u8, Vec<u8>) {
    (4, b"overlay.opaque".to_vec())
}

fn entry_size(name: &[u8], value: &[u8]) -> usize {
    (4 + name.len() + value.len()).next_multiple_of(4)
}

fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|&(prefix, index)| {
        let rest = name.strip_prefix(prefix)?;
        // Only the names that end in a dot are prefixes.
        (prefix.ends_with(b".") != rest.is_empty()).then_some((index, rest))
    })
}
