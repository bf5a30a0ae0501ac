//! Names across networks: a VM that is in several asks one of them for names, which looks into what the others have written down. A network
//! writes that while it has a member that is in others, too; for all the rest it is none of anybody's business.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::MetadataExt,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{DEFAULT, member, server::Network, slab::Key, store::Store};
use crate::vm::folder;

/// Members and their names, in a network's folder.
const FILE: &str = "names.json";

/// A member, as far as others may know.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    address: Ipv4Addr,
    #[serde(default)]
    v6: Option<Ipv6Addr>,
    names: Vec<String>,
}

/// What a network has written down, as it was last read.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its number, and when it was written: it is never written twice.
    file: Option<(u64, i64, i64)>,
    all: Vec<Known>,
}

impl Seen {
    /// Reads the file if it is another than it was.
    fn look(&mut self, path: &Path) {
        let file = fs::metadata(path).ok().map(|file| (file.ino(), file.mtime(), file.mtime_nsec()));
        if self.file != file {
            let all: Option<Vec<Known>> = folder::read(path).unwrap_or_default();
            *self = Self { file, all: all.unwrap_or_default() };
        }
    }
}

impl Network {
    /// A member is in these networks, too.
    pub(super) fn set_elsewhere(&mut self, key: Key, networks: Vec<String>) {
        if let Some(member) = self.members.get_mut(key) {
            member.elsewhere = networks;
            // What is still asked for is read again.
            self.seen.clear();
            self.write_names();
        }
    }

    /// Writes down who is called what, while somebody outside may ask.
    pub(super) fn write_names(&mut self) {
        let path = self.folder.join(FILE);
        let shared = self.members.iter().any(|(_, member)| !member.elsewhere.is_empty());
        if shared {
            let known = |member: &member::Member| Known {
                address: member.address,
                v6: self.address6(member.address).filter(|_| self.name != DEFAULT),
                names: member.names.clone(),
            };
            let all: Vec<_> = self.members.iter().map(|(_, member)| known(member)).collect();
            // What cannot be written is not known there.
            self.names_written = folder::write(&path, &all).is_ok();
        } else if std::mem::take(&mut self.names_written) {
            let _ = fs::remove_file(path);
        }
    }

    /// The addresses of those that are called this in the other networks that a member is in.
    pub(super) fn find_elsewhere(&mut self, asks: Key, name: &str) -> Vec<IpAddr> {
        let Some(member) = self.members.get(asks) else { return Vec::new() };
        let mut found = Vec::new();
        for network in &member.elsewhere {
            let seen = self.seen.entry(network.clone()).or_default();
            seen.look(&Store::open().folder(network).join(FILE));
            let called = |one: &&Known| member::is_called(&one.names, name, &network.to_ascii_lowercase());
            let both = |one: &Known| [Some(one.address.into()), one.v6.map(IpAddr::V6)].into_iter().flatten();
            found.extend(seen.all.iter().filter(called).flat_map(both));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_read_when_it_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut seen = Seen::default();
        seen.look(&path);
        assert!(seen.all.is_empty());
        for last in [7, 8] {
            let known =
                Known { address: Ipv4Addr::new(172, 30, 0, last), v6: None, names: vec!["one".to_owned()] };
            folder::write(&path, &[known]).unwrap();
            seen.look(&path);
            assert_eq!(seen.all[0].address.octets()[3], last);
            // As it was read.
            seen.all[0].address = Ipv4Addr::UNSPECIFIED;
            seen.look(&path);
            assert_eq!(seen.all[0].address, Ipv4Addr::UNSPECIFIED);
        }
        fs::remove_file(&path).unwrap();
        seen.look(&path);
        assert!(seen.all.is_empty());
    }
}
