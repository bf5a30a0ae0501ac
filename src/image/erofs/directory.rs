//! Directories: blocks of entries sorted by name, in each block first the entries and then their names.

use super::format::{BLOCK, DIRENT, Nid};

/// An entry of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub nid: Nid,
    /// As [`file_type`](super::format::file_type) gives it.
    pub kind: u8,
}

/// Size in bytes of a directory with these names, which are in order; the last block counts only as far as it is used.
pub(super) fn size<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let (mut blocks, mut used) = (0u64, 0);
    for name in names {
        let entry = DIRENT + name.len();
        if used + entry > BLOCK {
            (blocks, used) = (blocks + 1, 0);
        }
        used += entry;
    }
    blocks * BLOCK as u64 + used as u64
}

/// The directory's bytes; `entries` are in order.
pub(super) fn encode(mut entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    while !entries.is_empty() {
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        let mut used = 0;
        let fitting = entries.iter().take_while(|entry| {
            used += DIRENT + entry.name.len();
            used <= BLOCK
        });
        let (block, rest) = entries.split_at(fitting.count());
        let mut name_offset = block.len() * DIRENT;
        for entry in block {
            out.extend(entry.nid.0.to_le_bytes());
            out.extend((name_offset as u16).to_le_bytes());
            out.extend([entry.kind, 0]);
            name_offset += entry.name.len();
        }
        for entry in block {
            out.extend_from_slice(entry.name);
        }
        entries = rest;
    }
    out
}
