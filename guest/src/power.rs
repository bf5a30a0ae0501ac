//! The end of a guest. It is the host that ends a VM; a guest that has to end itself resets, which the host sees.

use rustix::{fs, system, system::RebootCommand, thread, time::Timespec};

/// Resets the machine.
pub fn reset() -> ! {
    loop {
        let _ = system::reboot(RebootCommand::Restart);
        // Where PID 1 may not, or the reset takes its time.
        let _ = thread::nanosleep(&Timespec { tv_sec: 1, tv_nsec: 0 });
    }
}

/// Writes everything to the data disk, then resets.
pub fn sync_and_reset() -> ! {
    fs::sync();
    reset()
}
