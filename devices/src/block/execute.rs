//! A request becomes operations on a backend, and their outcome a status.

use std::io;
use std::mem::take;

use super::Serial;
use super::backend::Backend;
use super::request::{Range, Request, Status, parse};
use crate::device::Memory;
use crate::queue::Chain;

/// Carries out the request in a chain and answers it; returns how many bytes of the chain were written.
pub fn execute(backend: &dyn Backend, serial: Serial, chain: &mut Chain, memory: &Memory) -> u32 {
    let (readable, mut writable) = (take(&mut chain.readable), take(&mut chain.writable));
    let room = writable.len();
    let Some(status_at) = room.checked_sub(1) else {
        // There is nowhere to say that this is wrong.
        return 0;
    };
    let mut answer = writable.split_off(status_at);
    let status =
        parse(readable, writable, memory).and_then(|request| carry_out(backend, serial, request, memory));
    answer.write(memory, &[status.err().unwrap_or(Status::Ok) as u8]);
    room as u32
}

fn carry_out(backend: &dyn Backend, serial: Serial, request: Request, memory: &Memory) -> Result<(), Status> {
    let within = |offset: u64, length: u64| match offset.checked_add(length) {
        Some(end) if end <= backend.capacity() => Ok(()),
        _ => Err(Status::IoError),
    };
    let all_within =
        |ranges: &[Range]| ranges.iter().try_for_each(|range| within(range.offset, range.length));
    let done = match request {
        Request::Read { offset, mut into } => {
            within(offset, into.len() as u64)?;
            backend.read(offset, memory, &mut into)
        }
        Request::Write { offset, mut from } => {
            within(offset, from.len() as u64)?;
            backend.write(offset, memory, &mut from)
        }
        Request::Flush => backend.flush(),
        Request::GetId { mut into } => {
            into.write(memory, &serial.0);
            Ok(())
        }
        Request::Discard(ranges) => {
            all_within(&ranges)?;
            each(&ranges, |range| backend.discard(range.offset, range.length))
        }
        Request::WriteZeroes(ranges) => {
            all_within(&ranges)?;
            each(&ranges, |range| backend.write_zeroes(range.offset, range.length, range.unmap))
        }
    };
    done.map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => Status::Unsupported,
        _ => Status::IoError,
    })
}

/// Ranges of no length are done already: the kernel would refuse them.
fn each(ranges: &[Range], operation: impl Fn(&Range) -> io::Result<()>) -> io::Result<()> {
    ranges.iter().filter(|range| range.length > 0).try_for_each(operation)
}
