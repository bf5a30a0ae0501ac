//! virtio memory device: memory that a VM gets, and gives back, while it runs (VIRTIO 1.3, section 5.15).
//!
//! The device has a region of guest addresses, cut into blocks. The VMM says how much memory the guest is to have of it; the
//! driver then asks for blocks to be plugged or unplugged until it has that much, and decides itself which.
//!
//! ```text
//! 0         plugged_size   requested_size      usable_region_size        region_size
//! ├── blocks anywhere in the usable region ──────────┤                        │
//! ```

mod blocks;
pub mod request;

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

use self::blocks::Blocks;
use self::request::{Answer, Block, Request};
use crate::backing::Backing;
use crate::device::{
    ActivateError, Activation, Device, DeviceKind, DeviceState, Interrupt, Memory, RestoreError,
    read_config_bytes,
};
use crate::event_loop::Polled;
use crate::notifiers::Notifiers;
use crate::poll_set::PollSet;
use crate::queue::{Chain, Progress, Served, VirtQueue};

/// A driver asks for one thing at a time.
const QUEUE_SIZES: [u16; 1] = [8];
/// Requests handled before other devices have their turn.
const BUDGET: u16 = 8;
/// Bytes of a block: what the host can give and take without loss is a large page.
pub const BLOCK_SIZE: u64 = 2 << 20;
/// VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE (5.15.3): the driver does not touch what is not plugged, not even to read it.
const F_UNPLUGGED_INACCESSIBLE: u32 = 1;

/// Memory that comes and goes.
pub struct Mem {
    region: Region,
    blocks: Blocks,
    backing: Box<dyn Backing>,
    generation: u32,
    /// The driver has not been told of the last change.
    unannounced: bool,
    notifiers: Notifiers,
    poll: PollSet,
    running: Option<(VirtQueue, Arc<dyn Interrupt>)>,
}

/// The region, and how much of it is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Region {
    /// Where it begins.
    address: u64,
    /// Bytes.
    size: u64,
    /// Bytes at its beginning that blocks can be plugged in.
    usable: u64,
    /// Bytes that the guest is to have.
    requested: u64,
}

/// State of a memory device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemState {
    #[serde(flatten)]
    region: Region,
    /// A bit a block, lowest first.
    plugged: Vec<u64>,
}

impl Mem {
    /// A device for the region of `size` bytes at `address`, both multiples of [`BLOCK_SIZE`], of which nothing is plugged.
    ///
    /// # Errors
    /// When the region is not one of whole blocks, or there is no eventfd or epoll instance to be had.
    pub fn new(address: GuestAddress, size: u64, backing: Box<dyn Backing>) -> io::Result<Self> {
        let whole = address.0.is_multiple_of(BLOCK_SIZE) && size.is_multiple_of(BLOCK_SIZE);
        if !whole || address.0.checked_add(size).is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the region is not one of whole blocks"));
        }
        let (notifiers, poll) = (Notifiers::new(QUEUE_SIZES.len())?, PollSet::new()?);
        notifiers.watch(&poll)?;
        Ok(Self {
            region: Region { address: address.0, size, usable: 0, requested: 0 },
            blocks: Blocks::new(size / BLOCK_SIZE),
            backing,
            generation: 0,
            unannounced: false,
            notifiers,
            poll,
            running: None,
        })
    }

    /// Has the guest have `requested` bytes, rounded down to blocks, within the first `usable` bytes of the region. What is usable
    /// never becomes less.
    pub fn request(&mut self, requested: u64, usable: u64) {
        let whole = |bytes: u64| bytes - bytes % BLOCK_SIZE;
        let usable = whole(usable).min(self.region.size).max(self.region.usable);
        let region = Region { usable, requested: whole(requested).min(usable), ..self.region };
        if region == self.region {
            return;
        }
        self.region = region;
        self.generation = self.generation.wrapping_add(1);
        match &self.running {
            Some((_, interrupt)) => interrupt.config(),
            None => self.unannounced = true,
        }
    }

    /// Bytes that the guest has of the region.
    pub fn plugged(&self) -> u64 {
        self.blocks.plugged() * BLOCK_SIZE
    }

    /// Bytes at the region's beginning that blocks can be plugged in.
    pub fn usable(&self) -> u64 {
        self.region.usable
    }

    fn config(&self) -> [u8; 56] {
        let Region { address, size, usable, requested } = self.region;
        let mut bytes = [0; 56];
        // After the block's size a node, which is not offered, and padding.
        let fields = [BLOCK_SIZE, 0, address, size, usable, self.plugged(), requested];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }
}

impl Device for Mem {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Mem
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn notifiers(&self) -> &[Arc<EventFd>] {
        self.notifiers.all()
    }

    fn features(&self) -> u64 {
        1 << F_UNPLUGGED_INACCESSIBLE
    }

