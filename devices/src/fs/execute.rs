//! A request in a chain becomes one of the file system's, and its outcome an answer.

use std::mem::take;

use rustix::io::Errno;

use super::server::{Outcome, Share};
use super::wire::{Header, IN_HEADER, OUT_HEADER, opcode};
use crate::device::Memory;
use crate::queue::{Buffers, Chain};

/// Most bytes of a request beside the data to be written: the longest attribute, and its name.
const MAX_ARGUMENTS: usize = (64 << 10) + 4096;
/// Bytes of `struct fuse_write_in`.
const WRITE_ARGUMENTS: usize = 40;

/// Carries out the request in a chain and answers it; returns how many bytes of the chain were written.
pub fn execute(share: &Share, chain: &mut Chain, memory: &Memory) -> u32 {
    let (mut readable, mut answer) = (take(&mut chain.readable), take(&mut chain.writable));
    let Ok(bytes) = readable.read_array::<IN_HEADER>(memory) else {
        // A request without a name cannot be answered.
        return 0;
    };
    let header = Header::parse(&bytes);
    let mut room = answer.split_off(OUT_HEADER);
    let outcome = arguments(&header, &mut readable, memory)
        .and_then(|arguments| share.carry_out(header, &arguments, memory, &mut readable, &mut room));
    reply(header.unique, outcome, memory, answer, room)
}

/// Answers the request in a chain by saying that there is no share.
pub fn refuse(chain: &mut Chain, memory: &Memory) -> u32 {
    let (mut readable, mut answer) = (take(&mut chain.readable), take(&mut chain.writable));
    let Ok(bytes) = readable.read_array::<IN_HEADER>(memory) else { return 0 };
    let header = Header::parse(&bytes);
    let room = answer.split_off(OUT_HEADER);
    let outcome = match header.opcode {
        opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => Ok(Outcome::Silence),
        _ => Err(Errno::NODEV),
    };
    reply(header.unique, outcome, memory, answer, room)
}

/// Takes the arguments of a request; what is left is data to be written.
fn arguments(header: &Header, readable: &mut Buffers, memory: &Memory) -> Result<Vec<u8>, Errno> {
    let length = match header.opcode {
        opcode::WRITE => WRITE_ARGUMENTS,
        _ => readable.len(),
    };
    if length > MAX_ARGUMENTS {
        return Err(Errno::TOOBIG);
    }
    if length > readable.len() {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0; length];
    if readable.read(memory, &mut bytes) < length {
        return Err(Errno::FAULT);
    }
    Ok(bytes)
}

/// `struct fuse_out_header` and what follows; returns the number of bytes.
fn reply(
    unique: u64,
    outcome: Result<Outcome, Errno>,
    memory: &Memory,
    mut answer: Buffers,
    mut room: Buffers,
) -> u32 {
    let (error, length) = match outcome {
        Ok(Outcome::Silence) => return 0,
        Ok(Outcome::Written(length)) => (0, length),
        Ok(Outcome::Answer(bytes)) => match room.write_all(memory, &bytes.0) {
            Ok(()) => (0, bytes.0.len()),
            Err(_) => (-Errno::INVAL.raw_os_error(), 0),
        },
        Err(error) => (-error.raw_os_error(), 0),
    };
    let length = (OUT_HEADER + length) as u32;
    let mut header = [0; OUT_HEADER];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..8].copy_from_slice(&error.to_le_bytes());
    header[8..].copy_from_slice(&unique.to_le_bytes());
    answer.write_all(memory, &header).map_or(0, |()| length)
}
