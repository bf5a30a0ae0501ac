//! What can go wrong with a registry, and what to do about it.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Deserialize;

use crate::image::reference::DOCKER_HUB;
use crate::image::{Digest, Reference};

/// Something a registry did or did not do.
#[derive(Debug)]
pub struct Error(Box<Failure>);

#[derive(Debug)]
struct Failure {
    /// The image that was asked for.
    reference: Reference,
    /// The part of it, such as `manifest latest`.
    what: String,
    /// What happened.
    reason: Reason,
}

/// What happened.
#[derive(Debug)]
pub enum Reason {
    /// The host's name is unknown.
    HostNotFound,
    /// There is no connection.
    Connect(io::Error),
    /// There is a connection but no trust in it.
    Tls(String),
    /// It said nothing for too long.
    Timeout,
    /// The connection broke.
    Broken(String),
    /// It refused, or failed.
    Status {
        /// The HTTP status.
        status: u16,
        /// What it said about it.
        message: Option<String>,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// It wants a login, and there is none or a wrong one.
    Login {
        /// Whether one was tried.
        tried: bool,
    },
    /// Docker's configuration has a login that cannot be used.
    Credentials(String),
    /// It speaks in a way hull does not know.
    Protocol(String),
    /// It sent a web page.
    Html,
    /// It sent more than a manifest or configuration may be.
    TooLarge,
    /// Not what was asked for.
    WrongDigest {
        /// The digest of what was asked for.
        promised: Digest,
        /// That of what came.
        actual: Digest,
    },
    /// Not as long as it was said to be.
    WrongSize {
        /// Bytes that were promised.
        promised: u64,
        /// Bytes that came.
        actual: u64,
    },
}

impl Error {
    /// An error about `what` of the image `reference`.
    pub(super) fn new(reference: &Reference, what: &str, reason: Reason) -> Self {
        Error(Box::new(Failure { reference: reference.clone(), what: what.to_owned(), reason }))
    }

    /// What happened.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// Whether the registry answered, if only to refuse.
    pub fn is_answer(&self) -> bool {
        matches!(self.reason(), Reason::Status { .. })
    }
}

impl Reason {
    /// Why a request failed.
    pub(super) fn of(error: ureq::Error) -> Self {
        match error {
            ureq::Error::HostNotFound => Reason::HostNotFound,
            ureq::Error::ConnectionFailed => Reason::Connect(io::ErrorKind::HostUnreachable.into()),
            ureq::Error::Timeout(ureq::Timeout::Connect) => Reason::Connect(io::ErrorKind::TimedOut.into()),
            ureq::Error::Timeout(_) => Reason::Timeout,
            ureq::Error::Tls(reason) => Reason::Tls(reason.to_owned()),
            ureq::Error::Rustls(error) => Reason::Tls(error.to_string()),
            ureq::Error::RequireHttpsOnly(url) => {
                Reason::Protocol(format!("it leads to {url}, which is not encrypted"))
            }
            ureq::Error::Io(error) => Self::of_io(error),
            other => Reason::Protocol(other.to_string()),
        }
    }

    /// Why reading failed.
    pub(super) fn of_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => Reason::Connect(error),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Reason::Timeout,
            _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
                Some(ureq::Error::Timeout(_)) => Reason::Timeout,
                Some(ureq::Error::Rustls(error)) => Reason::Tls(error.to_string()),
                _ => Reason::Broken(error.to_string()),
            },
        }
    }

    /// Whether another attempt may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Reason::Timeout | Reason::Broken(_) => true,
            Reason::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether it says that this is not for whoever asks, or not there.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Reason::Login { .. } | Reason::Status { status: 401 | 403 | 404, .. })
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { reference, what, reason } = &*self.0;
        let (registry, name) = (reference.registry(), reference.familiar_name());
        let login = match registry {
            DOCKER_HUB => "docker login".to_owned(),
            other => format!("docker login {other}"),
        };
        match reason {
            Reason::HostNotFound => {
                write!(
                    f,
                    "registry {registry}: no host of this name is found; check the name, and the network"
                )
            }
            Reason::Connect(error) => {
                write!(
                    f,
                    "registry {registry} cannot be reached: {error}; check that it runs, and the network"
                )
            }
            Reason::Tls(reason) => {
                write!(
                    f,
                    "registry {registry}: no trusted connection: {reason}; if its certificate is your own, add its authority to this host's (update-ca-certificates)"
                )
            }
            Reason::Timeout => {
                write!(
                    f,
                    "registry {registry} does not answer while sending {what}; try again later, or set HULL_REGISTRY_TIMEOUT to more seconds"
                )
            }
            Reason::Broken(reason) => {
                write!(f, "registry {registry} broke off while sending {what}: {reason}; try again")
            }
            Reason::Status { status: 404, message, .. } => {
                write!(f, "registry {registry} has no {what} of {name}{}; check name and tag", said(message))
            }
            Reason::Status { status: 401 | 403, message, .. } => {
                write!(
                    f,
                    "registry {registry} denies access to {name}{}; it may not exist, or need another login: {login}",
                    said(message)
                )
            }
            Reason::Status { status: 429, message, after } => {
                let after = after.map_or("later".to_owned(), |after| format!("in {} s", after.as_secs()));
                write!(
                    f,
                    "registry {registry} refuses more requests for now (429){}; try again {after}, or log in for a higher limit: {login}",
                    said(message)
                )
            }
            Reason::Status { status, message, .. } => {
                write!(
                    f,
                    "registry {registry} fails with status {status} on {what}{}; try again later",
                    said(message)
                )
            }
            Reason::Login { tried: false } => {
                write!(
                    f,
                    "registry {registry} denies access to {name} without a login; it may not exist, or need one: {login}"
                )
            }
            Reason::Login { tried: true } => {
                write!(
                    f,
                    "registry {registry} does not accept the login in Docker's configuration for {name}; log in again: {login}"
                )
            }
            Reason::Credentials(reason) => {
                write!(
                    f,
                    "the login for registry {registry} in Docker's configuration cannot be used: {reason}"
                )
            }
            Reason::Protocol(reason) => write!(f, "registry {registry}: {what}: {reason}"),
            Reason::Html => {
                write!(
                    f,
                    "registry {registry} sends a web page for {what}: it is no registry, or a proxy or login page stands before it"
                )
            }
            Reason::TooLarge => write!(
                f,
                "registry {registry} sends more than 4 MiB for {what}: no manifest or configuration may be so large"
            ),
            Reason::WrongDigest { promised, actual } => {
                write!(
                    f,
                    "registry {registry} sends something else for {what}: it should have digest {promised} and has {actual}"
                )
            }
            Reason::WrongSize { promised, actual } => {
                write!(f, "registry {registry} sends {actual} bytes for {what}, which should be {promised}")
            }
        }
    }
}

fn said(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default()
}

/// What a registry says about an error (distribution specification, "Error Codes"), made fit for a terminal.
pub(super) fn message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        code: Option<String>,
        message: Option<String>,
    }
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let first = errors.errors.into_iter().next()?;
    let text = first.message.filter(|message| !message.is_empty()).or(first.code)?;
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}
