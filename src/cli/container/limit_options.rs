//! Options of `run` and `create` that limit what a container uses of its VM.

use std::str::FromStr;

use clap::Args;

use crate::{
    config::Size,
    container::{DeviceRate, Error, HostConfig, Result},
};

/// What a container may use of its VM.
#[derive(Debug, Args)]
pub struct LimitOptions {
    /// CPU time beside the other containers of its VM (--vm); 1024 is what those have that say nothing
    #[arg(short = 'c', long, value_name = "NUMBER", default_value_t)]
    cpu_shares: u64,
    /// Microseconds of CPU time in each period; 50000 is what --cpus 0.5 is
    #[arg(long, value_name = "MICROSECONDS", default_value_t, allow_negative_numbers = true)]
    cpu_quota: i64,
    /// Period of --cpu-quota
    #[arg(long, value_name = "MICROSECONDS", default_value_t)]
    cpu_period: u64,
    /// Memory nodes that the container may use; a guest has one, 0
    #[arg(long, value_name = "NODES", default_value = "")]
    cpuset_mems: String,
    /// Memory that the container keeps where its VM has little left
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<Size>,
    /// Most memory and swap together, -1 for no limit; a guest has no swap, so --memory is always kept
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    memory_swap: Option<SwapLimit>,
    /// How gladly memory is swapped; a guest has no swap, so only 0 is possible
    #[arg(long, value_name = "NUMBER", default_value_t = -1, allow_negative_numbers = true)]
    memory_swappiness: i64,
    /// Most bytes read a second of /dev/vdb, the image, or /dev/vdc, what the container writes
    #[arg(long, value_name = "DEVICE:SIZE")]
    device_read_bps: Vec<String>,
    /// Most bytes written a second
    #[arg(long, value_name = "DEVICE:SIZE")]
    device_write_bps: Vec<String>,
    /// Most reads a second
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_read_iops: Vec<String>,
    /// Most writes a second
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_write_iops: Vec<String>,
}

impl LimitOptions {
    /// Puts them where they belong.
    ///
    /// # Errors
    /// When one cannot be read, or not be honoured.
    pub fn apply(&self, host_config: &mut HostConfig) -> Result<()> {
        if !matches!(self.cpuset_mems.as_str(), "" | "0" | "0-0") {
            return Err(Error::Invalid(format!(
                "Requested memory nodes are not available - requested {}, available: 0",
                self.cpuset_mems
            )));
        }
        match self.memory_swappiness {
            -1 | 0 => {}
            1..=100 => {
                return Err(Error::Invalid(
                    "--memory-swappiness: a guest has no swap; leave it out, or give 0".to_owned(),
                ));
            }
            other => {
                return Err(Error::Invalid(format!(
                    "Invalid value: {other}, valid memory swappiness range is 0-100"
                )));
            }
        }
        host_config.cpu_shares = self.cpu_shares;
        host_config.cpu_quota = self.cpu_quota;
        host_config.cpu_period = self.cpu_period;
        host_config.memory_reservation = self.memory_reservation.map_or(0, |size| size.0);
        host_config.memory_swap = self.memory_swap.map_or(0, |limit| limit.0);
        let bytes = |text: &str| text.parse::<Size>().ok().map(|size| size.0);
        let number = |text: &str| text.parse::<u64>().ok();
        host_config.blkio_device_read_bps = rates(&self.device_read_bps, bytes)?;
        host_config.blkio_device_write_bps = rates(&self.device_write_bps, bytes)?;
        host_config.blkio_device_read_iops = rates(&self.device_read_iops, number)?;
        host_config.blkio_device_write_iops = rates(&self.device_write_iops, number)?;
        Ok(())
    }
}

fn rates(texts: &[String], rate: fn(&str) -> Option<u64>) -> Result<Vec<DeviceRate>> {
    texts
        .iter()
        .map(|text| {
            let (path, value) = text
                .split_once(':')
                .ok_or_else(|| Error::Invalid(format!("bad format: {text}; write DEVICE:RATE")))?;
            let rate = rate(value).ok_or_else(|| {
                Error::Invalid(format!(
                    "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]"
                ))
            })?;
            Ok(DeviceRate { path: path.to_owned(), rate })
        })
        .collect()
}

/// A limit of memory and swap together, in bytes; -1 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwapLimit(pub i64);

impl FromStr for SwapLimit {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "-1" {
            return Ok(Self(-1));
        }
        let Size(bytes) = text.parse()?;
        i64::try_from(bytes).map(Self).map_err(|_| format!("invalid size: '{text}' is too much"))
    }
}

#[cfg(test)]
#[path = "limit_options_test.rs"]
mod tests;
