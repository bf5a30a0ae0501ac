//! A VM in a file: a page of header, the guest's memory as it lies in the guest, and everything else as JSON.
//!
//! The memory is sparse: pages of zeroes are holes. It is never read as a whole: a restored VM maps it privately, so
//! that VMs of one snapshot share what none of them has written (see [`super::backing`]).
//!
//! A snapshot may have only what differs from another. Then its state names that one, and says which stretches of the memory
//! are here; the rest are holes, too.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use hull_arch::cpu::{VcpuState, VmState};
use hull_arch::quirks::Quirks;
use hull_devices::device::Memory;
use hull_devices::legacy::SerialState;
use hull_devices::transport::mmio::MmioState;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::config::KernelKind;

const MAGIC: [u8; 8] = *b"HULLSNAP";
/// Of the format; another is refused.
const VERSION: u32 = 2;
pub(super) const PAGE: usize = 4096;
/// Where the memory begins: the header has a page of its own, so that the memory can be mapped.
pub(super) const MEMORY_OFFSET: u64 = PAGE as u64;
/// Memory is looked through in pieces of this many bytes.
const PIECE: usize = 1 << 20;
/// A state over this many bytes is none.
const MAX_STATE: u64 = 16 << 20;

/// What a snapshot has that has only what differs from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The other: the checksum of its state, in hexadecimal digits.
    pub from: String,
    /// The stretches of memory that are here, in order, in bytes of the memory as it lies in the file.
    pub stretches: Vec<Range<u64>>,
}

/// Everything of a VM but its memory.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Bytes of memory in the file.
    pub memory: u64,
    /// How many of them, the last, are of memory that the VM got while it ran.
    #[serde(default)]
    pub grown: u64,
    /// Bytes of the addresses that were kept for such memory.
    #[serde(default)]
    pub growth: u64,
    /// Whose kernel runs, which decides what the VM is made of.
    pub kernel_kind: KernelKind,
    /// The CPU that it ran on.
    pub cpu: String,
    /// The vCPUs, in order.
    pub vcpus: Vec<VcpuState>,
    /// What they share.
    pub vm: VmState,
    /// The virtio devices, in order.
    pub devices: Vec<MmioState>,
    /// The serial port, if there is one.
    pub serial: Option<SerialState>,
    /// What the file has of the memory, if not all of it.
    pub difference: Option<Difference>,
}

/// Writes a snapshot of a VM that stands still; gives its [digest].
///
/// # Errors
/// When the file cannot be written, most likely because its disk is full.
pub fn write(file: &File, memory: &Memory, state: &State) -> anyhow::Result<[u8; 32]> {
    let whole = 0..state.memory;
    let stretches = match &state.difference {
        Some(difference) => difference.stretches.as_slice(),
        None => std::slice::from_ref(&whole),
    };
    for part in parts(memory, stretches) {
        write_memory(file, MEMORY_OFFSET + part.at, memory, part.address, part.length)
            .context("the guest's memory")?;
    }
    seal(file, state.memory, &serde_json::to_vec(state).context("the VM's state")?)
}

/// Writes a state behind so many bytes of memory, and a header that vouches for it; gives the [digest].
///
/// # Errors
/// When the file cannot be written.
pub fn seal(file: &File, memory: u64, state: &[u8]) -> anyhow::Result<[u8; 32]> {
    let offset = MEMORY_OFFSET + memory;
    file.write_all_at(state, offset).context("the VM's state")?;
    let mut header = Vec::with_capacity(64);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(offset.to_le_bytes());
    header.extend((state.len() as u64).to_le_bytes());
    let digest: [u8; 32] = Sha256::digest(state).into();
    header.extend(digest);
    file.write_all_at(&header, 0).context("the header")?;
    Ok(digest)
}

/// A part of the memory that lies in one piece, in the guest as in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it is in the memory as it lies in the file.
    pub at: u64,
    /// Where it is in the guest.
    pub address: GuestAddress,
    /// Bytes.
    pub length: u64,
}

/// What these stretches of the memory, as it lies in the file, are in the guest.
pub(super) fn parts(memory: &Memory, stretches: &[Range<u64>]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut offset = 0;
    for region in memory.iter() {
        let end = offset + region.len();
        parts.extend(stretches.iter().filter_map(|stretch| {
            let (at, end) = (stretch.start.max(offset), stretch.end.min(end));
            let length = end.checked_sub(at).filter(|length| *length > 0)?;
            Some(Part { at, address: GuestAddress(region.start_addr().0 + at - offset), length })
        }));
        offset = end;
    }
    parts
}

/// Writes the pages that are not zero.
fn write_memory(
    file: &File,
    offset: u64,
    memory: &Memory,
    start: GuestAddress,
    length: u64,
) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    while done < length {
        let count = (length - done).min(PIECE as u64) as usize;
        let piece = &mut piece[..count];
        memory.read_slice(piece, GuestAddress(start.0 + done))?;
        for run in runs(piece) {
            file.write_all_at(&piece[run.clone()], offset + done + run.start as u64)?;
        }
        done += count as u64;
    }
    Ok(())
}

