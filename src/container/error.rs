//! What can go wrong with containers, in Docker's words.

use std::{io, path::Path};

use super::{ContainerId, ContainerName};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done to a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has this name or an id that begins so.
    #[error("No such container: {0}")]
    NotFound(String),
    /// More than one id begins so.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The name is another container's.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: ContainerName,
        /// Its owner.
        id: ContainerId,
    },
    /// It would have to run.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// Neither the image nor the command line has a command.
    #[error("no command specified")]
    NoCommand,
    /// A part of the request is wrong; the text says which and how.
    #[error("{0}")]
    Invalid(String),
    /// It is in the wrong state for what was asked; the text is Docker's for the verb.
    #[error("{0}")]
    Conflict(String),
    /// A file of the container's state cannot be used.
    #[error("{action} \"{path}\": {source}")]
    File {
        /// What was attempted, such as `cannot open`.
        action: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A VM for a template did not come up; the text says why.
    #[error("cannot build a template: {0}")]
    Template(String),
    /// A checkpoint cannot be made or used; the text says which and why.
    #[error("{0}")]
    Checkpoint(String),
    /// Somebody killed a process that this needs.
    #[error("{0} was killed")]
    Killed(&'static str),
    /// The keeper cannot be reached or did not say what it should.
    #[error("the container's keeper {0}")]
    Keeper(String),
    /// Something the container needs from the host is missing; the text says what to do.
    #[error("{0}")]
    Missing(String),
    /// The container's network is not there, or does not come up; the text says why.
    #[error("{0}")]
    Network(String),
    /// The image store failed.
    #[error(transparent)]
    Image(#[from] crate::image::Error),
}

impl Error {
    /// For `map_err`: what was attempted on which file.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err`: something of the host is missing.
    pub fn missing(error: anyhow::Error) -> Self {
        Self::Missing(format!("{error:#}"))
    }
}
