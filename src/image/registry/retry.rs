//! Trying again what may pass: with back-off, and with the registry's own wish for it.

use std::time::Duration;

use ureq::http::HeaderMap;

use super::{Error, Reason};

/// How often something is tried in all.
const ATTEMPTS: u32 = 4;
/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// A registry that wants to be left alone for longer than this is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Tries until it works, cannot work, or was tried often enough. A registry that is silent once is not waited for again.
pub(super) fn attempts<T>(mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut waits = Waits::new();
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if matches!(error.reason(), Reason::Timeout) => return Err(error),
            Err(error) => waits.wait(error)?,
        }
    }
}

/// The waits between attempts.
#[derive(Debug)]
pub(super) struct Waits {
    done: u32,
}

impl Waits {
    pub(super) fn new() -> Self {
        Waits { done: 0 }
    }

    /// Waits before another attempt, or gives the error back if there is to be none.
    pub(super) fn wait(&mut self, error: Error) -> Result<(), Error> {
        self.done += 1;
        if self.done >= ATTEMPTS || !error.reason().is_passing() {
            return Err(error);
        }
        let wait = match *error.reason() {
            Reason::Status { after: Some(after), .. } if after > LONGEST_WAIT => return Err(error),
            Reason::Status { after: Some(after), .. } => after,
            _ => FIRST_WAIT * 2u32.pow(self.done - 1),
        };
        std::thread::sleep(wait);
        Ok(())
    }
}

/// The `Retry-After` header in seconds. The form with a date is for caches; registries do not use it.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
