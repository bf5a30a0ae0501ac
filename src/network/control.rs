//! What a keeper and `hull net` say to each other: packets of JSON on a `SOCK_SEQPACKET` connection, which stands for as long as the VM
//! is in the network. What is too long for a packet is in a file beside it.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

use hull_protocol::NetworkV6;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{address, egress::Allowed, localhost::Visit, rate::Rate, wire::Mac};

/// From a keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Ports of the VM that comes with the next message, as JSON in the file beside this one.
    Ports,
    /// A VM comes into the network; beside it is the network's end of its frame socket. Answered by [`Answer::Joined`] or
    /// [`Answer::Refused`].
    Join(Join),
    /// The VM is in these networks, too, and asks for names there.
    Elsewhere {
        /// What they are called.
        networks: Vec<String>,
    },
    /// Other ports of the VM are to be reached from outside: [`Republish`], as JSON in the file beside this message. Answered by
    /// [`Answer::Published`], or by [`Answer::Refused`], and then nothing has changed.
    Publish,
    /// From another network, instead of a VM: the connection beside it is for a container that is not there.
    Visit(Visit),
}

/// What is to be different about the ports of a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Republish {
    /// Ports inside that are not to be reached any more, wherever they were.
    pub remove: Vec<(u16, Protocol)>,
    /// Ports that are to be reached from then on.
    pub add: Vec<Publication>,
}

/// A VM that comes into a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Join {
    /// Id of its container.
    pub container: String,
    /// What it is called by others.
    pub names: Vec<String>,
    /// The address that it wants.
    pub address: Option<Ipv4Addr>,
    /// It gets another where that one is taken.
    pub any_address: bool,
    /// The Ethernet address that it wants.
    pub mac: Option<Mac>,
    /// Its ports that are to be reached from outside.
    pub ports: Vec<Publication>,
    /// Whom it may call, if that is not everybody.
    pub egress: Option<Vec<Allowed>>,
    /// It reaches this host's own loopback, at the gateway's address.
    pub host: bool,
    /// How fast it may speak and be spoken to, if not as fast as can be.
    pub rate: Option<Rate>,
    /// Its port that is meant when it is called by name only.
    pub http: Option<u16>,
    /// Its card has the Ethernet address that it has in another network, whoever may have the same in this one.
    pub shares_card: bool,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port that is to be reached from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The port inside.
    pub inside: u16,
    /// Which protocol's.
    pub protocol: Protocol,
    /// Address of the host that it is reached at; all of them when absent.
    pub address: Option<IpAddr>,
    /// Ports of the host of which it is to have one; `(0, 0)` is any.
    pub ports: (u16, u16),
}

/// A port that is reached from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The port inside.
    pub inside: u16,
    /// Which protocol's.
    pub protocol: Protocol,
    /// Where.
    pub at: SocketAddr,
}

/// From `hull net`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// The VM is in the network. Where its ports are too many for a message they are in a file beside it.
    Joined(Lease),
    /// All ports of the VM that are reached from outside now, in a file beside it where they are too many for a message.
    Published {
        /// The ports.
        ports: Vec<Bound>,
    },
    /// It is not, or has what it had.
    Refused {
        /// Why.
        message: String,
    },
}

/// What a VM has in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits that all addresses of the network have in common.
    pub prefix: u8,
    /// Who knows the way to everybody else, and every name.
    pub gateway: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: Mac,
    /// What it has of IPv6.
    #[serde(default)]
    pub v6: Option<NetworkV6>,
    /// Its ports that are reached from outside.
    pub ports: Vec<Bound>,
    /// Where names without dots are looked for, too.
    pub search: Vec<String>,
}

impl Lease {
    /// All its addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v6 = self.v6.map(|v6| v6.address.into());
        std::iter::once(self.address.into()).chain(v6).collect()
    }
}

impl From<&Lease> for hull_protocol::Network {
    fn from(lease: &Lease) -> Self {
        Self {
            mac: lease.mac,
            address: lease.address,
            prefix: lease.prefix,
            gateway: lease.gateway,
            gateway_mac: address::mac(lease.gateway),
            v6: lease.v6,
        }
    }
}

/// What was published as `bound`, to be published there again.
pub fn bound_again(publications: &[Publication], bound: &[Bound]) -> Vec<Publication> {
    let mut bound = bound.iter().peekable();
    let mut again = Vec::new();
    for publication in publications {
        let Some(Bound { inside, protocol, at }) = bound.next().copied() else { break };
        // At all addresses: the other one is of IPv6.
        let is_its = |next: &&Bound| {
            at.is_ipv4()
                && next.at.is_ipv6()
                && (next.inside, next.protocol, next.at.port()) == (inside, protocol, at.port())
        };
        if publication.address.is_none() {
            bound.next_if(is_its);
        }
        again.push(Publication { ports: (at.port(), at.port()), ..publication.clone() });
    }
    again
}

/// Ports that go into a message.
const FEW: usize = 64;
/// What a file beside a message may have, in bytes: all ports there are, several times.
const MOST: u64 = 64 << 20;

/// Takes the ports out, into a file, where they are too many for a message.
///
/// # Errors
/// When the process is out of descriptors or memory.
pub fn unload<T: Serialize>(ports: &mut Vec<T>) -> io::Result<Option<OwnedFd>> {
    if ports.len() <= FEW {
        return Ok(None);
    }
    write(&std::mem::take(ports)).map(Some)
}

/// Writes a file to send beside a message.
///
/// # Errors
/// When the process is out of descriptors or memory.
pub fn write<T: Serialize>(content: &T) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("ports", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(content)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// Reads such a file.
///
/// # Errors
/// When it has something else.
pub fn read<T: DeserializeOwned>(file: OwnedFd) -> io::Result<T> {
    let mut bytes = Vec::new();
    File::from(file).take(MOST).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;
