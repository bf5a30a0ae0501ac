//! Frames of the guest: from its buffers to the socket.

use std::time::Instant;

use super::Checksums;
use super::backend::{Backend, MAX_FRAME};
use super::cables::{self, Cable, Room};
use super::header::{self, HEADER_SIZE, Partial};
use crate::device::Memory;
use crate::queue::{Buffers, Chain, Progress, Served, VirtQueue};

/// Frames handled before other devices have their turn.
const BUDGET: u16 = 64;
/// An Ethernet header: what is shorter is no frame.
const MIN_FRAME: usize = 14;
/// Where in a frame a checksum may stand at most: behind the headers of Ethernet, IPv6 with extensions, and TCP.
const MAX_CHECKSUM_AT: usize = 512;

/// Sends what the guest has to send, as far as the sockets take it; gives whether there is more to do at once.
pub fn transmit(queue: &mut VirtQueue, cables: &mut [Cable]) -> bool {
    let (is_only, now) = (cables.len() == 1, Instant::now());
    // What is left of a frame goes first, also when no other follows it.
    let waiting = cables.iter_mut().map(|cable| cable.room(is_only, now)).filter(|room| *room == Room::Later);
    let waiting = waiting.count();
    if waiting > 0 && waiting == cables.len() {
        return false;
    }
    let progress = queue.serve(BUDGET, |chain, memory| {
        // A cable that leads nowhere.
        let Some(cable) = cables::pick(cables, memory, &chain.readable) else { return Served::Used(0) };
        let goes = match cable.room(is_only, now) {
            Room::Yes if !send(chain, memory, &mut cable.backend) => {
                // That is where the wait begins.
                cable.room(is_only, now) == Room::Never
            }
            room => room != Room::Later,
        };
        if goes { Served::Used(0) } else { Served::Later }
    });
    progress == Progress::More
}

/// Sends a frame, or drops what is none; `false` when it has to wait.
fn send(chain: &mut Chain, memory: &Memory, backend: &mut Backend) -> bool {
    let frame = &mut chain.readable;
    let Ok(header) = frame.read_array::<HEADER_SIZE>(memory) else { return true };
    let Ok(partial) = header::parse(header) else { return true };
    if !(MIN_FRAME..=MAX_FRAME).contains(&frame.len()) {
        return true;
    }
    let head = match partial.filter(|_| backend.checksums == Checksums::Wanted) {
        None => Vec::new(),
        Some(partial) => match complete(partial, memory, frame) {
            Some(head) => head,
            None => return true,
        },
    };
    backend.send(memory, &head, frame)
}

/// Completes a frame's checksum: takes the front of the frame out of its buffers, up to the checksum, and gives it. `None`
/// when the checksum is not in the frame.
fn complete(Partial { start, at }: Partial, memory: &Memory, frame: &mut Buffers) -> Option<Vec<u8>> {
    let end = at + 2;
    if end > frame.len() || end > MAX_CHECKSUM_AT {
        return None;
    }
    let mut head = vec![0; end];
    frame.read(memory, &mut head);
    let mut total = header::sum(0, false, &head[start..]);
    let mut odd = !(end - start).is_multiple_of(2);
    let mut rest = frame.clone();
    let mut piece = [0; 4096];
    while !rest.is_empty() {
        let length = rest.read(memory, &mut piece);
        if length == 0 {
            return None;
        }
        total = header::sum(total, odd, &piece[..length]);
        odd ^= !length.is_multiple_of(2);
    }
    // A sum of 0 would say that there is none (RFC 768); TCP takes the other as well.
    let checksum = match header::fold(total) {
        0 => 0xffff,
        checksum => checksum,
    };
    head[at..end].copy_from_slice(&checksum.to_be_bytes());
    Some(head)
}
