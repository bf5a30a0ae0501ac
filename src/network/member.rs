//! A VM in a network.

use std::{collections::VecDeque, net::Ipv4Addr, time::Instant};

use super::{egress::Egress, link::Link, quota::Usage, rate::Bucket, slab::Key, wire::Mac};
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
    /// What its TCP connections have.
    pub usage: Usage,
    /// Its UDP conversations, in the order in which one is to make way.
    pub conversations: VecDeque<Key>,
    /// Whom it may call.
    pub egress: Egress,
    /// It reaches the host's loopback, at the gateway's address.
    pub host: bool,
    /// How fast it may speak.
    pub rate: Option<Bucket>,
    /// When it may again, if it waits for that.
    pub resumes: Option<Instant>,
    /// Its port that is meant when it is called by name only.
    pub http: u16,
    /// Other networks that it is in.
    pub elsewhere: Vec<String>,
}

impl Member {
    /// One that has nothing yet.
    pub fn new(link: Link, keeper: Channel, mac: Mac, address: Ipv4Addr, names: Vec<String>) -> Self {
        Self {
            link,
            keeper,
            mac,
            address,
            names,
            listeners: Vec::new(),
            usage: Usage::default(),
            conversations: VecDeque::new(),
            egress: Egress::default(),
            host: false,
            rate: None,
            resumes: None,
            http: super::localhost::HTTP,
            elsewhere: Vec::new(),
        }
    }

    /// Whether it has to wait with what it says. Then it is heard again when it need not any more.
    pub fn has_to_wait(&mut self, now: Instant) -> bool {
        let until = self.rate.as_ref().and_then(|rate| rate.waits(now));
        self.resumes = until.or(self.resumes);
        until.is_some()
    }

    /// Whether it is called this; `network` may follow, behind a dot.
    pub fn is_called(&self, name: &str, network: &str) -> bool {
        is_called(&self.names, name, network)
    }
}

/// Whether this is one of the names of a member of `network`, which may follow behind a dot.
pub fn is_called(names: &[String], name: &str, network: &str) -> bool {
    let name = name.strip_suffix(network).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
    names.iter().any(|own| own == name)
}
