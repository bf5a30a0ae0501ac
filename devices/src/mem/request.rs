//! What a driver asks of a memory device, and the answer (VIRTIO 1.3, section 5.15.6).

use crate::device::Memory;
use crate::queue::Buffers;

/// Bytes of `struct virtio_mem_req`: kind, padding, address, number of blocks, padding.
const REQUEST_SIZE: usize = 24;
/// Bytes of `struct virtio_mem_resp`: kind, padding, state.
pub const ANSWER_SIZE: usize = 10;

/// Some blocks, as a driver names them. Nothing is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Guest address of the first.
    pub address: u64,
    /// How many.
    pub count: u16,
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The guest wants to use these.
    Plug(Block),
    /// The guest is done with these.
    Unplug(Block),
    /// The guest uses none.
    UnplugAll,
    /// The guest wants to know which of these are plugged.
    State(Block),
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done as asked.
    Done,
    /// Not now: the guest would have more than it is to have.
    Refused,
    /// Not now: to be asked again.
    Busy,
    /// There is no such request, or there are no such blocks.
    Error,
    /// All of the blocks are plugged.
    Plugged,
    /// None is.
    Unplugged,
    /// Some are.
    Mixed,
}

/// Reads a request; `None` if it is none.
pub fn parse(readable: &mut Buffers, memory: &Memory) -> Option<Request> {
    let bytes: [u8; REQUEST_SIZE] = readable.read_array(memory).ok()?;
    let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let address = u64::from_le_bytes(std::array::from_fn(|index| bytes[8 + index]));
    let block = Block { address, count: number(16) };
    match number(0) {
        0 => Some(Request::Plug(block)),
        1 => Some(Request::Unplug(block)),
        2 => Some(Request::UnplugAll),
        3 => Some(Request::State(block)),
        _ => None,
    }
}

impl Answer {
    /// As the driver reads it.
    pub fn bytes(self) -> [u8; ANSWER_SIZE] {
        let (kind, state) = match self {
            Self::Done | Self::Plugged => (0, 0),
            Self::Unplugged => (0, 1),
            Self::Mixed => (0, 2),
            Self::Refused => (1, 0),
            Self::Busy => (2, 0),
            Self::Error => (3, 0),
        };
        let mut bytes = [0; ANSWER_SIZE];
        (bytes[0], bytes[8]) = (kind, state);
        bytes
    }
}
