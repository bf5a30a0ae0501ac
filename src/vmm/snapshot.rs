//! A VM in a file: a page of header, the guest's memory as it lies in the guest, and everything else as JSON.
//!
//! The memory is sparse: pages of zeroes are holes. It is never read as a whole: a restored VM maps it privately, so
//! that VMs of one snapshot share what none of them has written.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::Context;
use hull_arch::cpu::{VcpuState, VmState};
use hull_arch::quirks::Quirks;
use hull_devices::device::Memory;
use hull_devices::legacy::SerialState;
use hull_devices::transport::mmio::MmioState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

use super::config::KernelKind;

const MAGIC: [u8; 8] = *b"HULLSNAP";
/// Of the format; another is refused.
const VERSION: u32 = 1;
const PAGE: usize = 4096;
/// Where the memory begins: the header has a page of its own, so that the memory can be mapped.
const MEMORY_OFFSET: u64 = PAGE as u64;
/// Memory is looked through in pieces of this many bytes.
const PIECE: usize = 1 << 20;
/// A state over this many bytes is none.
const MAX_STATE: u64 = 16 << 20;

/// Everything of a VM but its memory.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Bytes of memory.
    pub memory: u64,
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
}

/// Writes a snapshot of a VM that stands still.
///
/// # Errors
/// When the file cannot be written, most likely because its disk is full.
pub fn write(file: &File, memory: &Memory, state: &State) -> anyhow::Result<()> {
    let mut offset = MEMORY_OFFSET;
    for region in memory.iter() {
        write_memory(file, offset, memory, region.start_addr(), region.len())
            .context("the guest's memory")?;
        offset += region.len();
    }
    let state = serde_json::to_vec(state).context("the VM's state")?;
    file.write_all_at(&state, offset).context("the VM's state")?;
    let mut header = Vec::with_capacity(64);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(offset.to_le_bytes());
    header.extend((state.len() as u64).to_le_bytes());
    header.extend(Sha256::digest(&state));
    file.write_all_at(&header, 0).context("the header")
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

/// Reads the state of a snapshot.
///
/// # Errors
/// When the file is no snapshot, is damaged or cut short, or is of another format, CPU or size than this hull's.
pub fn read(file: &File) -> anyhow::Result<State> {
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
    let state: State = serde_json::from_slice(&text).context("the snapshot's state is not understood")?;
    anyhow::ensure!(
        offset.checked_sub(MEMORY_OFFSET) == Some(state.memory),
        "the snapshot's memory is not where it should be: it is damaged"
    );
    let here = cpu();
    anyhow::ensure!(
        fits(&state.cpu, &here, &Quirks::detect()),
        "the snapshot was taken on a CPU {}, this one is {here}; go on where it was taken, or take it again",
        state.cpu
    );
    Ok(state)
}

/// Whether a guest of one CPU may go on on another, as far as their names tell: those of one vendor's differ in features,
/// which are compared one by one when the VM is made. Where a guest sees the host's own CPUID they cannot be.
fn fits(saved: &str, here: &str, quirks: &Quirks) -> bool {
    let vendor = |cpu: &str| cpu.split(' ').next().map(str::to_owned);
    if quirks.native_cpuid() { saved == here } else { vendor(saved) == vendor(here) }
}

/// The memory of a snapshot, mapped privately.
///
/// # Errors
/// When it cannot be mapped.
pub fn map(file: File, regions: &[(GuestAddress, usize)]) -> anyhow::Result<Memory> {
    let file = Arc::new(file);
    let mut offset = MEMORY_OFFSET;
    let mut mapped = Vec::with_capacity(regions.len());
    for &(start, size) in regions {
        let region = MmapRegionBuilder::new(size)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_NORESERVE)
            .with_file_offset(FileOffset::from_arc(Arc::clone(&file), offset))
            .build()
            .context("cannot map the snapshot's memory")?;
        mapped.push(GuestRegionMmap::new(region, start).context("the snapshot's memory wraps around")?);
        offset += size as u64;
    }
    Memory::from_regions(mapped).context("the snapshot's memory overlaps")
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
