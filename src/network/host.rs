//! Whom a guest means by an address: somebody in the world, whom the host asks for names, or the host itself.
//!
//! The host is at the gateway's address, by the names that Docker has for it and by hull's own. It is reached there as anybody would
//! reach it from outside; its loopback only by who was given that by name (`--add-host NAME:host-gateway`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;

use super::{address, names, server::Network, slab::Key};

/// What the host is called.
const NAMES: [&str; 3] = ["host.hull.internal", "host.docker.internal", "gateway.docker.internal"];

/// Whether this is what the host is called; in small letters.
pub fn is_called(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether this one of them is hull's own.
pub fn is_own_name(name: &str) -> bool {
    name == NAMES[0]
}

/// The address at which others reach this host, if it has one of that kind.
fn own_address(is_ipv4: bool) -> Option<IpAddr> {
    // Nothing is sent: the system only says which address it would be sent from. The others are such that nobody has (RFC 5737, RFC 3849).
    let (any, nobody): (IpAddr, IpAddr) = if is_ipv4 {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(198, 51, 100, 1).into())
    } else {
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((nobody, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| address::reachable(*address))
}

impl Network {
    /// Whom to call for a member that calls this.
    ///
    /// # Errors
    /// `ECONNREFUSED` when nobody is there for it, `EACCES` when it may not call.
    pub(super) fn meant(&mut self, member: Key, to: SocketAddr) -> Result<SocketAddr, Errno> {
        let (now, is_gateway) = (self.now, self.is_gateway(to.ip()));
        let member = self.members.get(member).ok_or(Errno::ACCESS)?;
        let limited = |ip| !member.egress.allows(ip, now);
        let to = if !is_gateway {
            to
        } else if to.port() == names::PORT {
            // It is looked at what is asked, which cannot be done in a stream.
            if member.egress.is_limited() {
                return Err(Errno::CONNREFUSED);
            }
            return self.resolver().servers.first().copied().ok_or(Errno::CONNREFUSED);
        } else if member.host {
            let loopback: IpAddr =
                if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            return Ok(SocketAddr::new(loopback, to.port()));
        } else {
            let own = own_address(to.is_ipv4()).ok_or(Errno::CONNREFUSED)?;
            // By any of its addresses and names.
            let named = NAMES.iter().any(|name| member.egress.allows_name(name));
            if limited(to.ip()) && limited(own) && !named {
                return Err(Errno::ACCESS);
            }
            return Ok(SocketAddr::new(own, to.port()));
        };
        if !address::reachable(to.ip()) {
            return Err(Errno::CONNREFUSED);
        }
        if limited(to.ip()) { Err(Errno::ACCESS) } else { Ok(to) }
    }
}
