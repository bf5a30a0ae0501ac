//! What is at the other end of the frame socket: hull's own network, or passt.

use std::{
    net::Ipv4Addr,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::guest::{Guest, wire};
use crate::network::{
    DEFAULT, address,
    client::Membership,
    control::{Answer, Join, Lease},
};

/// A network with one guest in it.
pub struct Rival {
    /// The guest.
    pub guest: Guest,
    _keeps: Keeps,
}

/// What a network is there for as long as this is held.
enum Keeps {
    Member { _membership: Membership },
    Process(Child),
}

impl Drop for Keeps {
    fn drop(&mut self) {
        if let Self::Process(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Rival {
    /// In hull's usual network.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn hull() -> anyhow::Result<Self> {
        let mut membership =
            Membership::ask(DEFAULT, Join { container: "bench".to_owned(), ..Join::default() })?;
        let end = Instant::now() + Duration::from_secs(30);
        let Lease { address, mac, gateway, .. } = loop {
            match membership.answer() {
                Ok(Some(Answer::Joined(lease))) => break lease,
                Ok(Some(_)) => bail!("the network has no place for it"),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => bail!("the network does not answer"),
                Err(message) => bail!("cannot join the network: {message}"),
            }
        };
        let frames = std::mem::replace(&mut membership.frames, wire()?.0);
        let guest = Guest::new(frames, mac, address, address::mac(gateway));
        Ok(Self { guest, _keeps: Keeps::Member { _membership: membership } })
    }

    /// In passt's; `None` where that is not installed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn passt() -> anyhow::Result<Option<Self>> {
        let found = std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path).map(|folder| folder.join("passt")).find(|it| it.is_file())
        });
        let Some(program) = found else { return Ok(None) };
        let (near, far): (OwnedFd, OwnedFd) = wire()?;
        // It waits where it has to.
        rustix::io::ioctl_fionbio(&far, false)?;
        let number = far.as_raw_fd();
        let mut command = Command::new(program);
        command
            .args(["-f", "-q", "-4", "-t", "none", "-u", "none", "--mtu", "65520", "-a", "172.17.0.2"])
            .args(["-n", "16", "-g", "172.17.0.1", "-F", &number.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: between fork and exec the closure makes system calls only, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                if libc::fcntl(number, libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().context("cannot start passt")?;
        drop(far);
        let (guest, gateway) = (Ipv4Addr::new(172, 17, 0, 2), Ipv4Addr::new(172, 17, 0, 1));
        let guest = Guest::new(near, address::mac(guest), guest, address::mac(gateway));
        Ok(Some(Self { guest, _keeps: Keeps::Process(child) }))
    }
}
