//! Growing the guest: it begins with little memory and asks the host for more when a container needs it.
//!
//! A container that comes near to what there is (`memory.high` of its cgroup) is slowed down by the kernel and seen here. The host
//! then gives more through the virtio-mem device, whose driver adds it piece by piece; the mark is moved up after each.
//!
//! ```text
//!          near the end of memory                  all is there
//! Quiet ─────────────────────────▶ Growing ──────────────────────▶ Quiet
//!    │                                └─ nothing came for long ──▶ no longer watched: it may have what there is
//!    └─── but it is file cache ───▶ Pausing ── a moment later ───▶ Quiet
//! ```

use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
    io::{self, fcntl_dupfd_cloexec, pread},
    system::sysinfo,
};

use crate::cgroup::{self, Cgroup};

const MIB: u64 = 1 << 20;
/// Memory is added in pieces of this (Linux on x86_64).
const PIECE: u64 = 128 * MIB;
/// Least memory that is asked for at once; more where there is much already.
const LEAST_STEP: u64 = 2 * PIECE;
/// What is kept from the container for the kernel, the agent, and what is allocated while more memory comes.
const RESERVE: u64 = 128 * MIB;

/// How often to look whether memory has come.
const LOOK_NS: u64 = 20_000_000;
/// How long to wait for the next piece. A host may have none, or a guest may be slow to take it.
const PATIENCE_NS: u64 = 30_000_000_000;
/// How long not to look at a container whose memory is mostly file cache: the kernel takes that back.
const PAUSE_NS: u64 = 200_000_000;

/// The memory of a guest with one container.
#[derive(Debug, Default)]
pub struct Memory {
    /// Most that the guest may have, in bytes.
    most: u64,
    watched: Option<Watched>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    cgroup: OwnedFd,
    /// `memory.events`: a notification comes with each change.
    events: OwnedFd,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Quiet,
    Growing { had: u64, wanted: u64, look: u64, give_up: u64 },
    Pausing { until: u64 },
}

/// Bytes of memory there are.
fn present() -> u64 {
    let info = sysinfo();
    info.totalram * u64::from(info.mem_unit)
}

/// Where a container is near the end of so much memory.
fn mark(present: u64) -> u64 {
    present.saturating_sub(RESERVE + present / 32)
}

/// How much to ask for by a guest that has so much and may have `most`; `None` if it has that.
fn step(present: u64, most: u64) -> Option<u64> {
    // What the kernel took for itself at its boot does not count.
    let given = present.next_multiple_of(PIECE);
    let wanted = given + (given / 2).max(LEAST_STEP) / PIECE * PIECE;
    let wanted = wanted.min(most / PIECE * PIECE);
    (wanted > given).then_some(wanted)
}

impl Memory {
    /// Watches a cgroup, whose memory controller must be switched on, if it is not watched already. Events come with this token.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch(&mut self, group: &Cgroup, epoll: &OwnedFd, token: u64) -> io::Result<()> {
        if self.watched.as_ref().is_some_and(|watched| watched.name == group.name()) {
            return Ok(());
        }
        let cgroup = fcntl_dupfd_cloexec(group.directory(), 0)?;
        cgroup::write(cgroup.as_fd(), "memory.high", &mark(present()).to_string())?;
        let events = cgroup::open(cgroup.as_fd(), "memory.events")?;
        let watched = Watched { name: group.name().to_owned(), cgroup, events, state: State::Quiet };
        watched.listen(epoll, token)?;
        self.watched = Some(watched);
        Ok(())
    }

    /// The container may have a guest of so much memory, in bytes.
    pub fn allow(&mut self, most: u64) {
        self.most = most;
    }

    /// Watches no longer: the cgroup is gone.
    pub fn forget(&mut self) {
        self.watched = None;
    }

    /// There will be no more: the container may have all there is.
    fn give_up(&mut self) {
        if let Some(watched) = self.watched.take() {
            let _ = cgroup::write(watched.cgroup.as_fd(), "memory.high", "max");
        }
    }

    /// When to [`look`](Self::look) next, whatever happens.
    pub fn deadline(&self) -> Option<u64> {
        match self.watched.as_ref()?.state {
            State::Quiet => None,
            State::Growing { look, .. } => Some(look),
            State::Pausing { until } => Some(until),
        }
    }

    /// The container came near to what there is; gives what to ask the host for.
    pub fn pressed(&mut self, now: u64, epoll: &OwnedFd) -> Option<u64> {
        let watched = self.watched.as_mut()?;
        // Until it is known what to do about it.
        let _ = epoll::delete(epoll, &watched.events);
        let had = present();
        let Some(wanted) = step(had, self.most) else {
            self.give_up();
            return None;
        };
        if watched.is_mostly_cache(mark(had)) {
            watched.state = State::Pausing { until: now + PAUSE_NS };
            return None;
        }
        watched.state = State::Growing { had, wanted, look: now + LOOK_NS, give_up: now + PATIENCE_NS };
        Some(wanted)
    }

    /// Looks whether memory has come, if it is time to.
    pub fn look(&mut self, now: u64, epoll: &OwnedFd, token: u64) {
        let Some(watched) = &mut self.watched else { return };
        let quiet = match &mut watched.state {
            State::Growing { had, wanted, look, give_up } if now >= *look => {
                // Time in which nobody looked does not count: the VM stood still, and so may the host have that gives.
                *give_up += now - *look;
                *look = now + LOOK_NS;
                let present = present();
                if present > *had {
                    (*had, *give_up) = (present, now + PATIENCE_NS);
                    let _ = cgroup::write(watched.cgroup.as_fd(), "memory.high", &mark(present).to_string());
                }
                let complete = had.next_multiple_of(PIECE) >= *wanted;
                if !complete && now >= *give_up {
                    return self.give_up();
                }
                complete
            }
            State::Pausing { until } => now >= *until,
            _ => false,
        };
        if quiet {
            watched.state = State::Quiet;
            // If that fails it gets no more memory, and the kernel does what it does without.
            let _ = watched.listen(epoll, token);
        }
    }
}

impl Watched {
    /// Has epoll tell of the next event, and not of those before.
    fn listen(&self, epoll: &OwnedFd, token: u64) -> io::Result<()> {
        pread(&self.events, &mut [0; 256], 0)?;
        epoll::add(epoll, &self.events, EventData::new_u64(token), EventFlags::PRI)
    }

    fn is_mostly_cache(&self, mark: u64) -> bool {
        let Ok(text) = cgroup::read(self.cgroup.as_fd(), "memory.stat") else { return false };
        let used: u64 = ["anon", "shmem", "kernel"].iter().map(|name| cgroup::counter(&text, name)).sum();
        used < mark / 2
    }
}

#[cfg(test)]
#[path = "memory_test.rs"]
mod tests;
