//! `hull run --timings`: when each stage was reached.

use crate::bench::boot::Report;
use crate::vm::control::Timings;

/// How timings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line a stage.
    Table,
    /// One line of JSON, as `hull bench` reads it.
    Json,
}

/// Prints each stage's time since the front end began, on standard error.
pub fn print(format: Format, begun_ns: u64, timings: &Timings) {
    if format == Format::Json {
        let report = Report { begun_ns, timings: *timings };
        eprintln!("{}", serde_json::to_string(&report).unwrap_or_default());
        return;
    }
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