/// The stretches of pages that are not all zero.
fn runs(piece: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, page) in piece.chunks(PAGE).enumerate() {
        let start = index * PAGE;
        if page.iter().all(|byte| *byte == 0) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == start => run.end += page.len(),
            _ => runs.push(start..start + page.len()),
        }
    }
    runs
}

/// The checksum of the state of a snapshot, as its header has it: what the snapshot is known by.
///
/// # Errors
/// When the file has no header.
pub fn digest(file: &File) -> anyhow::Result<[u8; 32]> {
    let mut digest = [0; 32];
    file.read_exact_at(&mut digest, 28).context("the snapshot has no header: it is cut short")?;
    Ok(digest)
}

/// What the memory of a snapshot is, without the rest of its state, which takes longer to read.
#[derive(Debug, Deserialize)]
pub(super) struct Layer {
    /// Bytes of memory.
    memory: u64,
    /// What the file has of it, if not all.
    pub difference: Option<Difference>,
}

/// Reads what the memory of a snapshot is that another differs from, as that one says.
///
/// # Errors
/// As [`read`]; when it is not the snapshot that the other differs from.
pub(super) fn read_layer(file: &File, from: &str, memory: u64) -> anyhow::Result<Layer> {
    let layer: Layer = read_as(file)?;
    anyhow::ensure!(
        hex::encode(digest(file)?) == from && layer.memory == memory,
        "it is another now; go on from a snapshot that is whole"
    );
    check_memory(file, layer.memory, layer.difference.as_ref())?;
    Ok(layer)
}

/// Reads the state of a snapshot.
///
/// # Errors
/// When the file is no snapshot, is damaged or cut short, or is of another format, CPU or size than this hull's.
pub fn read(file: &File) -> anyhow::Result<State> {
    let state: State = read_as(file)?;
    check_memory(file, state.memory, state.difference.as_ref())?;
    let here = cpu();
    anyhow::ensure!(
        fits(&state.cpu, &here, &Quirks::detect()),
        "the snapshot was taken on a CPU {}, this one is {here}; go on where it was taken, or take it again",
        state.cpu
    );
    Ok(state)
}

/// Reads the state, or a part of it, if the header vouches for it.
fn read_as<T: DeserializeOwned>(file: &File) -> anyhow::Result<T> {
    let mut header = [0; 60];
    file.read_exact_at(&mut header, 0).context("the snapshot has no header: it is cut short")?;
    let (magic, rest) = header.split_at(8);
    anyhow::ensure!(magic == MAGIC, "the file is not a snapshot of a VM");
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| rest[at + index]));
    let version = u32::from_le_bytes(std::array::from_fn(|index| rest[index]));
    anyhow::ensure!(
        version == VERSION,
        "the snapshot is of format {version}, this hull knows {VERSION}; take it again"
    );
    let (offset, length) = (number(4), number(12));
    anyhow::ensure!(length <= MAX_STATE, "the snapshot's state is over {MAX_STATE} bytes: it is damaged");
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, offset).context("the snapshot is cut short")?;
    anyhow::ensure!(Sha256::digest(&text)[..] == rest[20..52], "the snapshot is damaged; take it again");
    serde_json::from_slice(&text).context("the snapshot's state is not understood")
}

/// Whether the memory is where it should be in the file, and a difference within it.
fn check_memory(file: &File, memory: u64, difference: Option<&Difference>) -> anyhow::Result<()> {
    let mut offset = [0; 8];
    file.read_exact_at(&mut offset, 12).context("the snapshot has no header: it is cut short")?;
    anyhow::ensure!(
        u64::from_le_bytes(offset).checked_sub(MEMORY_OFFSET) == Some(memory),
        "the snapshot's memory is not where it should be: it is damaged"
    );
    let whole = |at: u64| at <= memory && at.is_multiple_of(PAGE as u64);
    let right =
        |stretch: &Range<u64>| stretch.start < stretch.end && whole(stretch.start) && whole(stretch.end);
    anyhow::ensure!(
        difference.is_none_or(|difference| difference.stretches.iter().all(right)),
        "the snapshot has memory that its VM has not: it is damaged"
    );
    Ok(())
}

/// Whether a guest of one CPU may go on on another, as far as their names tell: those of one vendor's differ in features,
/// which are compared one by one when the VM is made. Where a guest sees the host's own CPUID they cannot be.
fn fits(saved: &str, here: &str, quirks: &Quirks) -> bool {
    let vendor = |cpu: &str| cpu.split(' ').next().map(str::to_owned);
    if quirks.native_cpuid() { saved == here } else { vendor(saved) == vendor(here) }
}

/// The CPU's vendor, family, model and stepping.
pub fn cpu() -> String {
    let vendor = core::arch::x86_64::__cpuid(0);
    let vendor: Vec<u8> =
        [vendor.ebx, vendor.edx, vendor.ecx].iter().flat_map(|part| part.to_le_bytes()).collect();
    let signature = core::arch::x86_64::__cpuid(1).eax;
    format!("{} {signature:#x}", String::from_utf8_lossy(&vendor))
}

#[cfg(test)]
#[path = "snapshot_test.rs"]
mod tests;
