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

/// Anonymous memory is given to processes 64 KiB at a time: a page fault is what costs a guest most, above all where KVM has no help from
/// the CPU, and to fill 16 MiB takes a fifth of the time. 2 MiB at a time would be paid for in density, so only who asks has that.
const LARGE_PAGES: &str = "thp_anon=64K:always;2M:madvise";

/// Arguments for a kernel that is told of its hardware by `tables`. To be put before the user's, which then win.
pub fn kernel_arguments(kernel: KernelKind, tables: TablesKind) -> Vec<&'static str> {
    let mut arguments = Vec::new();
    if kernel == KernelKind::Foreign || tables == TablesKind::Acpi {
        // A reset by the i8042 ends the VM.
        arguments.push("reboot=k");
    }
    if tables == TablesKind::Mp {
        // Or the kernel searches 128 KiB for a root pointer.
        arguments.push("acpi=off");
    }
    match kernel {
        // The TSC is the host's: watching it is for nothing. No serial ports are probed for, and messages that nobody
        // would be shown are not composed while the kernel boots (patch 0011). The rest is how it was built.
        KernelKind::Hull => {
            arguments.extend(["quiet=5", "tsc=reliable", "8250.nr_uarts=0", LARGE_PAGES]);
            if tables == TablesKind::Mp {
                arguments.push("pci=off");
            }
        }
        // A panic is to end the VM at once. There is no PIT whose interrupt could be checked.
        KernelKind::Foreign => arguments.extend(["panic=-1", "no_timer_check"]),
    }
    arguments
}

#[cfg(test)]
#[path = "arguments_test.rs"]
mod tests;
