//! The next container's first process, made before anybody asked for it.

use hull_protocol::{Limits, Rlimit};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, OwnedFd},
    io::{Errno, retry_on_intr},
    process::{WaitId, WaitIdOptions, waitid},
    time::Timespec,
};

use crate::{
    cgroup::{Cgroup, Cgroups},
    child::{Child, Files, Progress},
    failure::{Failure, Reason},
    network::Card,
    skeleton::Skeleton,
    step::Step,
    sys,
    user_namespace::UserNamespace,
    views::Views,
};

/// An empty container: a child in its own namespaces and cgroup, and what it is good for. Dropped, it ends.
pub struct Parked {
    skeleton: Skeleton,
    parts: Option<Parts>,
    user_namespace: Option<UserNamespace>,
    /// Its network card, where it has one of its own.
    card: Option<Card>,
    /// What it has yet to do before what it is told: a child in a user namespace can do nothing before it has ids.
    pending: Vec<Step>,
}

/// What a container gets of it.
pub struct Parts {
    /// The process.
    pub child: Child,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Its cgroup.
    pub cgroup: Cgroup,
}

impl Parked {
    /// Makes one. What it has to do until it waits, it does on its own time.
    ///
    /// # Errors
    /// When the kernel refuses, or the skeleton is not possible.
    pub fn make(skeleton: Skeleton, cgroups: &mut Cgroups, views: &mut Views) -> Result<Self, Failure> {
        let steps = skeleton.steps()?;
        let cgroup = cgroups.create()?;
        let (kinds, first, pending) = if skeleton.has_user_namespace() {
            // To mount these, such a container must be able to see the guest's.
            views.need_proc()?;
            views.need_sys()?;
            (libc::CLONE_NEWPID | libc::CLONE_NEWUSER, Vec::new(), steps)
        } else {
            (libc::CLONE_NEWPID, steps, Vec::new())
        };
        let (child, pidfd) = match Child::park(kinds, cgroup.directory(), first) {
            Ok(made) => made,
            Err(error) => {
                cgroup.remove();
                return Err(Failure::internal("cannot make the namespaces of a container", error));
            }
        };
        let pid = child.pid();
        let parts = Some(Parts { child, pidfd, cgroup });
        let mut parked = Self { skeleton, parts, user_namespace: None, card: None, pending };
        if parked.skeleton.has_user_namespace()
            && let Some(parts) = &parked.parts
        {
            parked.user_namespace = Some(UserNamespace::fill(pid, parts.pidfd.as_fd())?);
        }
        Ok(parked)
    }

    /// Waits until all that it does before it waits itself is done, or failed.
    pub fn settle(&self) {
        if let Some(parts) = &self.parts
            && self.pending.is_empty()
        {
            let mut news = [PollFd::new(parts.child.socket(), PollFlags::IN)];
            let _ = retry_on_intr(|| poll(&mut news, None));
        }
    }

    /// Whether [`settle`](Self::settle) would not wait.
    pub fn is_settled(&self) -> bool {
        self.parts.as_ref().is_none_or(|parts| {
            let mut news = [PollFd::new(parts.child.socket(), PollFlags::IN)];
            !self.pending.is_empty()
                || poll(&mut news, Some(&Timespec::default())).is_ok_and(|count| count > 0)
        })
    }

    /// Whether it can become a container of this kind.
    pub fn fits(&self, skeleton: &Skeleton) -> bool {
        self.skeleton == *skeleton
    }

    /// Its user namespace, if it has one of its own.
    pub fn user_namespace(&self) -> Option<&UserNamespace> {
        self.user_namespace.as_ref()
    }

    /// Applies limits to its cgroup and its process.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn limit(&self, limits: &Limits, rlimits: &[Rlimit], cgroups: &mut Cgroups) -> Result<(), Failure> {
        let Some(parts) = &self.parts else { return Ok(()) };
        cgroups.limit(&parts.cgroup, limits)?;
        for Rlimit { resource, soft, hard } in rlimits {
            sys::set_limit(parts.child.pid(), *resource, *soft, *hard).map_err(|error| {
                let message = format!("cannot set resource limit {resource}: {}", Reason(error));
                Failure::invalid(message)
            })?;
        }
        Ok(())
    }

    /// Gives it a network card on top of this one, if it has none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn branch(&mut self, card: &mut Card) -> Result<(), Failure> {
        if self.card.is_none() {
            // Its namespaces it makes itself.
            self.settle();
            if let Some(parts) = &self.parts {
                self.card = Some(card.branch(parts.child.pid(), parts.pidfd.as_fd())?);
            }
        }
        Ok(())
    }

    /// Its network card, from here on to be seen to by whoever takes it.
    pub fn take_card(&mut self) -> Option<Card> {
        self.card.take()
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.parts.as_ref().map(|parts| &parts.cgroup)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it did not get as far as waiting.
    pub fn go(
        mut self,
        steps: Vec<Step>,
        files: &Files<'_>,
    ) -> Result<(Parts, Option<UserNamespace>), Failure> {
        let mut all = std::mem::take(&mut self.pending);
        all.extend(steps);
        let gone = |error| Failure::internal("the process prepared for a container is gone", error);
        let parts = self.parts.as_mut().ok_or_else(|| gone(Errno::SRCH))?;
        if let Err(error) = parts.child.go(all, files) {
            let failure = match parts.child.progress() {
                Progress::Failed { part, step, fault } => {
                    parts.child.step(part, step).map(|step| step.explain(fault))
                }
                _ => None,
            };
            return Err(failure.unwrap_or_else(|| gone(error)));
        }
        let parts = self.parts.take().ok_or_else(|| gone(Errno::SRCH))?;
        Ok((parts, self.user_namespace.take()))
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(Parts { child, pidfd, cgroup }) = self.parts.take() {
            let _ = sys::send_signal(pidfd.as_fd(), libc::SIGKILL as u8);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            // SAFETY: it has just been reaped.
            unsafe { child.released() };
            cgroup.remove();
        }
    }
}
