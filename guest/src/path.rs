//! Where a command is looked for, and what to say when it is not there.

use hull_protocol::FailureKind;
use rustix::io::Errno;

use crate::{
    failure::{Failure, Reason},
    step::{Fault, Hint},
};

/// What `PATH` is for a process that has none, as in Docker.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The files to try for a command: itself if it has a slash, else one in each directory of `PATH`.
pub fn candidates(command: &str, environment: &[String]) -> Vec<String> {
    if command.contains('/') {
        return vec![command.to_owned()];
    }
    let path = variable(environment, "PATH").unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory.trim_end_matches('/') })
        .map(|directory| format!("{directory}/{command}"))
        .collect()
}

/// The value of an environment variable; the last one counts, as it does for the C library's `getenv` after Docker's merging.
pub fn variable<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    environment
        .iter()
        .rev()
        .find_map(|entry| entry.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
}

/// Why a command could not be executed, in Docker's words.
pub fn failure(command: &str, fault: Fault) -> Failure {
    let slash = command.contains('/');
    let (kind, message) = match (fault.error, fault.hint) {
        (Errno::NOENT, Hint::Interpreter) => {
            (FailureKind::NotFound, format!("exec {command}: no such file or directory"))
        }
        (Errno::NOENT, _) if slash => {
            (FailureKind::NotFound, format!("exec: {command:?}: stat {command}: no such file or directory"))
        }
        (Errno::ACCESS, Hint::Directory) if slash => {
            (FailureKind::NotExecutable, format!("exec: {command:?}: is a directory"))
        }
        (Errno::ACCESS, _) if slash => {
            (FailureKind::NotExecutable, format!("exec: {command:?}: permission denied"))
        }
        (Errno::NOENT | Errno::ACCESS, _) => {
            (FailureKind::NotFound, format!("exec: {command:?}: executable file not found in $PATH"))
        }
        (error, _) => (FailureKind::NotExecutable, format!("exec {command}: {}", Reason(error))),
    };
    Failure { kind, message }
}

#[cfg(test)]
#[path = "path_test.rs"]
mod tests;
