//! Checksums of what is large and mostly empty.

use std::{fs::File, io, os::unix::fs::FileExt};

use rustix::fs::SeekFrom;
use sha2::{Digest, Sha256};

use crate::vm::sparse;

/// A file is looked at in pieces of this many bytes.
const PIECE: usize = 1 << 20;

/// A checksum of a file's content: the SHA-256 of its length and of each MiB of it that is not all zeroes, with its place
/// before it. So a hole is what it reads as, and costs nothing.
///
/// # Errors
/// As `read(2)`.
pub fn of(file: &File) -> io::Result<String> {
    let length = rustix::fs::seek(file, SeekFrom::End(0))?;
    let mut hasher = Sha256::new();
    hasher.update(length.to_le_bytes());
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    for stretch in sparse::stretches(file) {
        let stretch = stretch?;
        // A piece that two stretches have a part of is looked at once.
        at = at.max(stretch.start - stretch.start % PIECE as u64);
        while at < stretch.end {
            let piece = &mut piece[..(length - at).min(PIECE as u64) as usize];
            file.read_exact_at(piece, at)?;
            if piece.iter().any(|byte| *byte != 0) {
                hasher.update(at.to_le_bytes());
                hasher.update(&*piece);
            }
            at += piece.len() as u64;
        }
    }
    Ok(hex::encode(hasher.finalize()))
}
