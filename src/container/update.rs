//! Changing what a container may use (`hull update`): at once in one that runs, and for its next start.

use hull_protocol::Limits;

use super::{
    Error, HostConfig, Result, action, attachment, budget, process,
    restart::{RestartPolicy, When},
    shared::Plan,
    state::Store,
};
use crate::vm::control::ClientMessage;

/// What is to be different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap; -1 is no limit.
    pub memory_swap: Option<i64>,
    /// Bytes of memory that it keeps.
    pub memory_reservation: Option<u64>,
    /// Its share of CPU time.
    pub cpu_shares: Option<u64>,
    /// CPUs in billionths.
    pub nano_cpus: Option<u64>,
    /// Most processes; no limit with `None` inside.
    pub pids_limit: Option<Option<u32>>,
    /// CPUs of its VM.
    pub cpuset_cpus: Option<String>,
    /// When it is started again.
    pub restart_policy: Option<RestartPolicy>,
}

impl Change {
    fn apply(&self, host_config: &mut HostConfig) {
        let Self { memory, memory_swap, memory_reservation, cpu_shares, nano_cpus, pids_limit, .. } = *self;
        let Self { cpuset_cpus, restart_policy, .. } = self.clone();
        host_config.memory_swap = memory_swap.unwrap_or(host_config.memory_swap);
        host_config.memory_reservation = memory_reservation.unwrap_or(host_config.memory_reservation);
        host_config.cpu_shares = cpu_shares.unwrap_or(host_config.cpu_shares);
        host_config.memory = memory.unwrap_or(host_config.memory);
        host_config.nano_cpus = nano_cpus.unwrap_or(host_config.nano_cpus);
        host_config.pids_limit = pids_limit.unwrap_or(host_config.pids_limit);
        host_config.cpuset_cpus = cpuset_cpus.unwrap_or(std::mem::take(&mut host_config.cpuset_cpus));
        host_config.restart_policy = restart_policy.unwrap_or(host_config.restart_policy);
    }

    /// Whether the guest has something to do with it.
    fn has_limits(&self) -> bool {
        Self { restart_policy: None, ..self.clone() } != Self::default()
    }
}

/// Changes a container.
///
/// # Errors
/// When there is none, a limit is out of range, or the container's VM cannot have it while it runs.
pub fn update(store: &Store, name: &str, change: &Change) -> Result<()> {
    let folder = store.find(name)?;
    let description = folder.description()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    let mut host_config = description.host_config.clone();
    change.apply(&mut host_config);
    budget::check(&host_config)?;
    let before = Plan::of_container(&description.host_config)?;
    let after = Plan::of_container(&host_config)?;
    if host_config.auto_remove && host_config.restart_policy.name != When::No {
        return Err(Error::Conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container".to_owned(),
        ));
    }
    let state = folder.state()?;
    if state.status.is_up() && change.has_limits() {
        // What it was allowed since is less than what it has.
        let vcpus = state.vcpus.unwrap_or(before.size.vcpus);
        if after.size.vcpus > vcpus {
            return Err(Error::Conflict(format!(
                "Cannot update container {}: its VM has {vcpus} CPUs; stop it first to give it more",
                folder.id
            )));
        }
        let share = after.share;
        // What was limited and is not to be any more has to be said, too.
        let cpus = u64::from(share.cpus) * 1000;
        let millis = if host_config.cpus() == 0 { cpus } else { host_config.cpus().div_ceil(1_000_000) };
        let limits = Limits {
            guest_memory: Some(share.memory),
            cpus: Some(share.cpus),
            cpu_millis: Some(u32::try_from(millis).unwrap_or(u32::MAX)),
            pids: Some(host_config.pids_limit.unwrap_or(u32::MAX)),
            memory_low: change.memory_reservation,
            ..process::limits(&host_config, before.size, share)
        };
        if let Some(channel) = action::connect(store, &folder)? {
            let message = ClientMessage::Update { limits, most_memory: share.memory };
            attachment::ask(&folder, &channel, &message, None)?;
        }
    }
    let description = store.change(&folder, |mut description| {
        change.apply(&mut description.host_config);
        Ok(description)
    })?;
    store.journal().append("update", &description, &[]);
    Ok(())
}
