//! The image being written: sequentially, in large pieces, zeros as holes.

use std::io::{Read, Seek, SeekFrom, Write};

use super::format::BLOCK;
use super::{Error, tar};

const BUFFER: usize = 256 << 10;
/// Runs of zeros at least this long, and so aligned, become holes.
const HOLE: usize = 64 << 10;
static ZEROS: [u8; HOLE] = [0; HOLE];

/// Writes an image from its start on.
pub(super) struct Sink<W> {
    out: W,
    buffer: Vec<u8>,
    /// Where `buffer` begins in the image; a multiple of [`BLOCK`].
    start: u64,
    /// Where `out`'s position is.
    at: u64,
}

impl<W: Write + Seek> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Sink { out, buffer: Vec::with_capacity(BUFFER), start: 0, at: 0 }
    }

    /// The next byte's position.
    pub(super) fn position(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// The next block's number; the position must be at its start.
    pub(super) fn block(&self) -> Result<u32, Error> {
        debug_assert!(self.position().is_multiple_of(BLOCK as u64));
        u32::try_from(self.position() / BLOCK as u64).map_err(|_| Error::TooManyBlocks)
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let n = bytes.len().min(BUFFER - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.flush_if_full()?;
        }
        Ok(())
    }

    /// Writes the next `length` bytes of `source`.
    pub(super) fn copy(&mut self, source: &mut impl Read, mut length: u64) -> Result<(), Error> {
        while length > 0 {
            let old = self.buffer.len();
            let n = length.min((BUFFER - old) as u64) as usize;
            self.buffer.resize(old + n, 0);
            source.read_exact(&mut self.buffer[old..]).map_err(tar::Error::Io)?;
            length -= n as u64;
            self.flush_if_full()?;
        }
        Ok(())
    }

    /// Goes forward over `length` zeros.
    pub(super) fn skip(&mut self, length: u64) -> Result<(), Error> {
        let target = self.position() + length;
        if target - self.start <= BUFFER as u64 {
            self.buffer.resize((target - self.start) as usize, 0);
            return self.flush_if_full();
        }
        self.pad()?;
        self.flush()?;
        let block = BLOCK as u64;
        self.start = target / block * block;
        if self.start / block > u64::from(u32::MAX) {
            return Err(Error::TooManyBlocks);
        }
        self.buffer.resize((target - self.start) as usize, 0);
        Ok(())
    }

    /// Goes forward to the next block.
    pub(super) fn pad(&mut self) -> Result<(), Error> {
        self.buffer.resize(self.buffer.len().next_multiple_of(BLOCK), 0);
        self.flush_if_full()
    }

    /// Pads, writes `first` over the image's start, and gives the image back with its size in bytes.
    pub(super) fn finish(mut self, first: &[u8; BLOCK]) -> Result<(W, u64), Error> {
        self.pad()?;
        let size = self.position();
        self.block()?;
        self.flush()?;
        if self.at < size {
            // It ends in a hole: the last byte gives it its length.
            self.seek(size - 1)?;
            self.out.write_all(&[0]).map_err(Error::Write)?;
        }
        self.out.rewind().map_err(Error::Write)?;
        self.out.write_all(first).map_err(Error::Write)?;
        self.out.flush().map_err(Error::Write)?;
        Ok((self.out, size))
    }

    fn flush_if_full(&mut self) -> Result<(), Error> {
        if self.buffer.len() == BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let buffer = std::mem::take(&mut self.buffer);
        for (i, piece) in buffer.chunks(HOLE).enumerate() {
            if *piece == ZEROS[..piece.len()] {
                continue;
            }
            let position = self.start + (i * HOLE) as u64;
            if self.at != position {
                self.seek(position)?;
            }
            self.out.write_all(piece).map_err(Error::Write)?;
            self.at = position + piece.len() as u64;
        }
        self.start += buffer.len() as u64;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn seek(&mut self, position: u64) -> Result<(), Error> {
        self.out.seek(SeekFrom::Start(position)).map(|_| ()).map_err(Error::Write)
    }
}
