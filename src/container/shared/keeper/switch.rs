//! The VM's one card, and the networks that its containers are in: frames go from one to the other by Ethernet address.
//!
//! In the guest each container's card is on top of the VM's with an address of its own, and none of them reaches another there. Here
//! what such an address has sent goes to its own network, and what that sends goes to this address whatever it says: so
//! containers are as far from each other as in VMs of their own, but for one that may write frames itself (`NET_RAW` or `NET_ADMIN`, which
//! it has when it is given them): the guest's kernel does not look at who these say they are from. Nothing is lost on the way, since who is not read does not send.

use std::{
    io,
    os::fd::OwnedFd,
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};

use crate::network::{
    link::{Link, Read},
    wire::Mac,
};

/// Bytes of the two addresses in front of a frame.
const ADDRESSES: usize = 12;

/// Nobody is at the other end.
const GONE: PollFlags = PollFlags::HUP.union(PollFlags::ERR);

/// Who is to be connected.
enum Change {
    Connect(Mac, OwnedFd),
    Part(Mac),
    End,
}

/// The switch of a VM, as its keeper has it. It ends with this.
pub struct Switch {
    changes: Sender<Change>,
    wake: OwnedFd,
}

impl Switch {
    /// A switch, and the VM's end of its card's frame socket.
    ///
    /// # Errors
    /// When the process is out of descriptors or threads.
    pub fn start() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (card, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (changes, changed) = channel();
        let mut work = Work { card: Link::new(card), members: Vec::new(), changed, wake: wake.try_clone()? };
        thread::Builder::new().name("switch".to_owned()).spawn(move || while work.turn() {})?;
        Ok((Self { changes, wake }, theirs))
    }

    /// Whoever has this address is at that socket from now on.
    pub fn connect(&self, mac: Mac, socket: OwnedFd) {
        self.change(Change::Connect(mac, socket));
    }

    /// Nobody has this address any more.
    pub fn part(&self, mac: Mac) {
        self.change(Change::Part(mac));
    }

    fn change(&self, change: Change) {
        // One that is gone has no VM any more.
        let _ = self.changes.send(change);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// What the switch's thread has.
struct Work {
    card: Link,
    members: Vec<(Mac, Link)>,
    changed: Receiver<Change>,
    wake: OwnedFd,
}

impl Work {
    /// Waits until something happens and sees to it; `false` is the end.
    fn turn(&mut self) -> bool {
        let input_if = |listens| if listens { PollFlags::IN } else { PollFlags::empty() };
        let output_if = |waits| if waits { PollFlags::OUT } else { PollFlags::empty() };
        // Whoever has something to take keeps the other side from being read.
        let hears_card = self.members.iter().all(|(_, link)| link.has_room());
        let hears_members = self.card.has_room();
        let mut sources = vec![
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::from_borrowed_fd(self.card.socket(), input_if(hears_card) | output_if(!hears_members)),
        ];
        for (_, link) in &self.members {
            let flags = input_if(hears_members) | output_if(!link.has_room());
            sources.push(PollFd::from_borrowed_fd(link.socket(), flags));
        }
        if poll(&mut sources, None).is_err() {
            return true;
        }
        let flags: Vec<PollFlags> = sources.iter().map(PollFd::revents).collect();
        drop(sources);
        if flags[1].contains(PollFlags::OUT) {
            self.card.notice_room();
        }
        for ((_, link), flags) in self.members.iter_mut().zip(&flags[2..]) {
            if flags.contains(PollFlags::OUT) {
                link.notice_room();
            }
        }
        // What was read before and had to wait, and what has come.
        if flags[1].intersects(GONE) || !self.read_card(flags[1].contains(PollFlags::IN)) {
            return false;
        }
        self.read_members(&flags[2..]);
        if flags[0].contains(PollFlags::IN) {
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            return self.change();
        }
        true
    }

    /// Passes on what the guest has sent. `false` when its VM is gone.
    fn read_card(&mut self, ready: bool) -> bool {
        let Self { card, members, .. } = self;
        if ready && members.iter().all(|(_, link)| link.has_room()) && card.read() == Read::End {
            return false;
        }
        while members.iter().all(|(_, link)| link.has_room()) {
            let Ok(next) = card.next_frame() else { return false };
            let Some(frame) = next else { break };
            let bytes = card.take_bytes();
            let frame_bytes = &bytes[frame];
            if let Some(from) = frame_bytes.get(6..ADDRESSES)
                && let Some((_, link)) = members.iter_mut().find(|(mac, _)| mac == from)
            {
                let (head, rest) = frame_bytes.split_at(ADDRESSES);
                link.send_or_keep(head, rest);
            }
            card.put_back(bytes);
        }
        true
    }

    /// Passes on what networks have sent.
    fn read_members(&mut self, flags: &[PollFlags]) {
        let Self { card, members, .. } = self;
        let mut gone = Vec::new();
        for (index, (mac, link)) in members.iter_mut().enumerate() {
            let flags = flags.get(index).copied().unwrap_or(PollFlags::empty());
            let ready = flags.contains(PollFlags::IN) && card.has_room();
            if flags.intersects(GONE) || (ready && link.read() == Read::End) {
                gone.push(*mac);
                continue;
            }
            while card.has_room() {
                let Ok(next) = link.next_frame() else {
                    gone.push(*mac);
                    break;
                };
                let Some(frame) = next else { break };
                let bytes = link.take_bytes();
                if let Some(rest) = bytes[frame].get(6..) {
                    card.send_or_keep(mac, rest);
                }
                link.put_back(bytes);
            }
        }
        members.retain(|(mac, _)| !gone.contains(mac));
    }

    fn change(&mut self) -> bool {
        loop {
            match self.changed.try_recv() {
                Ok(Change::Connect(mac, socket)) => {
                    self.members.retain(|(known, _)| *known != mac);
                    self.members.push((mac, Link::new(socket)));
                }
                Ok(Change::Part(mac)) => self.members.retain(|(known, _)| *known != mac),
                Err(TryRecvError::Empty) => return true,
                Ok(Change::End) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.change(Change::End);
    }
}
