//! Which arguments a kernel is given on every host. Those of a particular host are in [`crate::quirks`], the VM's own
//! (root, console, init) follow from its devices.

use crate::tables::TablesKind;

/// Whose kernel it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelKind {
    /// hull's own: its configuration is known, and it says little.
    Hull,
    /// Anybody's.
    Foreign,
}

/// Arguments for a kernel that is told of its hardware by `tables`. To be put before the user's, which then win.
pub fn kernel_arguments(kernel: KernelKind, tables: TablesKind) -> Vec<&'static str> {
    // A reset by the i8042 ends the VM, and a panic is to end it at once. There is no PIT whose interrupt could be
    // checked.
    let mut arguments = vec!["reboot=k", "panic=-1", "no_timer_check"];
    if tables == TablesKind::Mp {
        // Or the kernel searches 128 KiB for a root pointer.
        arguments.push("acpi=off");
    }
    if kernel == KernelKind::Hull {
        // The TSC is the host's: watching it is for nothing. No serial ports are probed for, no dummy interface is
        // made, and lock prefixes stay when there is one CPU.
        arguments.extend(["quiet", "tsc=reliable", "8250.nr_uarts=0", "dummy.numdummies=0", "noreplace-smp"]);
        if tables == TablesKind::Mp {
            arguments.push("pci=off");
        }
    }
    arguments
}

#[cfg(test)]
#[path = "arguments_test.rs"]
mod tests;
