//! How large a VM a container gets, what may be asked for, and how long it may take to come up.

use std::time::Duration;

use hull_arch::quirks::Quirks;

use super::{
    HostConfig,
    error::{Error, Result},
};
pub use crate::vmm::config::VmSize;
use crate::{config::Size, vm::keeper::Limits};

/// Memory that every VM begins with. What is not used of it costs the host nothing.
const MEMORY: u64 = 512 * Size::MIB;
/// What the guest's kernel and agent need beside the container's limit.
const GUEST_OVERHEAD: u64 = 96 * Size::MIB;
/// Memory is added to a VM in pieces of this, as Linux does it.
const GRANULE: u64 = 128 * Size::MIB;
/// Docker's least limit.
const LEAST_LIMIT: u64 = 6 * Size::MIB;

/// Seconds that a guest may take to come up, for hosts that are slower than any should be.
const BOOT_TIMEOUT_VARIABLE: &str = "HULL_BOOT_TIMEOUT";

/// How long a guest may take to come up.
pub fn boot_limit() -> Duration {
    let seconds = std::env::var(BOOT_TIMEOUT_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    seconds.map_or_else(|| Limits::default().boot * Quirks::detect().patience(), Duration::from_secs)
}

/// What a container may have of its VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Most memory of the VM, in bytes.
    pub memory: u64,
    /// CPUs.
    pub cpus: u8,
}

/// What the host has.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Bytes of memory.
    pub memory: u64,
    /// CPUs that this process may use.
    pub cpus: u64,
    /// Most CPUs of a VM whose container has no limit.
    pub default_vcpus: u64,
}

impl Host {
    /// This host.
    pub fn this() -> Self {
        let memory = rustix::system::sysinfo();
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
        let default_vcpus = Quirks::detect().default_vcpus();
        Self { memory: memory.totalram * u64::from(memory.mem_unit), cpus, default_vcpus }
    }

    /// The VM for a container, as far as its guest is told at its boot: a template is of one size. Whatever a container's limits
    /// are, there are few of these.
    ///
    /// # Errors
    /// When a limit is below Docker's minimum or above what the host has.
    pub fn vm_size(self, host_config: &HostConfig) -> Result<VmSize> {
        let Share { cpus, .. } = self.share(host_config)?;
        Ok(VmSize {
            memory: MEMORY,
            growth: self.memory.next_multiple_of(GRANULE),
            vcpus: cpus.next_power_of_two().min(crate::config::MAX_VCPUS),
        })
    }

    /// What a container may have of its VM.
    ///
    /// # Errors
    /// As [`vm_size`](Self::vm_size).
    pub fn share(self, host_config: &HostConfig) -> Result<Share> {
        Ok(Share { memory: self.most_memory(host_config.memory)?, cpus: self.cpus(host_config.cpus())? })
    }

    /// Refuses CPUs that the container's VM does not have.
    ///
    /// # Errors
    /// With Docker's words.
    pub fn check_cpuset(self, host_config: &HostConfig) -> Result<()> {
        Self::check_cpus(&host_config.cpuset_cpus, self.vm_size(host_config)?.vcpus)
    }

    /// Refuses CPUs of this list that are not among so many; an empty one is all.
    ///
    /// # Errors
    /// With Docker's words.
    pub fn check_cpus(text: &str, available: u8) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let highest = highest_cpu(text).ok_or_else(|| {
            Error::Invalid(format!("Invalid value {text} for cpuset cpus: write 0-2 or 0,1"))
        })?;
        if highest >= u32::from(available) {
            return Err(Error::Invalid(format!(
                "Requested CPUs are not available - requested {text}, available: 0-{}",
                available - 1
            )));
        }
        Ok(())
    }

    fn most_memory(self, limit: u64) -> Result<u64> {
        if limit == 0 {
            return Ok((self.memory / 2).max(MEMORY));
        }
        if limit < LEAST_LIMIT {
            return Err(Error::Invalid("Minimum memory limit allowed is 6MB".to_owned()));
        }
        if limit > self.memory {
            return Err(Error::Invalid(format!(
                "a memory limit of {} is more than the host has ({} MiB)",
                Size(limit),
                self.memory / Size::MIB
            )));
        }
        Ok((limit + GUEST_OVERHEAD).max(MEMORY))
    }

    fn cpus(self, nano_cpus: u64) -> Result<u8> {
        let wanted = match nano_cpus {
            0 => self.cpus.min(self.default_vcpus),
            limit => limit.div_ceil(1_000_000_000),
        };
        if nano_cpus > self.cpus * 1_000_000_000 {
            return Err(Error::Invalid(format!(
                "range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available",
                self.cpus
            )));
        }
        Ok(u8::try_from(wanted).unwrap_or(u8::MAX).clamp(1, crate::config::MAX_VCPUS))
    }
}

/// The highest CPU of a list such as `0-1,3`.
fn highest_cpu(text: &str) -> Option<u32> {
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
    let highest = |part: &str| match part.split_once('-') {
        None => number(part),
        Some((first, last)) => number(last).filter(|last| number(first).is_some_and(|first| first <= *last)),
    };
    let all: Option<Vec<u32>> = text.split(',').map(highest).collect();
    all?.into_iter().max()
}

#[cfg(test)]
#[path = "sizing_test.rs"]
mod tests;
