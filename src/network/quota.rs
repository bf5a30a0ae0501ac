//! What a member may have of what there is for all: descriptors, and bytes that wait.
//!
//! There is one rule: who has less than is left may have more. So one that takes all that it can get has half of it, two of them a
//! third each, and whoever comes then finds as much again. Nothing is set apart for anybody, and nobody is kept from anything
//! by what another does.

use std::os::fd::AsFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{poll::Source, server::Network, slab::Key};

/// Descriptors that a network takes at most, whatever the limit is: what each connection may have wait in any case is half of all then.
const MOST_DESCRIPTORS: u64 = 16 << 10;
/// Descriptors that are for those of the process itself, and for a moment.
const RESERVE: usize = 128;
/// Bytes that wait in all connections.
const MOST_BYTES: usize = 256 << 20;
/// Bytes that each connection may have wait in any case.
const LEAST_BYTES: usize = 8 << 10;
/// Connections of a member that one side wants and the other has not agreed to: more calls are not heard, and come again.
const MOST_HALF_OPEN: usize = 1024;

/// What a member has, or all of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Its TCP connections.
    pub flows: usize,
    /// Those of them that do not stand yet.
    pub half_open: usize,
    /// Memory of what waits in them, in bytes.
    pub bytes: usize,
}

impl Usage {
    fn change(&mut self, before: Self, after: Self) {
        self.flows = self.flows + after.flows - before.flows;
        self.half_open = self.half_open + after.half_open - before.half_open;
        self.bytes = self.bytes + after.bytes - before.bytes;
    }
}

/// Whether a member may have a further connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Yes,
    /// Not before one of its calls is answered.
    Later,
    /// It has its share.
    No,
}

/// The rule.
pub fn may_have_more(has: usize, left: usize) -> bool {
    has < left
}

/// How many bytes a connection may have wait that has `own` of the `member`'s, where all have `all`.
fn allowance(own: usize, member: usize, all: usize) -> usize {
    let share = MOST_BYTES.saturating_sub(all).saturating_sub(member);
    (own + share).max(LEAST_BYTES)
}

/// How many descriptors the process may have, which takes as many as it can get.
pub fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(MOST_DESCRIPTORS);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    let most = if raised.is_ok() { most } else { limit.current.unwrap_or(1024) };
    most as usize
}

impl Network {
    /// Descriptors that connections may still have.
    pub(super) fn descriptors_left(&self) -> usize {
        let things = [
            &self.conversations.len(),
            &self.pings.len(),
            &self.listeners.len(),
            &self.visitors.len(),
            &self.callers.len(),
        ];
        let used = self.flows.len() + things.into_iter().sum::<usize>() + 2 * self.members.len();
        self.descriptors.saturating_sub(RESERVE + used)
    }

    /// Whether a member may have a further TCP connection.
    pub(super) fn may_have_flow(&self, member: Key) -> Verdict {
        match self.members.get(member) {
            Some(member) if !may_have_more(member.usage.flows, self.descriptors_left()) => Verdict::No,
            Some(member) if member.usage.half_open >= MOST_HALF_OPEN => Verdict::Later,
            Some(_) => Verdict::Yes,
            None => Verdict::No,
        }
    }

    /// Takes note of what a connection has by now, and tells it what it may have.
    pub(super) fn count(&mut self, key: Key) {
        let Some(connection) = self.flows.get_mut(key) else { return };
        let now = connection.usage();
        let before = std::mem::replace(&mut connection.counted, now);
        let member = connection.member;
        let Some(member) = self.members.get_mut(member) else { return };
        if before != now {
            member.usage.change(before, now);
            self.usage.change(before, now);
            self.made_room |= now.half_open < before.half_open;
        }
        let most = allowance(now.bytes, member.usage.bytes, self.usage.bytes);
        connection.flow.allow(most);
    }

    /// A connection of a member's is gone that had this.
    pub(super) fn give_back(&mut self, member: Key, had: Usage) {
        if let Some(member) = self.members.get_mut(member) {
            member.usage.change(had, Usage::default());
        }
        self.usage.change(had, Usage::default());
        self.made_room = true;
    }

    /// Hears no more from a socket at which connections come, until there is room for one.
    pub(super) fn rest(&mut self, source: Source) {
        if self.poll_of(source, false) {
            self.resting.push(source);
        }
    }

    /// Hears again from those for which there may be room.
    pub(super) fn end_rest(&mut self) {
        self.made_room = false;
        for source in std::mem::take(&mut self.resting) {
            let waits = match source {
                Source::Listener(key) => self
                    .listeners
                    .get(key)
                    .is_some_and(|listener| self.may_have_flow(listener.member) != Verdict::Yes),
                _ => false,
            };
            if waits {
                self.resting.push(source);
            } else {
                self.poll_of(source, true);
            }
        }
    }

    /// Whether the source is there to hear from, or no more.
    fn poll_of(&self, source: Source, hear: bool) -> bool {
        let descriptor = match source {
            Source::Door => Some(self.door()),
            Source::Localhost => self.localhost.as_ref().map(AsFd::as_fd),
            Source::Listener(key) => self.listeners.get(key).map(super::publish::Listener::descriptor),
            _ => None,
        };
        let Some(descriptor) = descriptor else { return false };
        if !hear {
            self.poll.remove(descriptor);
            return true;
        }
        // There was room in the set for it before.
        self.poll.add(source, descriptor).is_ok()
    }
}

#[cfg(test)]
#[path = "quota_test.rs"]
mod tests;
