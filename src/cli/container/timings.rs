//! `hull run --timings`: when each stage was reached.

use crate::vm::control::Timings;

/// Prints each stage's time since the front end began, on standard error.
pub fn print(begun_ns: u64, timings: &Timings) {
    let stages = [
        ("keeper", timings.keeper_ns),
        ("VMM", timings.vmm_ns),
        ("first KVM_RUN", timings.first_run_ns),
        ("agent's hello", timings.hello_ns),
        ("process started", timings.started_ns),
        ("process exited", timings.exited_ns),
        ("VM gone", timings.gone_ns),
    ];
    eprintln!("{:<22}{:>12}", "stage", "since start");
    for (name, at) in stages.into_iter().filter(|(_, at)| *at > 0) {
        eprintln!("{name:<22}{:>9.1} ms", at.saturating_sub(begun_ns) as f64 / 1e6);
    }
    for (name, at) in [
        ("agent, guest's clock", timings.guest_first_instruction_ns),
        ("ready, guest's clock", timings.guest_ready_ns),
    ] {
        if at > 0 {
            eprintln!("{name:<22}{:>9.1} ms", at as f64 / 1e6);
        }
    }
}
