//! What a container may use of its VM beyond memory, CPUs and processes, with Docker's names and words: shares of CPU time, quotas,
//! reservations, and how fast disks are.

use hull_protocol::{DiskCount, DiskLimit};

use super::{
    DeviceRate, HostConfig,
    error::{Error, Result},
};

/// The disks of a container's VM, as its guest names them: that of the image's layers, and that of the writable one.
const DISKS: [&str; 2] = ["/dev/vdb", "/dev/vdc"];
/// Docker's bounds of shares, and the kernel's of weights.
const SHARES: (u64, u64) = (2, 262_144);
const WEIGHTS: (u64, u64) = (1, 10_000);
/// Docker's least reservation.
const LEAST_RESERVATION: u64 = 6 << 20;
/// The kernel's bounds of a period, and the least quota, in microseconds.
const PERIODS: std::ops::RangeInclusive<u64> = 1000..=1_000_000;
const USUAL_PERIOD: u64 = 100_000;

impl HostConfig {
    /// CPUs in billionths, however they were asked for; 0 is all of the VM's.
    pub fn cpus(&self) -> u64 {
        let Ok(quota @ 1..) = u64::try_from(self.cpu_quota) else { return self.nano_cpus };
        let period = if self.cpu_period == 0 { USUAL_PERIOD } else { self.cpu_period };
        let cpus = u128::from(quota) * 1_000_000_000 / u128::from(period);
        u64::try_from(cpus).unwrap_or(u64::MAX)
    }

    /// Whether it is a whole system.
    pub fn is_system(&self) -> bool {
        self.system == Some(true)
    }

    /// The period of its quota, if that is not the usual one.
    pub fn cpu_period(&self) -> Option<u32> {
        u32::try_from(self.cpu_period).ok().filter(|period| *period > 0)
    }
}

/// What shares of CPU time are as a weight, by Docker's formula; none for none.
pub fn weight(shares: u64) -> Option<u16> {
    let within = shares.clamp(SHARES.0, SHARES.1) - SHARES.0;
    let weight = WEIGHTS.0 + within * (WEIGHTS.1 - WEIGHTS.0) / (SHARES.1 - SHARES.0);
    (shares > 0).then_some(weight as u16)
}

/// How fast the guest's disks are.
pub fn disks(host_config: &HostConfig) -> Vec<DiskLimit> {
    rates(host_config)
        .flat_map(|(_, what, rates)| rates.iter().map(move |rate| (what, rate)))
        .map(|(what, DeviceRate { path, rate })| DiskLimit { device: path.clone(), what, rate: *rate })
        .collect()
}

fn rates(of: &HostConfig) -> impl Iterator<Item = (&'static str, DiskCount, &[DeviceRate])> {
    [
        ("device-read-bps", DiskCount::ReadBytes, of.blkio_device_read_bps.as_slice()),
        ("device-write-bps", DiskCount::WriteBytes, of.blkio_device_write_bps.as_slice()),
        ("device-read-iops", DiskCount::Reads, of.blkio_device_read_iops.as_slice()),
        ("device-write-iops", DiskCount::Writes, of.blkio_device_write_iops.as_slice()),
    ]
    .into_iter()
}

/// Refuses what cannot be.
///
/// # Errors
/// What that is, in Docker's words where it has some.
pub fn check(host_config: &HostConfig) -> Result<()> {
    let refuse = |message: &str| Err(Error::Invalid(message.to_owned()));
    let HostConfig { memory, memory_reservation, memory_swap, cpu_period, cpu_quota, .. } = *host_config;
    if host_config.cpu_shares > 0 && host_config.vm.is_none() {
        return refuse(
            "--cpu-shares: a container with a VM of its own has nobody to share that VM's CPUs with; use --cpus, or --vm NAME for \
             containers that share one",
        );
    }
    if memory_reservation > 0 && memory_reservation < LEAST_RESERVATION {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if memory > 0 && memory < memory_reservation {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if memory_swap > 0 && memory == 0 {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if memory_swap < -1 || (memory_swap > 0 && memory_swap.cast_unsigned() < memory) {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host_config.nano_cpus > 0 && (cpu_period > 0 || cpu_quota > 0) {
        let which = if cpu_period > 0 { "Period" } else { "Quota" };
        return refuse(&format!("Conflicting options: Nano CPUs and CPU {which} cannot both be set"));
    }
    if cpu_period > 0 && !PERIODS.contains(&cpu_period) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if cpu_quota < -1 || (1..1000).contains(&cpu_quota) {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    for (option, _, rates) in rates(host_config) {
        for DeviceRate { path, rate } in rates {
            if !DISKS.contains(&path.as_str()) {
                return refuse(&format!(
                    "--{option} {path}: a container has no disk of the host's; in its VM {} is its image and {} what it writes",
                    DISKS[0], DISKS[1]
                ));
            }
            if *rate == 0 {
                return refuse(&format!("--{option} {path}: the rate is to be a positive integer"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "budget_test.rs"]
mod tests;
