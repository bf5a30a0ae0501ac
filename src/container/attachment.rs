//! Putting a container into another network, and taking it out of one: in one that runs at once, and for its next start.

use std::{
    net::Ipv4Addr,
    os::fd::BorrowedFd,
    thread,
    time::{Duration, Instant},
};

use super::{
    Description, Endpoint, Error, HostConfig, MoreNetwork, Result, action, networking,
    state::{Folder, Store},
};
use crate::{
    vm::control::{ClientMessage, KeeperMessage},
    vmm::channel::{Channel, Received},
};

/// How long the end of a container's keeper is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts a container into a network, where others call it these names, too.
///
/// # Errors
/// When there is no such container or network, it is in that, or the network does not take it.
pub fn connect(
    store: &Store,
    container: &str,
    network: &str,
    aliases: &[String],
    address: Option<Ipv4Addr>,
) -> Result<()> {
    let message = ClientMessage::Connect { network: network.to_owned(), aliases: aliases.to_vec(), address };
    change(store, container, &message, None, |description| join(description, network, aliases, address))
}

fn join(
    mut description: Description,
    network: &str,
    aliases: &[String],
    address: Option<Ipv4Addr>,
) -> Result<Description> {
    if let Some(vm) = &description.host_config.vm
        && networking::networks(&description).next().is_some_and(|own| own != network)
    {
        return Err(Error::Conflict(format!(
            "container {} shares VM {vm}, where it is in one network only: disconnect it from that first",
            description.name
        )));
    }
    if networking::other(&description.host_config.network_mode).is_some() {
        return Err(Error::Conflict(
            "container sharing network namespace with another container or host cannot be connected to any other network".to_owned(),
        ));
    }
    if networking::networks(&description).any(|own| own == network) {
        return Err(Error::Conflict(format!(
            "endpoint with name {} already exists in network {network}",
            description.name
        )));
    }
    if networking::network(&description.host_config).is_some() {
        // What is the card's, and whom it may call, is said of the first.
        let endpoint = Endpoint { aliases: aliases.to_vec(), address, ..Endpoint::default() };
        networking::check_more(network, &endpoint)?;
        description.more_networks.push(MoreNetwork { network: network.to_owned(), endpoint });
        return Ok(description);
    }
    let host_config = HostConfig { network_mode: network.to_owned(), ..description.host_config };
    let networking = Endpoint { aliases: aliases.to_vec(), address, ..description.networking };
    networking::check(&host_config, &networking)?;
    Ok(Description { host_config, networking, ..description })
}

/// Takes a container out of a network.
///
/// # Errors
/// When there is no such container, or it is not in that network.
pub fn disconnect(store: &Store, container: &str, network: &str) -> Result<()> {
    let message = ClientMessage::Disconnect { network: network.to_owned() };
    change(store, container, &message, None, |description| part(description, network))
}

fn part(mut description: Description, network: &str) -> Result<Description> {
    if networking::network(&description.host_config) != Some(network) {
        let before = description.more_networks.len();
        description.more_networks.retain(|more| more.network != network);
        if description.more_networks.len() == before {
            return Err(Error::Conflict(format!(
                "container {} is not connected to network {network}",
                description.name
            )));
        }
        return Ok(description);
    }
    // Whom it may call holds wherever it is.
    let egress = description.networking.egress.take();
    let none = MoreNetwork { network: "none".to_owned(), endpoint: Endpoint::default() };
    let next = if description.more_networks.is_empty() { none } else { description.more_networks.remove(0) };
    description.host_config.network_mode = next.network;
    description.networking = Endpoint { egress, ..next.endpoint };
    Ok(description)
}

/// Has the keeper of a container that runs do what the message says, and writes down what is different from then on.
///
/// # Errors
/// Why that cannot be; nothing has changed then.
pub(super) fn change(
    store: &Store,
    container: &str,
    message: &ClientMessage,
    file: Option<BorrowedFd<'_>>,
    change: impl Fn(Description) -> Result<Description>,
) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let folder = store.find(container)?;
        if let Some(channel) = action::connect(store, &folder)? {
            let description = folder.description()?.ok_or_else(|| Error::NotFound(container.to_owned()))?;
            change(description)?;
            ask(&folder, &channel, message, file)?;
            return store.change(&folder, &change).map(drop);
        }
        // The keeper of one that has just ended is still there for a moment.
        let lock = folder.try_lock().map_err(Error::file("cannot lock", folder.path()))?;
        if lock.is_some() {
            return store.change(&folder, &change).map(drop);
        }
        if Instant::now() > end {
            return Err(Error::Conflict(format!(
                "container {container} is about to start or to end; try again"
            )));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Has a keeper change something, and waits until it has.
///
/// # Errors
/// Why it does not.
pub(super) fn ask(
    folder: &Folder,
    channel: &Channel,
    message: &ClientMessage,
    file: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let gone = |_| Error::Conflict(format!("Container {} has ended", folder.id));
    channel.send(message, file).map_err(gone)?;
    loop {
        match channel.receive().map_err(gone)? {
            Received::Message(KeeperMessage::Updated, _) => return Ok(()),
            Received::Message(KeeperMessage::Refused { message }, _) => {
                return Err(Error::Conflict(format!("Container {} {message}", folder.id)));
            }
            Received::Message(..) | Received::Nothing => {}
            Received::Closed => return Err(gone(std::io::ErrorKind::BrokenPipe.into())),
        }
    }
}
