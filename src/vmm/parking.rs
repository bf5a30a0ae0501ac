//! Stops all vCPUs where their state can be saved, and lets them go on.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hull_arch::cpu::{StateFormat, VcpuState};
use kvm_ioctls::VcpuFd;

/// How long a vCPU that was interrupted has to come out of the guest before it is interrupted again.
const AGAIN: Duration = Duration::from_millis(1);

/// Where the vCPUs of a VM wait while it stands still.
pub struct Parking {
    format: StateFormat,
    wanted: AtomicBool,
    places: Mutex<Vec<Place>>,
    changed: Condvar,
}

/// A vCPU's place.
#[derive(Default)]
struct Place {
    /// Its thread, once that runs.
    thread: Option<libc::pid_t>,
    /// Its state, while it waits.
    state: Option<Result<VcpuState, String>>,
}

impl Parking {
    /// Places for `vcpus`, whose state is saved as `format` says. To be made before a vCPU runs.
    ///
    /// # Errors
    /// When the signal that interrupts a vCPU cannot be taken.
    pub fn new(vcpus: u8, format: StateFormat) -> io::Result<Self> {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: a handler that does nothing is safe at any time; the structure is plain data, zeroed and then filled.
        let taken = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            libc::sigaction(signal(), &action, std::ptr::null_mut())
        };
        if taken != 0 {
            return Err(io::Error::last_os_error());
        }
        let places = Mutex::new((0..vcpus).map(|_| Place::default()).collect());
        Ok(Self { format, wanted: AtomicBool::new(false), places, changed: Condvar::new() })
    }

    /// The calling thread is this vCPU's.
    pub fn enter(&self, index: u8) {
        // SAFETY: no preconditions.
        self.places()[usize::from(index)].thread = Some(unsafe { libc::gettid() });
    }

    /// Whether vCPUs are to come in; to be asked before each entry into the guest.
    pub fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Waits, with the vCPU's state saved, until all may go on.
    pub fn park(&self, index: u8, vcpu: &mut VcpuFd) {
        // An exit that was answered is completed by the next entry, which ends before the guest's next instruction.
        vcpu.set_kvm_immediate_exit(1);
        let _ = vcpu.run();
        vcpu.set_kvm_immediate_exit(0);
        let state = self.format.save(vcpu).map_err(|error| describe(&error));
        let mut places = self.places();
        places[usize::from(index)].state = Some(state);
        self.changed.notify_all();
        while self.wanted() {
            places = self.changed.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
        places[usize::from(index)].state = None;
    }

    /// Brings all vCPUs in and returns their states. They wait until [`release`](Self::release).
    ///
    /// # Errors
    /// When KVM does not give a state away.
    pub fn stop(&self) -> Result<Vec<VcpuState>, String> {
        self.wanted.store(true, Ordering::Release);
        let mut places = self.places();
        while places.iter().any(|place| place.state.is_none()) {
            for thread in places.iter().filter(|place| place.state.is_none()).filter_map(|place| place.thread)
            {
                // A signal that comes just before the guest is entered is lost on it, so there is another.
                // SAFETY: a thread of this process, which does not end while the VM lives; the signal has a handler.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) };
            }
            let waited = self.changed.wait_timeout(places, AGAIN);
            places = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        places.iter().filter_map(|place| place.state.clone()).collect()
    }

    /// Lets the vCPUs go on.
    pub fn release(&self) {
        let _places = self.places();
        self.wanted.store(false, Ordering::Release);
        self.changed.notify_all();
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What interrupts a vCPU's thread; the one below it is the profile's.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

/// An error with its causes, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
