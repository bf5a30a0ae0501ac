//! The next container's first process, made before anybody asked for it.

use rustix::{
    fd::{AsFd, OwnedFd},
    process::{WaitId, WaitIdOptions, waitid},
};

use crate::{
    cgroup::{Cgroup, Cgroups},
    child::{Child, Files, Progress},
    failure::Failure,
    process,
    skeleton::{NAMESPACES, Skeleton},
    step::Step,
    sys,
};

/// An empty container: a child in its own namespaces and cgroup, and what it is good for.
pub struct Parked {
    skeleton: Skeleton,
    child: Child,
    pidfd: OwnedFd,
    cgroup: Cgroup,
}

impl Parked {
    /// Makes one. What it has to do until it waits, it does on its own time.
    ///
    /// # Errors
    /// When the kernel refuses, or the skeleton is not possible.
    pub fn make(skeleton: Skeleton, cgroups: &mut Cgroups) -> Result<Self, Failure> {
        let steps = skeleton.steps()?;
        let cgroup = cgroups.create()?;
        match Child::park(NAMESPACES, cgroup.directory(), steps) {
            Ok((child, pidfd)) => Ok(Self { skeleton, child, pidfd, cgroup }),
            Err(error) => {
                cgroup.remove();
                Err(Failure::internal("cannot make the namespaces of a container", error))
            }
        }
    }

    /// Whether it can become a container of this kind.
    pub fn fits(&self, skeleton: &Skeleton) -> bool {
        self.skeleton == *skeleton
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it did not get as far as waiting.
    pub fn go(mut self, steps: Vec<Step>, files: &Files<'_>) -> Result<(Child, OwnedFd, Cgroup), Failure> {
        let Err(error) = self.child.go(steps, files) else {
            return Ok((self.child, self.pidfd, self.cgroup));
        };
        let failure = match self.child.progress() {
            Progress::Failed { part, step, fault } => {
                self.child.step(part, step).map(|step| process::explain(step, &Default::default(), fault))
            }
            _ => None,
        };
        self.discard();
        Err(failure
            .unwrap_or_else(|| Failure::internal("the process prepared for a container is gone", error)))
    }

    /// Ends it.
    pub fn discard(self) {
        let _ = sys::send_signal(self.pidfd.as_fd(), libc::SIGKILL as u8);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        // SAFETY: it has just been reaped.
        unsafe { self.child.released() };
        self.cgroup.remove();
    }
}
