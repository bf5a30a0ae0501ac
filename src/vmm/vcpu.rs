//! A virtual CPU: its thread, and what happens when the guest leaves it.

use std::sync::Arc;
use std::{io, thread};

use hull_devices::bus::Bus;
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::control::ExitReason;
use super::events::Ending;
use super::parking::Parking;
use super::profile::Sampler;
use super::seccomp::{self, Thread};

/// Stack of a vCPU's thread, in bytes: it handles one exit at a time and recurses nowhere.
const STACK: usize = 128 << 10;

/// What the vCPUs of a VM share.
#[derive(Clone)]
pub struct Buses {
    /// Memory-mapped I/O.
    pub mmio: Arc<Bus>,
    /// Port I/O.
    pub pio: Arc<Bus>,
}

/// Starts a vCPU in a thread of its own, which is confined before it enters the guest.
///
/// # Errors
/// When no thread is to be had.
pub fn start(
    index: u8,
    vcpu: VcpuFd,
    buses: Buses,
    parking: Arc<Parking>,
    ending: Ending,
    sampler: Option<std::fs::File>,
) -> io::Result<()> {
    let run = move || {
        parking.enter(index);
        let result =
            sampler.map(Sampler::start).transpose().map_err(|error| error.to_string()).and_then(|sampler| {
                let filter = seccomp::filter(Thread::Vcpu).map_err(|error| error.to_string())?;
                seccomp::confine(&filter).map_err(|error| error.to_string())?;
                Ok(sampler)
            });
        let reason = match result {
            Ok(sampler) => run(index, vcpu, &buses, &parking, sampler),
            Err(error) => ExitReason::Failed { detail: format!("cannot start vCPU {index}: {error}") },
        };
        parking.leave(index);
        ending.set(reason);
    };
    thread::Builder::new().name(format!("vcpu{index}")).stack_size(STACK).spawn(run)?;
    Ok(())
}

/// Runs the guest until it cannot go on. A guest that resets itself or powers off is ended from the event loop.
fn run(
    index: u8,
    mut vcpu: VcpuFd,
    buses: &Buses,
    parking: &Parking,
    mut sampler: Option<Sampler>,
) -> ExitReason {
    loop {
        // An exit that was answered is completed by the next entry, which then ends before the guest's next instruction.
        let stopping = parking.wanted();
        vcpu.set_kvm_immediate_exit(stopping.into());
        let detail = match vcpu.run() {
            Ok(VcpuExit::MmioRead(address, data)) => {
                buses.mmio.read(address, data);
                continue;
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                buses.mmio.write(address, data);
                continue;
            }
            Ok(VcpuExit::IoIn(port, data)) => {
                buses.pio.read(port.into(), data);
                continue;
            }
            Ok(VcpuExit::IoOut(port, data)) => {
                buses.pio.write(port.into(), data);
                continue;
            }
            Ok(VcpuExit::Hlt) => continue,
            Ok(VcpuExit::Shutdown) => "triple fault".to_owned(),
            Ok(VcpuExit::InternalError) => internal_error(&mut vcpu),
            Ok(VcpuExit::FailEntry(reason, _)) => {
                format!("the CPU refused to enter the guest, reason {reason:#x}")
            }
            Ok(other) => format!("an exit that hull does not handle: {other:?}"),
            Err(error) if error.errno() == libc::EINTR && stopping => {
                parking.park(index, &vcpu);
                continue;
            }
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                if let Some(sampler) = &mut sampler {
                    sampler.sample(&vcpu);
                }
                continue;
            }
            Err(error) => format!("KVM_RUN: {error}"),
        };
        let rip = vcpu.get_regs().map(|registers| registers.rip).unwrap_or_default();
        return ExitReason::Crash { detail: format!("vCPU {index} at {rip:#x}: {detail}") };
    }
}

/// What KVM could not do; suberror 1 is an instruction its emulator does not know, with the bytes beside it.
fn internal_error(vcpu: &mut VcpuFd) -> String {
    const EMULATION: u32 = 1;
    let run = vcpu.get_kvm_run();
    // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, so `internal` is the field that KVM filled.
    let internal = unsafe { run.__bindgen_anon_1.internal };
    let count = (internal.ndata as usize).min(internal.data.len());
    let data: Vec<String> = internal.data[..count].iter().map(|word| format!("{word:#x}")).collect();
    match internal.suberror {
        EMULATION => format!("KVM cannot emulate an instruction [{}]", data.join(" ")),
        other => format!("KVM internal error {other} [{}]", data.join(" ")),
    }
}
