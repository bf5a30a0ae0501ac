//! The guest's network card: configured by netlink, all in one message.
//!
//! A guest is made ready for the network that its container is most likely to be in ([`Network::FIRST`]) before one is asked for, so that
//! most containers have nothing to do here.

use std::net::Ipv4Addr;

use hull_protocol::Network;
use rustix::{
    fd::OwnedFd,
    io::{self, Errno},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice::name_to_index, recv, send,
        socket_with,
    },
};

use crate::failure::Failure;

const CARD: &str = "eth0";

/// The card, as far as it is configured.
#[derive(Debug, Default)]
pub struct Card {
    socket: Option<(OwnedFd, u32)>,
    networks: Vec<Network>,
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
        if name_to_index(&there, CARD).is_err() {
            let (here, index) = self.open()?;
            let mut request = Request::default();
            request.link_to(index, pid);
            tell(&here, &request.bytes)?;
            // It has left everything behind.
            self.networks.clear();
        }
        let index = name_to_index(&there, CARD)?;
        self.socket = Some((there, index));
        Ok(())
    }

    fn open(&mut self) -> io::Result<(OwnedFd, u32)> {
        match self.socket.take() {
            Some(open) => Ok(open),
            None => {
                let socket = socket()?;
                let index = name_to_index(&socket, CARD)?;
                Ok((socket, index))
            }
        }
    }

    fn configure(&mut self, networks: &[Network]) -> io::Result<()> {
        if self.networks == networks {
            return Ok(());
        }
        let (socket, index) = self.open()?;
        let mut request = Request::default();
        let before = std::mem::take(&mut self.networks);
        for old in before.iter().filter(|old| !networks.contains(old)) {
            // With the last address goes all that is known of neighbours, and every route.
            request.address(Request::REMOVE, index, old);
        }
        if let Some(first) = networks.first() {
            if before.first().map(|before| before.mac) != Some(first.mac) {
                request.link(index, first.mac);
            }
            for new in networks.iter().filter(|new| !before.contains(new)) {
                request.address(Request::ADD, index, new);
                request.neighbour(index, new);
            }
            if before.first() != Some(first) {
                request.route(index, first.gateway);
            }
        }
        let told = tell(&socket, &request.bytes);
        self.socket = Some((socket, index));
        self.networks = if told.is_ok() { networks.to_vec() } else { before };
        told
    }
}

/// A socket that speaks to the kernel about cards of the network namespace that the agent is in.
pub fn socket() -> io::Result<OwnedFd> {
    socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
}

/// Sends requests, and finds out whether one was refused: the kernel has answered by the time they are sent.
fn tell(socket: &OwnedFd, requests: &[u8]) -> io::Result<()> {
    send(socket, requests, SendFlags::empty())?;
    let mut answer = [0; 512];
    let length = match recv(socket, &mut answer, RecvFlags::DONTWAIT) {
        Ok((length, _)) => length,
        Err(Errno::AGAIN) => return Ok(()),
        Err(error) => return Err(error),
    };
    // A header of 16 bytes, and what went wrong, negative.
    let code = answer.get(16..length.min(20)).and_then(|bytes| bytes.first_chunk().copied());
    match code.map_or(0, i32::from_ne_bytes) {
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(-code)),
    }
}

/// Requests to the kernel (`rtnetlink(7)`), one behind the other.
#[derive(Default)]
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    const REMOVE: u16 = 1;
    const ADD: u16 = 0;

    /// A request; `rest` adds what it has behind its header.
    fn add(&mut self, kind: u16, flags: i32, rest: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((libc::NLM_F_REQUEST as u16 | flags as u16).to_ne_bytes());
        self.bytes.extend([0; 8]);
        rest(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        if let Some(place) = self.bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// The card is up, has this address, and makes up none for IPv6.
    fn link(&mut self, index: u32, mac: [u8; 6]) {
        const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
        const NONE: u8 = 1;
        self.add(libc::RTM_NEWLINK, 0, |bytes| {
            let up = (libc::IFF_UP as u32).to_ne_bytes();
            bytes.extend([0; 4]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend(up);
            bytes.extend(up);
            attribute(bytes, libc::IFLA_ADDRESS, &mac);
            let mut mode = Vec::new();
            attribute(&mut mode, IFLA_INET6_ADDR_GEN_MODE, &[NONE]);
            let mut family = Vec::new();
            attribute(&mut family, libc::AF_INET6 as u16, &mode);
            attribute(bytes, libc::IFLA_AF_SPEC, &family);
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

    fn address(&mut self, change: u16, index: u32, network: &Network) {
        let flags = if change == Self::ADD { libc::NLM_F_CREATE | libc::NLM_F_EXCL } else { 0 };
        self.add(libc::RTM_NEWADDR + change, flags, |bytes| {
            bytes.extend([libc::AF_INET as u8, network.prefix, 0, 0]);
            bytes.extend(index.to_ne_bytes());
            attribute(bytes, libc::IFA_LOCAL, &network.address.octets());
            attribute(bytes, libc::IFA_ADDRESS, &network.address.octets());
            let others = u32::MAX.checked_shr(network.prefix.into()).unwrap_or(0);
            let all = network.address.to_bits() | others;
            attribute(bytes, libc::IFA_BROADCAST, &Ipv4Addr::from_bits(all).octets());
        });
    }

    /// The gateway's Ethernet address is known, and need not be asked for.
    fn neighbour(&mut self, index: u32, network: &Network) {
        const RTM_NEWNEIGH: u16 = 28;
        const NUD_PERMANENT: u16 = 0x80;
        const NDA_DST: u16 = 1;
        const NDA_LLADDR: u16 = 2;
        self.add(RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, |bytes| {
            bytes.extend([libc::AF_INET as u8, 0, 0, 0]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend(NUD_PERMANENT.to_ne_bytes());
            bytes.extend([0, 0]);
            attribute(bytes, NDA_DST, &network.gateway.octets());
            attribute(bytes, NDA_LLADDR, &network.gateway_mac);
        });
    }

    /// Everybody else is behind the gateway.
    fn route(&mut self, index: u32, gateway: Ipv4Addr) {
        const RTPROT_BOOT: u8 = 3;
        self.add(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, |bytes| {
            bytes.extend([libc::AF_INET as u8, 0, 0, 0, libc::RT_TABLE_MAIN, RTPROT_BOOT]);
            bytes.extend([libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST, 0, 0, 0, 0]);
            attribute(bytes, libc::RTA_GATEWAY, &gateway.octets());
            attribute(bytes, libc::RTA_OIF, &index.to_ne_bytes());
        });
    }
}

/// Adds an attribute.
fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
