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
    /// It has left the guest for good.
    ended: bool,
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

    /// Keeps the vCPU's state and waits until it is to go on. `vcpu` must have completed its last exit.
    pub fn park(&self, index: u8, vcpu: &VcpuFd) {
        let index = usize::from(index);
        let state = self.format.save(vcpu).map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        let mut places = self.places();
        places[index].state = Some(state);
        self.changed.notify_all();
        // Not as long as they are wanted: they may be wanted again before this thread has seen that they were not.
        while places[index].state.is_some() {
            places = self.changed.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
        drop(places);
        // So that a guest with a kvm-clock does not take the time it stood still for a lockup; one without has no need.
        let _ = vcpu.kvmclock_ctrl();
    }

    /// The calling thread, this vCPU's, is about to end.
    pub fn leave(&self, index: u8) {
        self.places()[usize::from(index)] = Place { ended: true, ..Place::default() };
        self.changed.notify_all();
    }

    /// Brings all vCPUs in, until [`resume`](Self::resume), and returns their states.
    ///
    /// # Errors
    /// When KVM does not give a state away, or a vCPU has ended.
    pub fn stop(&self) -> Result<Vec<VcpuState>, String> {
        self.wanted.store(true, Ordering::Release);
        let mut places = self.places();
        while places.iter().any(|place| place.state.is_none()) {
            if let Some(index) = places.iter().position(|place| place.ended) {
                return Err(format!("vCPU {index} has ended"));
            }
            for thread in places.iter().filter(|place| place.state.is_none()).filter_map(|place| place.thread)
            {
                // A signal that comes just before the guest is entered is lost on it, so there is another.
                // SAFETY: a thread of this process that has not ended, or else its place would say so; the signal has a handler.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) };
            }
            let waited = self.changed.wait_timeout(places, AGAIN);
            places = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        places.iter().filter_map(|place| place.state.clone()).collect()
    }

    /// Lets all vCPUs go on.
    pub fn resume(&self) {
        let mut places = self.places();
        self.wanted.store(false, Ordering::Release);
        places.iter_mut().for_each(|place| place.state = None);
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
