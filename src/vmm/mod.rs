//! Inside one VMM process: memory, vCPUs, exits, wiring.
//!
//! ```text
//!  config ──► descriptors ──► machine (memory, KVM, kernel, tables) ──► devices ──► vcpu threads
//!                                                                            └──► events: one loop, until the end
//! ```
//!
//! The process is started by a keeper, which gives it a configuration, a control socket and every file it uses as
//! descriptors, `/dev/kvm` too. It opens no path but the list of its own pages, `/proc/self/pagemap`, makes no process, and is
//! confined by seccomp before the guest's first instruction; where folders of the host are shared, by landlock and namespaces, too
//! ([`confinement`]).

mod backing;
pub mod channel;
pub mod config;
pub mod confinement;
pub mod control;
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
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

pub use backing::MAX_FILES;
use channel::Channel;
use config::{CONFIG_FD, CONTROL_FD, Fd, VmmConfig};
use control::{ExitReason, VmmMessage};
use descriptors::Descriptors;
use hull_arch::quirks::Quirks;

/// A configuration over this many bytes is refused.
const MAX_CONFIG: u64 = 1 << 20;

/// Runs the VM that the keeper describes on [`CONFIG_FD`], to its end.
///
/// The keeper is told how it ended by [`VmmMessage::Exit`]; the exit code says no more than whether it could be told.
pub fn run() -> ExitCode {
    let started_ns = monotonic_ns();
    let descriptors = Descriptors::new();
    let keeper = match descriptors.take(Fd(CONTROL_FD)) {
        Ok(socket) => Arc::new(Channel::from(socket)),
        Err(error) => {
            eprintln!("hull: this is a process that hull starts for a VM, not a command: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let reason = run_vm(started_ns, &descriptors, &keeper)
        .unwrap_or_else(|error| ExitReason::Failed { detail: format!("{error:#}") });
    match keeper.send(&VmmMessage::Exit(reason), None) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run_vm(started_ns: u64, descriptors: &Descriptors, keeper: &Arc<Channel>) -> anyhow::Result<ExitReason> {
    let config = read_config(descriptors)?;
    // A VMM that waits for its keeper is a guest that stands still.
    keeper.set_nonblocking(true).context("cannot prepare the control socket")?;
    // What is looked up on the host, now or never.
    let _ = Quirks::detect();
    let share = confinement::share(&config, descriptors).context("cannot share folders with the guest")?;
    machine::Machine::build(&config, descriptors, keeper, share)?.run(started_ns)
}

fn read_config(descriptors: &Descriptors) -> anyhow::Result<VmmConfig> {
    let file = File::from(descriptors.take(Fd(CONFIG_FD))?);
    let mut text = Vec::new();
    file.take(MAX_CONFIG + 1).read_to_end(&mut text).context("cannot read the VMM's configuration")?;
    anyhow::ensure!(text.len() as u64 <= MAX_CONFIG, "the VMM's configuration is over {MAX_CONFIG} bytes");
    serde_json::from_slice(&text).context("the VMM's configuration is not understood")
}

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
