//! Framing: a little-endian `u32` length, then that many bytes of JSON.

use serde::{Serialize, de::DeserializeOwned};

use crate::MAX_FRAME;

/// Bytes of the length in front of each body.
pub const HEADER: usize = 4;

/// What is wrong with a frame. Each is final for its connection.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer announced more than it may send.
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME} allowed")]
    TooLong(u32),
    /// The body is not a message of this protocol.
    #[error("not a message of this protocol: {0}")]
    Message(#[from] serde_json::Error),
}

/// The frame of a message, header included.
///
/// # Errors
/// When the message does not serialise or its body is over [`MAX_FRAME`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - HEADER).unwrap_or(u32::MAX);
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    frame[..HEADER].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Collects bytes as they arrive and gives whole messages; holds at most one frame and what was read past it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    consumed: usize,
}

impl Decoder {
    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]: the connection is of no more use.
    #[expect(clippy::should_implement_trait, reason = "the type of each message is the caller's choice")]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let pending = &self.buffer[self.consumed..];
        let Some((header, rest)) = pending.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header);
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(..length as usize) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.consumed += HEADER + length as usize;
        Ok(Some(message))
    }
}

#[cfg(test)]
#[path = "frame_test.rs"]
mod tests;
