//! A VM in a network.

use std::net::Ipv4Addr;

use super::{link::Link, slab::Key, wire::Mac};
use crate::vmm::channel::Channel;

/// A VM in a network.
pub struct Member {
    /// Its end of the network.
    pub link: Link,
    /// Its keeper.
    pub keeper: Channel,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// What it is called by others, in small letters.
    pub names: Vec<String>,
    /// Sockets of its published ports.
    pub listeners: Vec<Key>,
}

impl Member {
    /// Whether it is called this; `network` may follow, behind a dot.
    pub fn is_called(&self, name: &str, network: &str) -> bool {
        let name = name.strip_suffix(network).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
        self.names.iter().any(|own| own == name)
    }
}
