//! Frames for the guest: from the socket to its buffers.

use super::Running;
use super::backend::Backend;
use super::header::{self, HEADER_SIZE};
use crate::queue::{Chain, VirtQueue};

/// Bytes handled before other devices have their turn.
const BUDGET: usize = 512 << 10;
/// What a frame costs at least, in the same money.
const PER_FRAME: usize = 1024;

/// What became of a frame.
enum Delivered {
    /// The guest has it.
    Yes,
    /// It will never have the room, or says so.
    Dropped,
    /// It has no room yet, and notifies when it has.
    Later,
}

/// Gives the guest what has come, as far as it has buffers; gives whether there is more to do at once.
pub fn receive(running: &mut Running, backend: &mut Backend) -> bool {
    if running.full {
        return false;
    }
    let mut left = BUDGET;
    let mut more = false;
    while let Some(frame) = backend.frame() {
        if left == 0 {
            more = true;
            break;
        }
        left = left.saturating_sub(frame.len().max(PER_FRAME));
        match deliver(&mut running.receive, running.merges, frame) {
            Delivered::Yes | Delivered::Dropped => backend.take(),
            Delivered::Later => {
                running.full = true;
                break;
            }
        }
    }
    running.receive.notify();
    more
}

fn deliver(queue: &mut VirtQueue, merges: bool, frame: &[u8]) -> Delivered {
    let needed = HEADER_SIZE + frame.len();
    let mut chains: Vec<Chain> = Vec::new();
    let mut room = 0;
    while room < needed {
        if let Some(chain) = queue.pop() {
            room += chain.writable.len();
            let unfit = chains.is_empty() && chain.writable.len() < HEADER_SIZE;
            chains.push(chain);
            if unfit || (!merges && room < needed) || chains.len() >= usize::from(u16::MAX) {
                return give_up(queue, chains);
            }
        } else if queue.broken().is_some() {
            return Delivered::Dropped;
        } else if chains.len() >= usize::from(queue.state().size) {
            // All that it can ever offer is not enough.
            return give_up(queue, chains);
        } else if !queue.arm() {
            chains.into_iter().rev().for_each(|chain| queue.unpop(chain));
            return Delivered::Later;
        }
    }
    queue.disarm();
    let memory = queue.memory().clone();
    let mut header = header::received(chains.len() as u16).to_vec();
    let mut frame = frame;
    for mut chain in chains {
        let mut written = chain.writable.write(&memory, &std::mem::take(&mut header));
        let part = frame.len().min(chain.writable.len());
        written += chain.writable.write(&memory, &frame[..part]);
        frame = &frame[part..];
        queue.push(chain, written as u32);
    }
    Delivered::Yes
}

/// Returns the driver's buffers with nothing in them.
fn give_up(queue: &mut VirtQueue, chains: Vec<Chain>) -> Delivered {
    chains.into_iter().for_each(|chain| queue.push(chain, 0));
    Delivered::Dropped
}
