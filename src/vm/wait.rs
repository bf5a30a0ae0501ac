//! Waiting for descriptors until a moment.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What is left of the time until then, for `poll(2)`.
pub fn left(end: Instant) -> Timespec {
    let left = end.saturating_duration_since(Instant::now());
    Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
}

/// Waits until one of these has something to say, or the moment has come. Gives whose it is and what, in their order; nothing after an
/// interruption.
pub fn wait<S>(set: Vec<(S, PollFd<'_>)>, end: Option<Instant>) -> Vec<(S, PollFlags)> {
    let (whose, mut descriptors): (Vec<_>, Vec<_>) = set.into_iter().unzip();
    if poll(&mut descriptors, end.map(left).as_ref()).is_err() {
        return Vec::new();
    }
    let flags = descriptors.iter().map(PollFd::revents);
    whose.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect()
}

#[cfg(test)]
#[path = "wait_test.rs"]
mod tests;
