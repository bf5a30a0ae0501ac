//! How large a VM a container gets, what may be asked for, and how long it may take to come up.

use std::time::Duration;

use hull_arch::quirks::Quirks;

use super::{
    HostConfig,
    error::{Error, Result},
};
use crate::{config::Size, vm::keeper::Limits};

/// Memory of a VM whose container has no limit, or a lower one that this serves as well.
const DEFAULT_MEMORY: u64 = 512 * Size::MIB;
/// What the guest's kernel and agent need beside the container's limit.
const GUEST_OVERHEAD: u64 = 96 * Size::MIB;
/// Least memory of a VM.
const LEAST_MEMORY: u64 = 128 * Size::MIB;
/// Memory of a VM is a multiple of this.
const GRANULE: u64 = 2 * Size::MIB;
/// Docker's least limit.
const LEAST_LIMIT: u64 = 6 * Size::MIB;

/// Seconds that a guest may take to come up, for hosts that are slower than any should be.
const BOOT_TIMEOUT_VARIABLE: &str = "HULL_BOOT_TIMEOUT";

/// How long a guest may take to come up.
pub fn boot_limit() -> Duration {
    let seconds = std::env::var(BOOT_TIMEOUT_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    seconds.map_or_else(|| Limits::default().boot * Quirks::detect().patience(), Duration::from_secs)
}

/// The size of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmSize {
    /// Bytes, a multiple of 2 MiB.
    pub memory: u64,
    /// Virtual CPUs.
    pub vcpus: u8,
}

impl VmSize {
    /// Whether only containers with a memory limit get a VM of this size.
    pub fn is_limited(self) -> bool {
        self.memory != DEFAULT_MEMORY
    }
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

    /// The VM for a container.
    ///
    /// # Errors
    /// When a limit is below Docker's minimum or above what the host has.
    pub fn vm_size(self, host_config: &HostConfig) -> Result<VmSize> {
        Ok(VmSize {
            memory: self.vm_memory(host_config.memory)?,
            vcpus: self.vm_cpus(host_config.nano_cpus)?,
        })
    }

    fn vm_memory(self, limit: u64) -> Result<u64> {
        if limit == 0 {
            return Ok(DEFAULT_MEMORY);
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
        Ok((limit + GUEST_OVERHEAD).max(LEAST_MEMORY).next_multiple_of(GRANULE))
    }

    fn vm_cpus(self, nano_cpus: u64) -> Result<u8> {
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
        Ok(u8::try_from(wanted).unwrap_or(u8::MAX).min(crate::config::MAX_VCPUS))
    }
}

#[cfg(test)]
#[path = "sizing_test.rs"]
mod tests;
