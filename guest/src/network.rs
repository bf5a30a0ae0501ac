//! The guest's network card: configured by netlink, all in one message.
//!
//! A guest is made ready for the network that its container is most likely to be in ([`Network::FIRST`]) before one is asked for, so that
//! most containers have nothing to do here.

use std::{
    ffi::CStr,
    net::{IpAddr, Ipv4Addr},
};

use hull_protocol::{Network, NetworkV6};
use rustix::{
    fd::{AsRawFd, BorrowedFd, OwnedFd},
    io::{self, Errno},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice::name_to_index, recv, send,
        socket_with,
    },
    process::{PidfdFlags, getpid, pidfd_open},
};

use crate::{failure::Failure, sys};

const CARD: &CStr = c"eth0";
const CARD_NAME: &str = "eth0";

/// Name of a new card while the kernel looks for it in the namespace that it comes from.
const BRANCH: &CStr = c"branch";

/// Ethernet address of a card that is no container's own: none has it, so that none is taken for the card.
const NOBODY: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

/// The card, as far as it is configured.
#[derive(Debug, Default)]
pub struct Card {
    socket: Option<(OwnedFd, u32)>,
    networks: Vec<Network>,
    /// A change could not be taken back: of what it had, some may be missing.
    doubtful: bool,
    /// It only carries those of containers.
    bare: bool,
}

impl Card {
    /// Configures it for the first network there is. If that fails, so will what is asked for later, and say why.
    pub fn prepare(&mut self) {
        let _ = self.configure(&[Network::FIRST]);
    }

    /// Configures it for these networks, as far as it is not.
    ///
    /// # Errors
    /// When there is no card, or the kernel refuses.
    pub fn join(&mut self, networks: &[Network]) -> Result<(), Failure> {
        self.configure(networks)
            .map_err(|error| Failure::internal("cannot configure the network card", error))
    }

    /// Moves it to the network namespace of a process, unless it is there; `inside` makes a socket there.
    ///
    /// # Errors
    /// When there is no card, or the kernel refuses.
    pub fn move_to(&mut self, pid: u32, inside: impl FnOnce() -> io::Result<OwnedFd>) -> Result<(), Failure> {
        self.try_move(pid, inside)
            .map_err(|error| Failure::internal("cannot give the network card to the container", error))
    }

    fn try_move(&mut self, pid: u32, inside: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<()> {
        let there = inside()?;
        if name_to_index(&there, CARD_NAME).is_err() {
            let (here, index) = self.open()?;
            let mut request = Request::default();
            request.link_to(index, pid);
            tell(&here, &request.bytes)?;
            // It has left everything behind.
            self.networks.clear();
            self.doubtful = false;
        }
        let index = name_to_index(&there, CARD_NAME)?;
        self.socket = Some((there, index));
        Ok(())
    }

    fn open(&mut self) -> io::Result<(OwnedFd, u32)> {
        match self.socket.take() {
            Some(open) => Ok(open),
            None => netlink(CARD),
        }
    }

    /// All of it is done, or nothing.
    fn configure(&mut self, networks: &[Network]) -> io::Result<()> {
        if self.networks == networks && !self.doubtful {
            return Ok(());
        }
        let (socket, index) = self.open()?;
        if std::mem::take(&mut self.doubtful) {
            // Whatever of it there is goes, and nothing is left to take for granted.
            let _ = ask(&socket, &Change::between(index, &self.networks, &[]).requests.bytes);
            self.networks.clear();
        }
        let made = Change::between(index, &self.networks, networks).make(&socket);
        self.socket = Some((socket, index));
        match made {
            Ok(()) => {
                self.networks = networks.to_vec();
                Ok(())
            }
            Err(Refused { why, taken_back }) => {
                self.doubtful = !taken_back;
                Err(why)
            }
        }
    }
}

/// A socket that speaks to the kernel about cards of the network namespace that the agent is in.
pub fn socket() -> io::Result<OwnedFd> {
    socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
}

impl Card {
    /// A card for the container whose first process is this one, in a network namespace of its own. Its frames go through this one, with an
    /// Ethernet address of its own, and none to or from another container (macvlan in VEPA mode): who speaks to whom is decided
    /// where those of all VMs come together.
    ///
    /// # Errors
    /// When there is no card, or the kernel refuses.
    pub fn branch(&mut self, pid: u32, pidfd: BorrowedFd<'_>) -> Result<Self, Failure> {
        let fail = |error| Failure::internal("cannot give the container a network card", error);
        let (socket, index) = self.open().map_err(fail)?;
        let mut request = Request::default();
        if !self.bare {
            for old in faces(&std::mem::take(&mut self.networks)) {
                request.address(REMOVE, index, &old);
            }
            request.link(index, NOBODY);
        }
        request.branch(index, pid);
        let told = tell(&socket, &request.bytes);
        self.socket = Some((socket, index));
        told.map_err(fail)?;
        self.bare = true;
        // A socket stays in the namespace that it was made in.
        let own = pidfd_open(getpid(), PidfdFlags::empty()).map_err(fail)?;
        sys::enter_namespaces(pidfd.as_raw_fd(), libc::CLONE_NEWNET).map_err(fail)?;
        let inside = netlink(BRANCH);
        sys::enter_namespaces(own.as_raw_fd(), libc::CLONE_NEWNET).map_err(fail)?;
        let (socket, index) = inside.map_err(fail)?;
        let mut request = Request::default();
        request.rename(index);
        tell(&socket, &request.bytes).map_err(fail)?;
        Ok(Self { socket: Some((socket, index)), ..Self::default() })
    }

