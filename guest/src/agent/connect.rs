//! Other networks for a container that runs.

use hull_protocol::{Network, ProcessId, Rewrite};
use rustix::{
    fd::AsRawFd,
    fs::{self, Mode, OFlags},
};

use super::{Agent, rest::rewrite_all};
use crate::{failure::Failure, network, sys};

impl Agent {
    /// Has the container of this first process be in these networks. Its card is there from now on, also if it had none so far.
    pub(super) fn connect(
        &mut self,
        first: ProcessId,
        networks: &[Network],
        files: &[Rewrite],
    ) -> Result<(), Failure> {
        let init = self.task(first).filter(|init| init.status().is_none());
        let init = init.ok_or_else(|| Failure::invalid("the container is not running"))?;
        let (pid, pidfd) = (init.pid(), init.pidfd().as_raw_fd());
        self.views.need_proc()?;
        let own = fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Failure::internal("cannot find the guest's network", error))?;
        let control = &self.control;
        self.card.move_to(pid, || {
            sys::enter_namespaces(pidfd, libc::CLONE_NEWNET)?;
            let socket = network::socket();
            if let Err(error) = sys::enter_namespaces(own.as_raw_fd(), libc::CLONE_NEWNET) {
                control.fatal(&format!("cannot leave a container's network namespace: {error}"));
            }
            socket
        })?;
        self.card.join(networks)?;
        rewrite_all(pid, files);
        Ok(())
    }
}
