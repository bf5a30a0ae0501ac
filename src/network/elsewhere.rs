//! Names across networks: a VM that is in several asks one of them for names, which looks into what the others have written down. A network
//! writes that while it has a member that is in others, too; for all the rest it is none of anybody's business.

use std::{fs, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::{member, server::Network, slab::Key, store::Store};
use crate::vm::folder;

/// Members and their names, in a network's folder.
const FILE: &str = "names.json";

/// A member, as far as others may know.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    address: Ipv4Addr,
    names: Vec<String>,
}

impl Network {
    /// A member is in these networks, too.
    pub(super) fn set_elsewhere(&mut self, key: Key, networks: Vec<String>) {
        if let Some(member) = self.members.get_mut(key) {
            member.elsewhere = networks;
            self.write_names();
        }
    }

    /// Writes down who is called what, while somebody outside may ask.
    pub(super) fn write_names(&mut self) {
        let path = self.folder.join(FILE);
        let shared = self.members.iter().any(|(_, member)| !member.elsewhere.is_empty());
        if shared {
            let known =
                |member: &member::Member| Known { address: member.address, names: member.names.clone() };
            let all: Vec<_> = self.members.iter().map(|(_, member)| known(member)).collect();
            // What cannot be written is not known there.
            self.names_written = folder::write(&path, &all).is_ok();
        } else if std::mem::take(&mut self.names_written) {
            let _ = fs::remove_file(path);
        }
    }

    /// The addresses of those that are called this in the other networks that a member is in.
    pub(super) fn find_elsewhere(&self, asks: Key, name: &str) -> Vec<Ipv4Addr> {
        let Some(member) = self.members.get(asks) else { return Vec::new() };
        let store = Store::open();
        let mut found = Vec::new();
        for network in &member.elsewhere {
            let all: Option<Vec<Known>> = folder::read(&store.folder(network).join(FILE)).unwrap_or_default();
            let called = |one: &Known| member::is_called(&one.names, name, &network.to_ascii_lowercase());
            found.extend(all.into_iter().flatten().filter(called).map(|one| one.address));
        }
        found
    }
}
