//! What N containers cost together: what each has for itself, and what the host has less for each that is there.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::Context;
use serde::Serialize;

use super::serving::{self, Served};
use crate::{
    container::{
        action,
        state::{Status, Store},
    },
    vm::{
        signals::Signals,
        usage::{Usage, available_memory},
    },
};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many containers; `None` is as many as fit.
    pub count: Option<usize>,
    /// Their image.
    pub image: String,
    /// What they run; it must not end by itself.
    pub command: Vec<String>,
    /// Further options of `hull run`.
    pub options: Vec<String>,
    /// Memory that is left to the host, in bytes.
    pub reserve: u64,
    /// How long the containers are left alone before they are measured.
    pub settle: Duration,
    /// How long they then serve requests, if they do.
    pub serve: Option<Duration>,
}

/// What so many containers cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// Containers that run.
    pub containers: usize,
    /// Bytes that nobody else has, of keeper and VMM, the mean.
    pub unshared_each: f64,
    /// The same with their part of what is shared.
    pub proportional_each: f64,
    /// All that is mapped and present, the mean.
    pub resident_each: f64,
    /// Bytes that the host has left.
    pub available: u64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// At some numbers of containers, the last being all.
    pub steps: Vec<Step>,
    /// Bytes that the host has less for each container, by least squares: what is in no process counts, too.
    pub slope: f64,
    /// How many would fit, by that.
    pub would_fit: u64,
    /// How they served.
    pub served: Option<Served>,
    /// What they cost after that.
    pub serving: Option<Step>,
}

/// Runs the plan; `progress` is told how many containers run. They are gone when this returns.
///
/// # Errors
/// When a container cannot be started, one does not answer, or Ctrl-C is pressed.
pub fn measure(plan: &Plan, mut progress: impl FnMut(usize)) -> anyhow::Result<Outcome> {
    let signals = Signals::take(&[libc::SIGINT, libc::SIGTERM]).context("cannot wait for signals")?;
    // The template is built before the first measurement.
    drop(Containers::default().start(plan)?);
    let mut containers = Containers::default();
    let mut steps = vec![containers.measure()?];
    let mut next = 1;
    loop {
        let running = containers.0.len();
        let full = available_memory()? <= plan.reserve;
        let done = full || plan.count.is_some_and(|count| running >= count);
        if running >= next || done {
            thread::sleep(plan.settle);
            steps.push(containers.measure()?);
            next = (next * 2).max(running + 1);
        }
        if done {
            break;
        }
        anyhow::ensure!(signals.next().is_none(), "interrupted");
        containers = containers.start(plan)?;
        progress(containers.0.len());
    }
    let served = plan.serve.map(|duration| serving::measure(&containers.0, duration)).transpose()?;
    let serving = plan.serve.map(|_| containers.measure()).transpose()?;
    let slope = -slope(steps.iter().map(|step| (step.containers as f64, step.available as f64)));
    let free = steps[0].available.saturating_sub(plan.reserve) as f64;
    let would_fit = if slope > 0.0 { (free / slope) as u64 } else { 0 };
    Ok(Outcome { steps, slope, would_fit, served, serving })
}

/// Ids of containers that run; dropped, they are killed.
#[derive(Debug, Default)]
struct Containers(Vec<String>);

impl Containers {
    fn start(mut self, plan: &Plan) -> anyhow::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.args(["run", "--rm", "--detach"]).args(&plan.options).arg(&plan.image).args(&plan.command);
        // Ctrl-C is for this process, which knows what to kill then.
        command.process_group(0);
        let output =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).output().context("cannot run hull")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "container {} does not start: {}",
            self.0.len() + 1,
            said.trim()
        );
        self.0.push(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Ok(self)
    }

    fn measure(&self) -> anyhow::Result<Step> {
        let available = available_memory()?;
        let (mut unshared, mut proportional, mut resident) = (0, 0, 0);
        let store = Store::open()?;
        for id in &self.0 {
            let state = store.find(id)?.state()?;
            anyhow::ensure!(state.status == Status::Running, "container {id} has ended");
            let memory = Usage::of_keeper(state.keeper_pid).context("cannot measure a keeper")?.memory;
            unshared += memory.unshared;
            proportional += memory.proportional;
            resident += memory.resident;
        }
        let each = |sum: u64| sum as f64 / self.0.len().max(1) as f64;
        Ok(Step {
            containers: self.0.len(),
            unshared_each: each(unshared),
            proportional_each: each(proportional),
            resident_each: each(resident),
            available,
        })
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let Ok(store) = Store::open() else { return };
        for id in self.0.drain(..) {
            let _ = action::remove(&store, &id, true, true);
        }
    }
}

/// The slope of the line through these points with the least squares.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let mean = |value: fn((f64, f64)) -> f64| points.clone().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.clone().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.clone().map(|point| (point.0 - x).powi(2)).sum();
    if variance == 0.0 { 0.0 } else { covariance / variance }
}

#[cfg(test)]
#[path = "density_test.rs"]
mod tests;
