//! Putting a container that does not run into another network, and taking it out of one. A container has one card, so it is in one
//! network at a time; the one that it is in without being asked makes way for one that is asked for.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use super::{
    Description, Endpoint, Error, HostConfig, Result, networking,
    state::{Folder, Lock, Store},
};
use crate::network;

/// How long the end of a container's keeper is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts a container into a network, where others call it these names, too.
///
/// # Errors
/// When there is no such container or network, it runs, or is in another.
pub fn connect(
    store: &Store,
    container: &str,
    network: &str,
    aliases: &[String],
    address: Option<Ipv4Addr>,
) -> Result<()> {
    let (folder, _lock) = resting(store, container)?;
    store.change(&folder, |description| join(description, network, aliases, address)).map(drop)
}

fn join(
    description: Description,
    network: &str,
    aliases: &[String],
    address: Option<Ipv4Addr>,
) -> Result<Description> {
    let name = &description.name;
    match networking::network(&description.host_config) {
        Some(own) if own == network => {
            return Err(Error::Conflict(format!(
                "endpoint with name {name} already exists in network {network}"
            )));
        }
        Some(own) if own != network::DEFAULT => {
            return Err(Error::Conflict(format!(
                "container {name} is in network {own}, and can be in one only: `hull network disconnect {own} {name}` first"
            )));
        }
        _ => {}
    }
    let host_config = HostConfig { network_mode: network.to_owned(), ..description.host_config };
    let endpoint = Endpoint { aliases: aliases.to_vec(), address, ..description.networking };
    networking::check(&host_config, &endpoint)?;
    Ok(Description { host_config, networking: endpoint, ..description })
}

/// Takes a container out of a network. It is in none then.
///
/// # Errors
/// When there is no such container, it runs, or is not in that network.
pub fn disconnect(store: &Store, container: &str, network: &str) -> Result<()> {
    let (folder, _lock) = resting(store, container)?;
    store.change(&folder, |description| part(description, network)).map(drop)
}

fn part(description: Description, network: &str) -> Result<Description> {
    if networking::network(&description.host_config) != Some(network) {
        return Err(Error::Conflict(format!(
            "container {} is not connected to network {network}",
            description.name
        )));
    }
    let host_config = HostConfig { network_mode: "none".to_owned(), ..description.host_config };
    // Whom it may call holds wherever it is.
    let endpoint = Endpoint { egress: description.networking.egress.clone(), ..Endpoint::default() };
    Ok(Description { host_config, networking: endpoint, ..description })
}

/// A container that does not run, and is kept from it.
fn resting(store: &Store, container: &str) -> Result<(Folder, Lock)> {
    let folder = store.find(container)?;
    let runs = || {
        Error::Conflict(format!(
            "container {container} is running: its card cannot be moved to another network before it is stopped"
        ))
    };
    // The keeper of one that has just ended is still there for a moment.
    let end = Instant::now() + PATIENCE;
    let lock = loop {
        if folder.state()?.status.needs_keeper() || Instant::now() > end {
            return Err(runs());
        }
        match folder.try_lock().map_err(Error::file("cannot lock", folder.path()))? {
            Some(lock) => break lock,
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    Ok((folder, lock))
}
