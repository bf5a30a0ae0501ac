//! What became of a container: `state.json`.

use serde::{Deserialize, Serialize};

use crate::{
    container::networking::Joined,
    network::control::{Bound, Lease},
    vm::{keeper::Health, timestamp},
};

/// Docker's states, as far as hull has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started, or could not be.
    Created,
    /// A keeper is starting it. Shown as `created`.
    Starting,
    /// Its process runs.
    Running,
    /// It runs, and its VM stands still.
    Paused,
    /// Its process ended, and its keeper is about to start it again.
    Restarting,
    /// Its process ended.
    Exited,
    /// It is being removed.
    Dead,
}

impl Status {
    /// The word that Docker shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created | Self::Starting => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether a keeper has to be alive for it.
    pub fn needs_keeper(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Paused | Self::Restarting)
    }

    /// Whether its process is there, or is about to be again.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// What became of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Where it is in its life.
    pub status: Status,
    /// Exit code of the last run.
    pub exit_code: u8,
    /// Something in it was killed for want of memory.
    pub oom_killed: bool,
    /// What went wrong, if anything.
    pub error: String,
    /// When the last run began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: String,
    /// Process id of the keeper, to be shown; liveness is the lock.
    pub keeper_pid: u32,
    /// CPUs of its VM, if it was started.
    pub vcpus: Option<u8>,
    /// What it has, or had when it ran, in its network.
    pub network: Option<Joined>,
    /// The same of further networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_networks: Vec<Joined>,
    /// How often its keeper has started it again.
    pub restart_count: u32,
    /// What its health checks say.
    pub health: Option<Health>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: Status::Created,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started_at: timestamp::NEVER.to_owned(),
            finished_at: timestamp::NEVER.to_owned(),
            keeper_pid: 0,
            vcpus: None,
            network: None,
            more_networks: Vec::new(),
            restart_count: 0,
            health: None,
        }
    }
}

impl State {
    /// What it has, or had when it ran, in its networks.
    pub fn networks(&self) -> impl Iterator<Item = &Joined> {
        self.network.iter().chain(&self.more_networks)
    }

    /// Only that, without where.
    pub fn leases(&self) -> Vec<Lease> {
        self.networks().map(|joined| joined.lease.clone()).collect()
    }

    /// Its ports that are, or were, reached from outside.
    pub fn ports(&self) -> impl Iterator<Item = &Bound> + Clone {
        let first = self.network.iter().flat_map(|joined| &joined.lease.ports);
        first.chain(self.more_networks.iter().flat_map(|joined| &joined.lease.ports))
    }

    /// The state after the keeper died without a word.
    #[must_use]
    pub fn after_crash(self) -> Self {
        let error = "the container's keeper was killed".to_owned();
        match self.status {
            Status::Starting => {
                Self { status: Status::Created, exit_code: 137, error, keeper_pid: 0, ..self }
            }
            Status::Running | Status::Paused | Status::Restarting => Self {
                status: Status::Exited,
                exit_code: 137,
                error,
                finished_at: timestamp::now(),
                keeper_pid: 0,
                ..self
            },
            _ => self,
        }
    }
}
