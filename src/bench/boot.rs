//! `hull bench boot`: the stages of a cold start, measured through the program itself.
//!
//! Each round runs `hull run --rm --timings=json IMAGE COMMAND` as a person would, and takes the marks that front end,
//! keeper, VMM and agent left. All are of `CLOCK_MONOTONIC`, which processes share; the agent's first instruction is
//! placed by the guest's own clock, counted back from its hello.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::profile::{self, Sample, SymbolMap};
use super::statistics::Summary;
use crate::container::PROFILE_VARIABLE;
use crate::vm::control::Timings;
use crate::vmm::monotonic_ns;

/// What `hull run --timings=json` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When the front end began.
    pub begun_ns: u64,
    /// What the keeper noted.
    #[serde(flatten)]
    pub timings: Timings,
}

/// What is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often.
    pub rounds: usize,
    /// The image.
    pub image: String,
    /// What runs in it.
    pub command: Vec<String>,
    /// Arguments for `hull run`, such as `-m`.
    pub options: Vec<String>,
}

/// A stage: what it is called, and where it begins and ends.
struct Stage {
    name: &'static str,
    span: fn(&Round) -> (u64, u64),
}

/// The marks of one round, in order.
struct Round {
    spawned_ns: u64,
    report: Report,
    first_instruction_ns: u64,
    ended_ns: u64,
}

impl Round {
    fn new(spawned_ns: u64, report: Report, ended_ns: u64) -> Self {
        let timings = report.timings;
        let in_agent = timings.guest_ready_ns.saturating_sub(timings.guest_first_instruction_ns);
        Self { spawned_ns, report, first_instruction_ns: timings.hello_ns.saturating_sub(in_agent), ended_ns }
    }
}

/// The vCPU's first instruction is the kernel's: a kernel with a PVH entry has nothing before it.
const STAGES: &[Stage] = &[
    Stage { name: "process start → keeper", span: |r| (r.spawned_ns, r.report.timings.keeper_ns) },
    Stage { name: "keeper → VMM start", span: |r| (r.report.timings.keeper_ns, r.report.timings.vmm_ns) },
    Stage {
        name: "VMM start → first KVM_RUN",
        span: |r| (r.report.timings.vmm_ns, r.report.timings.first_run_ns),
    },
    Stage {
        name: "kernel entry → agent's first instruction",
        span: |r| (r.report.timings.first_run_ns, r.first_instruction_ns),
    },
    Stage {
        name: "agent's first instruction → ready",
        span: |r| (r.first_instruction_ns, r.report.timings.hello_ns),
    },
    Stage {
        name: "agent ready → process exec'd",
        span: |r| (r.report.timings.hello_ns, r.report.timings.started_ns),
    },
    Stage {
        name: "process exec'd → exit seen",
        span: |r| (r.report.timings.started_ns, r.report.timings.exited_ns),
    },
    Stage { name: "exit seen → VM gone", span: |r| (r.report.timings.exited_ns, r.report.timings.gone_ns) },
    Stage { name: "VM gone → hull's end", span: |r| (r.report.timings.gone_ns, r.ended_ns) },
    Stage {
        name: "= process start → first KVM_RUN",
        span: |r| (r.spawned_ns, r.report.timings.first_run_ns),
    },
    Stage { name: "= process start → agent ready", span: |r| (r.spawned_ns, r.report.timings.hello_ns) },
    Stage { name: "= end to end", span: |r| (r.spawned_ns, r.ended_ns) },
];

/// A stage with its times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageTimes {
    /// What it is; one that begins with `=` is a sum of others.
    pub stage: &'static str,
    /// Milliseconds.
    #[serde(flatten)]
    pub milliseconds: Summary,
}

/// Where a stage's time went in the guest's kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageProfile {
    /// The stage.
    pub stage: &'static str,
    /// Samples in it.
    pub samples: usize,
    /// Function and samples, the hottest first.
    pub functions: Vec<(String, usize)>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Each stage.
    pub stages: Vec<StageTimes>,
    /// Where the guest was, if that was asked for.
    pub profile: Vec<StageProfile>,
}

/// Runs the plan; `progress` is told of each round. With `symbols` the guest is sampled, which slows it a little.
///
/// # Errors
/// When a round fails; what hull said is in the error.
pub fn measure(
    plan: &Plan,
    symbols: Option<&SymbolMap>,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<Outcome> {
    anyhow::ensure!(plan.rounds > 0, "at least one round is needed");
    let mut rounds = Vec::new();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); STAGES.len()];
    for number in 0..plan.rounds {
        progress(number);
        let output =
            symbols.map(|_| tempfile::NamedTempFile::new()).transpose().context("cannot make a file")?;
        let round = run_once(plan, output.as_ref().map(|file| file.path()))?;
        if let Some(output) = output {
            let bytes = std::fs::read(output.path()).context("cannot read the samples")?;
            for sample in profile::samples(&bytes) {
                for (stage, into) in STAGES.iter().zip(&mut samples) {
                    let (begin, end) = (stage.span)(&round);
                    if (begin..end).contains(&sample.time_ns) && !stage.name.starts_with('=') {
                        into.push(sample);
                    }
                }
            }
        }
        rounds.push(round);
    }
    let stages = STAGES.iter().filter_map(|stage| {
        let times = rounds.iter().map(|round| {
            let (begin, end) = (stage.span)(round);
            end.saturating_sub(begin) as f64 / 1e6
        });
        Some(StageTimes { stage: stage.name, milliseconds: Summary::of(times)? })
    });
    let profile = symbols.map(|symbols| {
        let of_stage = |(stage, samples): (&Stage, Vec<Sample>)| StageProfile {
            stage: stage.name,
            samples: samples.len(),
            functions: profile::hottest(symbols, samples)
                .into_iter()
                .map(|(function, count)| (function.to_owned(), count))
                .collect(),
        };
        STAGES.iter().zip(samples).map(of_stage).filter(|profile| profile.samples > 0).collect()
    });
    Ok(Outcome { stages: stages.collect(), profile: profile.unwrap_or_default() })
}

fn run_once(plan: &Plan, samples: Option<&Path>) -> anyhow::Result<Round> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["run", "--rm", "--no-template", "--timings=json"])
        .args(&plan.options)
        .arg(&plan.image)
        .args(&plan.command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(samples) = samples {
        command.env(PROFILE_VARIABLE, samples);
    }
    let spawned_ns = monotonic_ns();
    let output =
        command.spawn().and_then(std::process::Child::wait_with_output).context("cannot run hull")?;
    let ended_ns = monotonic_ns();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Report = said
        .lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
        .with_context(|| format!("hull run {} {} failed: {said}", plan.image, plan.command.join(" ")))?;
    Ok(Round::new(spawned_ns, report, ended_ns))
}
