//! Which arguments a kernel is given on every host, before those of the user.

use crate::quirks::Quirks;

/// Whose kernel it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelKind {
    /// hull's own: its configuration is known.
    Hull,
    /// Anybody's.
    Foreign,
}

/// Arguments for a kernel on a host with `quirks`, to be put before the user's, so that the user's win.
pub fn kernel_arguments(kernel: KernelKind, quirks: &Quirks) -> Vec<&'static str> {
    // A reset by the i8042 ends the VM; a panic becomes one at once. There is no PIT whose interrupt could be checked.
    let mut arguments = vec!["reboot=k", "panic=-1", "no_timer_check"];
    if kernel == KernelKind::Hull {
        arguments.extend(["quiet", "tsc=reliable", "noreplace-smp", "8250.nr_uarts=0"]);
    }
    arguments.extend(quirks.kernel_arguments());
    arguments
}
