//! What a running VM takes of the host: its keeper's and its VMM's memory and time, as `/proc` tells (proc_pid_smaps(5),
//! proc_pid_stat(5)).

use std::{fs, io, time::Duration};

use rustix::process::{Pid, getsid};
use serde::Serialize;

/// Memory of one process, or of several together, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What nobody else has (USS): it is free when the process ends.
    pub unshared: u64,
    /// That, and its part of what it shares (PSS).
    pub proportional: u64,
    /// Everything that is mapped and present (RSS).
    pub resident: u64,
}

/// What a keeper and its VMM take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory of both.
    pub memory: Memory,
    /// CPU time of both since they started.
    pub cpu: Duration,
}

impl Usage {
    /// Of this keeper and the processes of its session that it has started: others keep VMs themselves.
    ///
    /// # Errors
    /// When it is gone, or is another user's.
    pub fn of_keeper(pid: u32) -> io::Result<Self> {
        let mut usage = Self::of_process(pid)?;
        for child in children(pid)? {
            if session(child) != session(pid) {
                continue;
            }
            let other = match Self::of_process(child) {
                // One that has just ended takes nothing.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => continue,
                other => other?,
            };
            usage.memory.unshared += other.memory.unshared;
            usage.memory.proportional += other.memory.proportional;
            usage.memory.resident += other.memory.resident;
            usage.cpu += other.cpu;
        }
        Ok(usage)
    }

    fn of_process(pid: u32) -> io::Result<Self> {
        let memory = memory(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?);
        let ticks = ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?).unwrap_or_default();
        let cpu = Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        Ok(Self { memory, cpu })
    }
}

/// Bytes that the host could give to programs without swapping (`MemAvailable`).
///
/// # Errors
/// When `/proc` is not there.
pub fn available_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    Ok(sum(&text, &["MemAvailable:"]))
}

/// Processes that this one has started and not yet reaped.
///
/// # Errors
/// When it has ended.
pub fn children(pid: u32) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

fn session(pid: u32) -> Option<Pid> {
    getsid(Pid::from_raw(pid.cast_signed())).ok()
}

fn memory(rollup: &str) -> Memory {
    Memory {
        unshared: sum(rollup, &["Private_Clean:", "Private_Dirty:"]),
        proportional: sum(rollup, &["Pss:"]),
        resident: sum(rollup, &["Rss:"]),
    }
}

/// The lines with these names together, of a file of lines `Name: 123 kB`, in bytes.
fn sum(text: &str, names: &[&str]) -> u64 {
    let values = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().filter(|name| names.contains(name));
        name.and_then(|_| words.next()?.parse::<u64>().ok())
    });
    values.sum::<u64>() * 1024
}

/// User and system time of a process in clock ticks; the name in the second field may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    const USER: usize = 11;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(USER);
    let mut next = || times.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
#[path = "usage_test.rs"]
mod tests;