    /// Whether it has the Ethernet address that one in these networks has.
    pub fn is_like(&self, networks: &[Network]) -> bool {
        let address = |networks: &[Network]| networks.first().map(|network| network.mac);
        address(&self.networks).is_some() && address(&self.networks) == address(networks)
    }

    /// Gives the card an address of nobody's, with this number, so that another can have its own.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn disguise(&mut self, number: u32) -> io::Result<()> {
        let Some((socket, index)) = &self.socket else { return Ok(()) };
        let [a, b, c, d] = number.to_be_bytes();
        let mut request = Request::default();
        // The guest's own card is another nobody.
        request.link(*index, [0x02, 1, a, b, c, d]);
        tell(socket, &request.bytes)?;
        self.networks.clear();
        Ok(())
    }

    /// Takes the card away, so that another can have its address at once: its namespace may be there for long.
    pub fn remove(self) {
        if let Some((socket, index)) = self.socket {
            let mut request = Request::default();
            request.remove(index);
            let _ = tell(&socket, &request.bytes);
        }
    }
}

/// A socket for requests, and the number that the card of this name has where it was made.
fn netlink(card: &CStr) -> io::Result<(OwnedFd, u32)> {
    let socket = socket()?;
    let index = name_to_index(&socket, card.to_str().unwrap_or_default())?;
    Ok((socket, index))
}

/// Sends requests, and finds out whether one was refused.
fn tell(socket: &OwnedFd, requests: &[u8]) -> io::Result<()> {
    ask(socket, requests)?.first().map_or(Ok(()), |(_, error)| Err(*error))
}

