//! Inside one VMM process: memory, vCPUs, exits, wiring.
//!
//! ```text
//!  size ──► board (memory, KVM, vCPUs) ─┐
//!  delivery ──► config, descriptors ─────┴─► machine (kernel and tables, or snapshot) ──► devices ──► vcpu threads
//!                                                                                             └──► events: one loop, until the end
//! ```
//!
//! The process is started by a keeper, with a control socket as its standard input, on which it is sent `/dev/kvm`, a configuration
//! and every file it uses, as descriptors. It opens no path but the list of its own pages, `/proc/self/pagemap`, makes no process, and is
//! confined by seccomp before the guest's first instruction; where folders of the host are shared, by landlock and namespaces, too
//! ([`confinement`]).

mod backing;
mod board;
pub mod channel;
pub mod config;
pub mod confinement;
pub mod control;
pub mod delivery;
mod descriptors;
mod devices;
mod events;
mod fault_handler;
mod freezer;
mod generation;
mod growth;
mod machine;
pub mod namespaces;
pub mod page_map;
mod parking;
mod profile;
mod seccomp;
pub mod snapshot;
mod vcpu;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

pub use backing::MAX_FILES;
use board::Board;
use channel::Channel;
use config::{VmSize, VmmConfig};
use control::{ExitReason, VmmMessage};
use descriptors::Descriptors;
use hull_arch::quirks::Quirks;

/// A configuration over this many bytes is refused.
const MAX_CONFIG: u64 = 1 << 20;

/// Runs a VM of this size, which the keeper describes on standard input, to its end.
///
/// The keeper is told how it ended by [`VmmMessage::Exit`]; the exit code says no more than whether it could be told.
pub fn run(size: VmSize) -> ExitCode {
    let started_ns = monotonic_ns();
    // Threads that allocate next to nothing need no heap each, which takes addresses, pages and time.
    // SAFETY: sets a number, before there are other threads.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    let (keeper, kvm) = match begin() {
        Ok((keeper, kvm)) => (Arc::new(keeper), kvm),
        Err(error) => {
            eprintln!("hull: this is a process that hull starts for a VM, not a command: {error}");
            return ExitCode::FAILURE;
        }
    };
    let reason = run_vm(started_ns, size, kvm, &keeper)
        .unwrap_or_else(|error| ExitReason::Failed { detail: format!("{error:#}") });
    match keeper.send(&VmmMessage::Exit(reason), None) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The control socket, and what came by it first: `/dev/kvm`.
fn begin() -> io::Result<(Channel, OwnedFd)> {
    let keeper = io::stdin().as_fd().try_clone_to_owned()?;
    let kvm = delivery::receive(&keeper)?.pop().ok_or(io::ErrorKind::InvalidData)?;
    Ok((Channel::from(keeper), kvm))
}

fn run_vm(started_ns: u64, size: VmSize, kvm: OwnedFd, keeper: &Arc<Channel>) -> anyhow::Result<ExitReason> {
    let quirks = Quirks::detect();
    let board = Board::new(kvm, size, &quirks)?;
    let (config, descriptors) = receive_config(keeper)?;
    // A VMM that waits for its keeper is a guest that stands still.
    keeper.set_nonblocking(true).context("cannot prepare the control socket")?;
    let share = confinement::share(&config, &descriptors).context("cannot share folders with the guest")?;
    machine::Machine::build(board, &quirks, &config, &descriptors, keeper, share)?.run(started_ns)
}

fn receive_config(keeper: &Channel) -> anyhow::Result<(VmmConfig, Descriptors)> {
    let mut handed = delivery::receive(keeper).context("cannot receive the VMM's configuration")?.into_iter();
    let file = handed.next().context("there is no configuration")?;
    let mut text = Vec::new();
    let read = File::from(file).take(MAX_CONFIG + 1).read_to_end(&mut text);
    read.context("cannot read the VMM's configuration")?;
    anyhow::ensure!(text.len() as u64 <= MAX_CONFIG, "the VMM's configuration is over {MAX_CONFIG} bytes");
    let config = serde_json::from_slice(&text).context("the VMM's configuration is not understood")?;
    Ok((config, Descriptors::new(handed)))
}

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