    /// `struct virtio_mem_config` (5.15.4).
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&self.config(), offset, data);
    }

    fn config_generation(&self) -> u32 {
        self.generation
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let queue = activation.queue(0)?;
        if std::mem::take(&mut self.unannounced) {
            activation.interrupt.config();
        }
        self.running = Some((queue, activation.interrupt));
        self.notifiers.kick_all();
        Ok(())
    }

    fn pause(&mut self) -> Vec<VirtQueue> {
        self.running.take().map(|(queue, _)| queue).into_iter().collect()
    }

    /// What is plugged stays so (5.15.6.2): the guest may be using it.
    fn reset(&mut self) {
        self.running = None;
    }

    fn save(&self) -> DeviceState {
        DeviceState::Mem(MemState { region: self.region, plugged: self.blocks.words().to_vec() })
    }

    fn restore(&mut self, state: DeviceState) -> Result<(), RestoreError> {
        let DeviceState::Mem(MemState { region, plugged }) = state else {
            return Err(RestoreError::Kind { expected: self.kind(), found: state.kind() });
        };
        let mismatch = |what: &str| RestoreError::Mismatch { kind: DeviceKind::Mem, what: what.to_owned() };
        if (region.address, region.size) != (self.region.address, self.region.size) {
            return Err(mismatch("another region"));
        }
        let whole = region.usable.is_multiple_of(BLOCK_SIZE) && region.requested.is_multiple_of(BLOCK_SIZE);
        if !whole || region.usable > region.size || region.requested > region.usable {
            return Err(mismatch("sizes that do not fit each other"));
        }
        let blocks = Blocks::from_words(region.size / BLOCK_SIZE, plugged);
        let blocks = blocks.filter(|blocks| blocks.end() <= region.usable / BLOCK_SIZE);
        self.blocks = blocks.ok_or_else(|| mismatch("blocks outside of its region"))?;
        self.region = region;
        Ok(())
    }
}

impl Polled for Mem {
    fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    fn poll(&mut self) {
        self.notifiers.clear(0);
        let Some((queue, _)) = &mut self.running else { return };
        let (region, blocks, backing) = (&self.region, &mut self.blocks, &mut self.backing);
        let progress =
            queue.serve(BUDGET, |chain, memory| serve(chain, memory, region, blocks, &mut **backing));
        if progress == Progress::More {
            self.notifiers.kick(0);
        }
    }
}

/// Answers one request.
fn serve(
    chain: &mut Chain,
    memory: &Memory,
    region: &Region,
    blocks: &mut Blocks,
    backing: &mut dyn Backing,
) -> Served {
    let answer = match request::parse(&mut chain.readable, memory) {
        Some(request) => region.obey(request, blocks, backing),
        None => Answer::Error,
    };
    let written = chain.writable.write_all(memory, &answer.bytes()).map_or(0, |()| request::ANSWER_SIZE);
    Served::Used(written as u32)
}

impl Region {
    fn obey(&self, request: Request, blocks: &mut Blocks, backing: &mut dyn Backing) -> Answer {
        let range = |block: Block| self.blocks_at(block);
        match request {
            Request::Plug(block) => match range(block) {
                Some(range) if blocks.all(&range, false) => {
                    let size = (blocks.plugged() + range.end - range.start) * BLOCK_SIZE;
                    if size > self.requested {
                        return Answer::Refused;
                    }
                    blocks.set(range, true);
                    Answer::Done
                }
                _ => Answer::Error,
            },
            Request::Unplug(block) => match range(block) {
                Some(range) if blocks.all(&range, true) => {
                    if self.give_back(&range, backing).is_err() {
                        return Answer::Busy;
                    }
                    blocks.set(range, false);
                    Answer::Done
                }
                _ => Answer::Error,
            },
            Request::UnplugAll => {
                let all = 0..blocks.end();
                if !all.is_empty() && self.give_back(&all, backing).is_err() {
                    return Answer::Busy;
                }
                blocks.set(all, false);
                Answer::Done
            }
            Request::State(block) => match range(block) {
                Some(range) if blocks.all(&range, true) => Answer::Plugged,
                Some(range) if blocks.all(&range, false) => Answer::Unplugged,
                Some(_) => Answer::Mixed,
                None => Answer::Error,
            },
        }
    }

    fn give_back(&self, blocks: &Range<u64>, backing: &mut dyn Backing) -> io::Result<()> {
        let address = GuestAddress(self.address + blocks.start * BLOCK_SIZE);
        backing.give_back(address, (blocks.end - blocks.start) * BLOCK_SIZE)
    }

    /// The numbers of these blocks, if they are some and all in the usable region (5.15.6.2).
    fn blocks_at(&self, Block { address, count }: Block) -> Option<Range<u64>> {
        let offset = address.checked_sub(self.address)?;
        if count == 0 || !offset.is_multiple_of(BLOCK_SIZE) {
            return None;
        }
        let first = offset / BLOCK_SIZE;
        let end = first + u64::from(count);
        (end <= self.usable / BLOCK_SIZE).then_some(first..end)
    }
}

#[cfg(test)]
#[path = "mem_test.rs"]
mod tests;
