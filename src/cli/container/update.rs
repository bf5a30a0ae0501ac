//! `hull update`.

use std::process::ExitCode;

use clap::Args;

use super::{super::network_attach::warn, for_each, limit_options::SwapLimit, options::parse_cpus};
use crate::{
    config::Size,
    container::{
        Error,
        networking::{parse_expose, parse_publish},
        publish,
        restart::RestartPolicy,
        update::{self, Change},
    },
};

/// Change what containers may use, and where they are reached
#[derive(Debug, Args)]
pub struct Update {
    /// Most memory the container may use
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Most memory and swap together, -1 for no limit; a guest has no swap, so --memory is always kept
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    memory_swap: Option<SwapLimit>,
    /// Memory that the containers keep where their VM has little left
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<Size>,
    /// CPU time beside the other containers of their VM; 1024 is what those have that say nothing
    #[arg(short = 'c', long, value_name = "NUMBER")]
    cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,
    /// CPUs of its VM that the container may use, such as 0-1 or 0,2
    #[arg(long, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// Most processes; -1 is no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// When the container is started again: no, on-failure[:NUMBER], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<RestartPolicy>,
    /// Have a port reached from outside
    #[arg(long, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]")]
    publish_add: Vec<String>,
    /// Have a port of the container not reached any more
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    publish_rm: Vec<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Update {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let pids = |limit: i64| match limit {
            0 | -1 => Ok(None),
            limit => u32::try_from(limit)
                .map(Some)
                .map_err(|_| Error::Invalid(format!("invalid PIDs limit: {limit}"))),
        };
        let change = Change {
            memory: self.memory.map(|size| size.0),
            memory_swap: self.memory_swap.map(|limit| limit.0),
            memory_reservation: self.memory_reservation.map(|size| size.0),
            cpu_shares: self.cpu_shares,
            nano_cpus: self.cpus,
            pids_limit: self.pids_limit.map(pids).transpose()?,
            cpuset_cpus: self.cpuset_cpus,
            restart_policy: self.restart,
        };
        let mut ports = publish::Change::default();
        for text in &self.publish_add {
            ports.add.extend(parse_publish(text).map_err(Error::Invalid)?);
        }
        for text in &self.publish_rm {
            ports.remove.extend(parse_expose(text).map_err(Error::Invalid)?);
        }
        let (limits, published) = (change != Change::default(), ports != publish::Change::default());
        if !limits && !published {
            anyhow::bail!("you must provide one or more flags when using this command");
        }
        for_each(&self.containers, |store, container| {
            if limits {
                update::update(store, container, &change)?;
            }
            if published {
                warn(container, publish::publish(store, container, &ports)?);
            }
            Ok(container.to_owned())
        })
    }
}
