//! How a container's run ended, and what a keeper tells whoever keeps the record.

use hull_protocol::{FailureKind, Rewrite};

use super::{
    Health, Task,
    attach::{Wanted, What},
};
use crate::{
    network::{client::Membership, control::Lease, wire::Mac},
    vm::control::{KeeperMessage, Timings},
};

/// Lines of the console that an error shows.
const SHOWN_LINES: usize = 20;
/// Most bytes of an error from the guest that are kept.
const MAX_MESSAGE: usize = 4 << 10;

/// Where the keeper writes down what happens, in time.
pub trait Record {
    /// The VM is in these networks and has this there, which what is to run is to know.
    fn joined(&mut self, leases: &[(String, Lease)], task: &mut Task);
    /// Brings the VM into the networks behind its first, in which its card has this address.
    ///
    /// # Errors
    /// When there is no such network, or it cannot be started.
    fn more_networks(&mut self, _mac: Mac) -> Result<Vec<Membership>, String> {
        Ok(Vec::new())
    }
    /// Brings the VM into a network while its process runs.
    ///
    /// # Errors
    /// When there is no such network, or it cannot be started.
    fn ask_network(&mut self, wanted: &Wanted, mac: Option<Mac>) -> Result<Membership, String>;
    /// What is different about files in the container that say what it has in its networks.
    fn rewrites(&self, _before: &[Lease], _after: &[Lease]) -> Vec<Rewrite> {
        Vec::new()
    }
    /// The VM is in these networks from now on, and has this there.
    fn networks(&mut self, leases: &[(String, Lease)]);
    /// This is so at its next start, too.
    ///
    /// # Errors
    /// When it cannot be written.
    fn describe(&mut self, _what: &What) -> Result<(), String> {
        Ok(())
    }
    /// The container's process runs.
    fn started(&mut self);
    /// A signal was passed on to the process.
    fn signalled(&mut self, signal: u8);
    /// The stop signal was sent.
    fn stopping(&mut self);
    /// The VM stands still, or goes on.
    fn paused(&mut self, paused: bool);
    /// A health check is over.
    fn health(&mut self, _health: &Health) {}
    /// The VM is gone.
    fn ended(&mut self, outcome: &Outcome);
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The process ended.
    Exited {
        /// Exit code.
        code: u8,
        /// Something in the container was killed for want of memory.
        oom_killed: bool,
        /// What went wrong after that, such as a data disk that was not written to its end.
        error: Option<String>,
    },
    /// The process never ran.
    NotStarted {
        /// Exit code for `hull run`.
        code: u8,
        /// Why.
        error: String,
    },
    /// The VM ended while the process ran.
    Broken {
        /// 137 when something killed it, 125 when it failed.
        code: u8,
        /// Why.
        error: String,
    },
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How.
    pub ending: Ending,
    /// Somebody ended the VMM by SIGKILL, and not its keeper.
    pub killed: bool,
    /// Somebody wanted the end: it is not to be started again for that.
    pub stopped: bool,
    /// The last of what the guest's console and the VMM said; control characters are replaced.
    pub console: String,
    /// When.
    pub timings: Timings,
}

impl Ending {
    /// The exit code to record.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited { code, .. } | Self::NotStarted { code, .. } | Self::Broken { code, .. } => *code,
        }
    }

    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Exited { error, .. } => error.as_deref(),
            Self::NotStarted { error, .. } | Self::Broken { error, .. } => Some(error),
        }
    }

    /// For a process that the agent could not start.
    pub fn from_failure(kind: FailureKind, message: &str) -> Self {
        let code = match kind {
            FailureKind::NotFound => 127,
            FailureKind::NotExecutable => 126,
            FailureKind::Invalid | FailureKind::Internal => 125,
        };
        Self::NotStarted { code, error: printable(message.as_bytes()) }
    }

    /// What a front end is told.
    pub fn message(&self, console: &str) -> KeeperMessage {
        match self {
            Self::Exited { code, oom_killed, error } => {
                KeeperMessage::Exited { code: *code, oom_killed: *oom_killed, error: error.clone() }
            }
            Self::NotStarted { code, error } => {
                // What the agent says about a wrong request is not made clearer by the console.
                let console = if *code == 125 { console } else { "" };
                KeeperMessage::Failed { code: *code, message: with_console(error, console) }
            }
            Self::Broken { code, error } => KeeperMessage::Exited {
                code: *code,
                oom_killed: false,
                error: Some(with_console(error, console)),
            },
        }
    }
}

/// An error with the last lines of the console under it.
fn with_console(error: &str, console: &str) -> String {
    let lines: Vec<_> = console.lines().collect();
    if lines.is_empty() {
        return error.to_owned();
    }
    let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n  ");
    format!("{error}\nThe guest's console ended with:\n  {shown}")
}

/// Text from the guest, fit for a terminal and a record: bounded, without control characters.
pub fn printable(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(MAX_MESSAGE)];
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|&c| c != '\r')
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

/// The last bytes of the console.
#[derive(Debug, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    /// Bytes kept.
    const LENGTH: usize = 8 << 10;

    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(Self::LENGTH)..]);
        if self.0.len() > 2 * Self::LENGTH {
            self.0.drain(..self.0.len() - Self::LENGTH);
        }
    }

    /// What is kept, fit to be shown.
    pub fn text(&self) -> String {
        self.0[self.0.len().saturating_sub(Self::LENGTH)..].chunks(MAX_MESSAGE).map(printable).collect()
    }
}
