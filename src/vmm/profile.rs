//! Samples of a vCPU's instruction pointer, for `hull bench boot --profile`.
//!
//! A timer interrupts the vCPU's thread every two milliseconds, so `KVM_RUN` returns, and the thread writes where the
//! guest was. Nothing else knows of it.

use std::fs::File;
use std::io::{self, Write};

use kvm_ioctls::VcpuFd;

use super::monotonic_ns;

/// Time between two samples, in nanoseconds.
const INTERVAL_NS: i64 = 2_000_000;

/// Writes samples of the vCPU whose thread made it.
pub struct Sampler {
    output: File,
}

impl Sampler {
    /// Starts to interrupt the calling thread. To be called before it is confined.
    ///
    /// # Errors
    /// When there is no timer to be had.
    pub fn start(output: File) -> io::Result<Self> {
        let signal = libc::SIGRTMIN();
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: a handler that does nothing is safe at any time; all structures are plain data, zeroed and then
        // filled; the timer lives as long as the process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            if libc::sigaction(signal, &action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer = std::mem::zeroed();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) != 0 {
                return Err(io::Error::last_os_error());
            }
            let interval = libc::timespec { tv_sec: 0, tv_nsec: INTERVAL_NS };
            let times = libc::itimerspec { it_interval: interval, it_value: interval };
            if libc::timer_settime(timer, 0, &times, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self { output })
    }

    /// Writes a sample: time and instruction pointer.
    pub fn sample(&mut self, vcpu: &VcpuFd) {
        let Ok(registers) = vcpu.get_regs() else { return };
        let mut sample = [0; 16];
        sample[..8].copy_from_slice(&monotonic_ns().to_le_bytes());
        sample[8..].copy_from_slice(&registers.rip.to_le_bytes());
        // Who reads them may have gone; the guest goes on.
        let _ = self.output.write_all(&sample);
    }
}