/// Sends requests, and finds out which were refused, by their numbers: the kernel has answered by the time they are sent.
fn ask(socket: &OwnedFd, requests: &[u8]) -> io::Result<Vec<(u32, Errno)>> {
    send(socket, requests, SendFlags::empty())?;
    let mut refused = Vec::new();
    let mut lost = None;
    let mut answer = [0; 512];
    loop {
        let length = match recv(socket, &mut answer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => length.min(answer.len()),
            Err(Errno::AGAIN) => return lost.map_or(Ok(refused), Err),
            // Those that are there are not to be taken for answers to what is asked next.
            Err(error @ Errno::NOBUFS) => {
                lost = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        // A header of 16 bytes, with the request's number at 8, and what went wrong, negative.
        let word = |at: usize| answer[..length].get(at..).and_then(|bytes| bytes.first_chunk().copied());
        let (number, code) = (word(8).map_or(0, u32::from_ne_bytes), word(16).map_or(0, i32::from_ne_bytes));
        if code != 0 {
            refused.push((number, Errno::from_raw_os_error(-code)));
        }
    }
}

/// How the card is in a network by one version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Face {
    mac: [u8; 6],
    address: IpAddr,
    prefix: u8,
    gateway: IpAddr,
    gateway_mac: [u8; 6],
}

impl Face {
    fn is_v6(&self) -> bool {
        self.address.is_ipv6()
    }

    fn family(&self) -> u8 {
        if self.is_v6() { libc::AF_INET6 as u8 } else { libc::AF_INET as u8 }
    }
}

/// How the card is in these networks, in their order.
fn faces(networks: &[Network]) -> Vec<Face> {
    let face = |network: &Network, address, prefix, gateway| {
        let Network { mac, gateway_mac, .. } = *network;
        Face { mac, address, prefix, gateway, gateway_mac }
    };
    let both = |network: &Network| {
        let v4 = face(network, network.address.into(), network.prefix, network.gateway.into());
        let v6 = |v6: NetworkV6| face(network, v6.address.into(), v6.prefix, v6.gateway.into());
        std::iter::once(v4).chain(network.v6.map(v6)).collect::<Vec<_>>()
    };
    networks.iter().flat_map(both).collect()
}

/// Requests that are to be granted together. What is to be there may be so already: the container can have its own way to everybody else,
/// or the address that it is given.
#[derive(Default)]
struct Change {
    requests: Request,
    /// What takes each of them back, in their order; and whether it does not matter that one was refused.
    steps: Vec<(Request, bool)>,
}

/// A change that was not made.
#[derive(Debug)]
struct Refused {
    why: Errno,
    /// All is as it was before.
    taken_back: bool,
}

impl Change {
    /// What makes of a card in these networks one in those.
    fn between(index: u32, before: &[Network], after: &[Network]) -> Self {
        let mut change = Self::default();
        let (before, after) = (faces(before), faces(after));
        let of = |all: &[Face], is_v6| all.iter().find(|face| face.is_v6() == is_v6).copied();
        // What is not there any more need not be taken away: the container may have done that, or the kernel, which forgets neighbours and
        // routes with the last IPv4 address. Whether one is the last is not known, as the container may have added others.
        for is_v6 in [false, true] {
            let (old, new) = (of(&before, is_v6), of(&after, is_v6));
            if let Some(old) = old.filter(|_| old != new) {
                change.step(
                    true,
                    |request| request.route(REMOVE, index, &old),
                    |request| request.route(ADD, index, &old),
                );
            }
        }
        for old in before.iter().filter(|old| !after.contains(old)) {
            change.step(
                true,
                |request| request.neighbour(REMOVE, index, old),
                |request| request.neighbour(ADD, index, old),
            );
            change.step(
                true,
                |request| request.address(REMOVE, index, old),
                |request| request.address(ADD, index, old),
            );
        }
        let mac = |all: &[Face]| all.first().map(|face| face.mac);
        if let Some(new) = mac(&after).filter(|new| mac(&before) != Some(*new)) {
            let old = mac(&before).unwrap_or(NOBODY);
            let stays: Vec<_> = before.iter().filter(|face| after.contains(face)).collect();
            change.step(
                false,
                |request| request.link(index, new),
                |request| {
                    request.link(index, old);
                    stays.iter().for_each(|face| request.neighbour(ADD, index, face));
                },
            );
            // With its Ethernet address goes all that it knows of neighbours.
            for face in &stays {
                let add = |request: &mut Request| request.neighbour(ADD, index, face);
                change.step(false, add, add);
            }
        }
        for new in after.iter().filter(|new| !before.contains(new)) {
            change.step(
                false,
                |request| request.address(ADD, index, new),
                |request| request.address(REMOVE, index, new),
            );
            change.step(
                false,
                |request| request.neighbour(ADD, index, new),
                |request| request.neighbour(REMOVE, index, new),
            );
        }
        for is_v6 in [false, true] {
            if let Some(first) = of(&after, is_v6).filter(|first| of(&before, is_v6) != Some(*first)) {
                change.step(
                    false,
                    |request| request.route(ADD, index, &first),
                    |request| request.route(REMOVE, index, &first),
                );
            }
        }
        change
    }

    /// Adds one request, and what takes it back.
    fn step(
        &mut self,
        may_fail: bool,
        make: impl FnOnce(&mut Request),
        take_back: impl FnOnce(&mut Request),
    ) {
        make(&mut self.requests);
        let mut back = Request::default();
        take_back(&mut back);
        self.steps.push((back, may_fail));
    }

    /// Makes it. When one of its requests is refused the others are taken back.
    fn make(self, socket: &OwnedFd) -> Result<(), Refused> {
        let (refused, why) = match ask(socket, &self.requests.bytes) {
            Ok(refused) => {
                let matters = |(number, error): &&(u32, Errno)| {
                    let step = self.steps.get(*number as usize);
                    step.is_none_or(|(_, may_fail)| {
                        !may_fail && *error != Errno::EXIST && !is_without_v6(*error)
                    })
                };
                let Some((_, why)) = refused.iter().find(matters) else { return Ok(()) };
                let why = *why;
                (refused, why)
            }
            // Which were granted is not known.
            Err(why) => (Vec::new(), why),
        };
        let mut taken_back = true;
        for (number, (back, _)) in self.steps.iter().enumerate().rev() {
            if !refused.iter().any(|(other, _)| *other as usize == number) {
                // One at a time, as the next goes by what is there then.
                taken_back &= ask(socket, &back.bytes)
                    .is_ok_and(|refused| refused.iter().all(|(_, error)| is_so(*error)));
            }
        }
        Err(Refused { why, taken_back })
    }
}

/// Whether something was refused because it is already there, or already gone.
fn is_so(error: Errno) -> bool {
    matches!(error, Errno::EXIST | Errno::NOENT | Errno::SRCH | Errno::ADDRNOTAVAIL)
}

/// Whether IPv6 was refused by a guest or a container that has it switched off; no other address is for that.
fn is_without_v6(error: Errno) -> bool {
    matches!(error, Errno::ACCESS | Errno::AFNOSUPPORT | Errno::OPNOTSUPP)
}

/// Whether something is to be there.
const ADD: u16 = 0;
const REMOVE: u16 = 1;

/// Requests to the kernel (`rtnetlink(7)`), one behind the other.
#[derive(Default)]
struct Request {
    bytes: Vec<u8>,
    /// How many they are; each has as its number how many were before it.
    count: u32,
}

impl Request {
    /// A request; `rest` adds what it has behind its header.
    fn add(&mut self, kind: u16, flags: i32, rest: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((libc::NLM_F_REQUEST as u16 | flags as u16).to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.count += 1;
        rest(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        if let Some(place) = self.bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// The card is up, has this address, and makes up none for IPv6.
    fn link(&mut self, index: u32, mac: [u8; 6]) {
        self.add(libc::RTM_NEWLINK, 0, |bytes| {
            let up = (libc::IFF_UP as u32).to_ne_bytes();
            bytes.extend([0; 4]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend(up);
            bytes.extend(up);
            attribute(bytes, libc::IFLA_ADDRESS, &mac);
            make_up_none(bytes);
        });
    }

    /// A card on top of that one, in the network namespace of a process.
    fn branch(&mut self, index: u32, pid: u32) {
        const IFLA_MACVLAN_MODE: u16 = 1;
        const VEPA: u32 = 2;
        let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.add(libc::RTM_NEWLINK, create, |bytes| {
            bytes.extend([0; 16]);
            attribute(bytes, libc::IFLA_LINK, &index.to_ne_bytes());
            attribute(bytes, libc::IFLA_IFNAME, BRANCH.to_bytes_with_nul());
            attribute(bytes, libc::IFLA_NET_NS_PID, &pid.to_ne_bytes());
            let mut mode = Vec::new();
            attribute(&mut mode, IFLA_MACVLAN_MODE, &VEPA.to_ne_bytes());
            let mut about = Vec::new();
            attribute(&mut about, libc::IFLA_INFO_KIND, b"macvlan\0");
            attribute(&mut about, libc::IFLA_INFO_DATA, &mode);
            attribute(bytes, libc::IFLA_LINKINFO, &about);
        });
    }

    /// There is no such card any more.
    fn remove(&mut self, index: u32) {
        self.add(libc::RTM_DELLINK, 0, |bytes| {
            bytes.extend([0; 4]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend([0; 8]);
        });
    }

    /// The card gets the name that all have.
    fn rename(&mut self, index: u32) {
        self.add(libc::RTM_NEWLINK, 0, |bytes| {
            bytes.extend([0; 4]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend([0; 8]);
            attribute(bytes, libc::IFLA_IFNAME, CARD.to_bytes_with_nul());
            make_up_none(bytes);
        });
    }

    /// The card goes to the network namespace of this process.
    fn link_to(&mut self, index: u32, pid: u32) {
        self.add(libc::RTM_NEWLINK, 0, |bytes| {
            bytes.extend([0; 4]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend([0; 8]);
            attribute(bytes, libc::IFLA_NET_NS_PID, &pid.to_ne_bytes());
        });
    }

    fn address(&mut self, change: u16, index: u32, face: &Face) {
        self.add(libc::RTM_NEWADDR + change, flags(change), |bytes| {
            // Whether anybody else has an IPv6 address is not asked: the network has given it to this one.
            let nodad = if face.is_v6() { libc::IFA_F_NODAD as u8 } else { 0 };
            bytes.extend([face.family(), face.prefix, nodad, 0]);
            bytes.extend(index.to_ne_bytes());
            ip(bytes, libc::IFA_LOCAL, face.address);
            ip(bytes, libc::IFA_ADDRESS, face.address);
            if let IpAddr::V4(address) = face.address {
                let others = u32::MAX.checked_shr(face.prefix.into()).unwrap_or(0);
                let all = Ipv4Addr::from_bits(address.to_bits() | others);
                ip(bytes, libc::IFA_BROADCAST, all.into());
            }
        });
    }

    /// The gateway's Ethernet address is known, and need not be asked for.
    fn neighbour(&mut self, change: u16, index: u32, face: &Face) {
        const NUD_PERMANENT: u16 = 0x80;
        const NDA_DST: u16 = 1;
        const NDA_LLADDR: u16 = 2;
        // What was found out by asking, or not, is no more than that.
        let flags = if change == ADD { libc::NLM_F_CREATE | libc::NLM_F_REPLACE } else { 0 };
        self.add(libc::RTM_NEWNEIGH + change, flags, |bytes| {
            bytes.extend([face.family(), 0, 0, 0]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend(NUD_PERMANENT.to_ne_bytes());
            bytes.extend([0, 0]);
            ip(bytes, NDA_DST, face.gateway);
            attribute(bytes, NDA_LLADDR, &face.gateway_mac);
        });
    }

    /// Everybody else is behind the gateway.
    fn route(&mut self, change: u16, index: u32, face: &Face) {
        const RTPROT_BOOT: u8 = 3;
        self.add(libc::RTM_NEWROUTE + change, flags(change), |bytes| {
            bytes.extend([face.family(), 0, 0, 0, libc::RT_TABLE_MAIN, RTPROT_BOOT]);
            bytes.extend([libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST, 0, 0, 0, 0]);
            ip(bytes, libc::RTA_GATEWAY, face.gateway);
            attribute(bytes, libc::RTA_OIF, &index.to_ne_bytes());
        });
    }
}

/// Adds an attribute that is an address.
fn ip(bytes: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => attribute(bytes, kind, &address.octets()),
        IpAddr::V6(address) => attribute(bytes, kind, &address.octets()),
    }
}

/// What is added takes the place of nothing.
fn flags(change: u16) -> i32 {
    if change == ADD { libc::NLM_F_CREATE | libc::NLM_F_EXCL } else { 0 }
}

/// Adds that no IPv6 address is to be made up.
fn make_up_none(bytes: &mut Vec<u8>) {
    const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
    const NONE: u8 = 1;
    let mut mode = Vec::new();
    attribute(&mut mode, IFLA_INET6_ADDR_GEN_MODE, &[NONE]);
    let mut family = Vec::new();
    attribute(&mut family, libc::AF_INET6 as u16, &mode);
    attribute(bytes, libc::IFLA_AF_SPEC, &family);
}

/// Adds an attribute.
fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
#[path = "network_test.rs"]
mod tests;
