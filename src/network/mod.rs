//! Networks: what a VM's network card is connected to.
//!
//! A network is a process, `hull net`, started by the first keeper that needs it ([`client`]) and gone with its last VM. Each VM has a
//! socket to it on which Ethernet frames come and go ([`link`]); the keeper's connection says who the VM is ([`control`]), and its
//! end that the VM is gone.
//!
//! ```text
//!  frame ──► switch ──┬─► another member's link
//!                     ├─► ARP, neighbours of IPv6, ICMP echo     (icmp, six)
//!                     ├─► TCP connection ──► socket of the host  (tcp)
//!                     └─► UDP conversation ─► socket of the host, or names (udp, names)
//! ```
//!
//! There is no routing and no second TCP/IP stack: whatever address a guest calls is called by a socket of the host's, and what
//! the host says is passed on. So no right of root is needed, and the host's own routes, VPNs and firewalls hold.

pub mod address;
pub mod client;
pub mod control;
pub mod egress;
mod elsewhere;
mod entry;
mod host;
mod icmp;
pub mod link;
pub mod localhost;
mod member;
mod names;
mod poll;
mod publish;
mod quota;
pub mod rate;
mod ring;
mod server;
mod six;
mod slab;
pub mod store;
pub mod subnet6;
mod switch;
mod tcp;
mod udp;
pub mod wire;

pub use server::run;

/// The network of containers that ask for none: Docker's name.
pub const DEFAULT: &str = "bridge";
/// Largest packet of a network, in bytes: guests make few large ones.
pub const MTU: u16 = 65520;
