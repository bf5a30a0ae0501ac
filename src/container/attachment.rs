//! Putting a container into another network, and taking it out of one: in one that runs at once, and for its next start.

use std::{
    io,
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
    vm::{
        control::{ClientMessage, KeeperMessage},
        keeper::attach::Wanted,
    },
    vmm::channel::{Channel, Received},
};

/// How long the end of a container's keeper is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts a container into a network, where others call it these names, too. Gives what there is to warn of.
///
/// # Errors
/// When there is no such container or network, it is in that, or the network does not take it.
pub fn connect(
    store: &Store,
    container: &str,
    network: &str,
    aliases: &[String],
    address: Option<Ipv4Addr>,
) -> Result<Option<String>> {
    let wanted = Wanted { network: network.to_owned(), aliases: aliases.to_vec(), address };
    let message = ClientMessage::Connect { network: network.to_owned(), aliases: aliases.to_vec(), address };
    change(store, container, &message, None, |description| {
        if networking::networks(&description).any(|own| own == network) {
            return Err(Error::Conflict(format!(
                "endpoint with name {} already exists in network {network}",
                description.name
            )));
        }
        connected(description, &wanted)
    })
}

/// What is asked of a container that is in this network, too.
///
/// # Errors
/// When it cannot be in that.
pub(super) fn connected(mut description: Description, wanted: &Wanted) -> Result<Description> {
    let Wanted { network, aliases, address } = wanted;
    let (aliases, address) = (aliases.clone(), *address);
    if let Some(vm) = &description.host_config.vm
        && networking::networks(&description).next().is_some_and(|own| own != wanted.network)
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
        return Ok(description);
    }
    if networking::network(&description.host_config).is_some() {
        // What is the card's, and whom it may call, is said of the first.
        let endpoint = Endpoint { aliases, address, ..Endpoint::default() };
        networking::check_more(network, &endpoint)?;
        description.more_networks.push(MoreNetwork { network: network.clone(), endpoint });
        return Ok(description);
    }
    let host_config = HostConfig { network_mode: network.clone(), ..description.host_config };
    let networking = Endpoint { aliases, address, ..description.networking };
    networking::check(&host_config, &networking)?;
    Ok(Description { host_config, networking, ..description })
}

/// Takes a container out of a network. Gives what there is to warn of.
///
/// # Errors
/// When there is no such container, or it is not in that network.
pub fn disconnect(store: &Store, container: &str, network: &str) -> Result<Option<String>> {
    let message = ClientMessage::Disconnect { network: network.to_owned() };
    change(store, container, &message, None, |description| {
        if networking::networks(&description).any(|own| own == network) {
            return Ok(disconnected(description, network));
        }
        Err(Error::Conflict(format!("container {} is not connected to network {network}", description.name)))
    })
}

/// What is asked of a container that is in this network no longer.
pub(super) fn disconnected(mut description: Description, network: &str) -> Description {
    if networking::network(&description.host_config) != Some(network) {
        description.more_networks.retain(|more| more.network != network);
        return description;
    }
    // Whom it may call, and how fast, holds wherever it is.
    let (egress, rate) = (description.networking.egress.take(), description.networking.rate);
    let none = MoreNetwork { network: "none".to_owned(), endpoint: Endpoint::default() };
    let next = if description.more_networks.is_empty() { none } else { description.more_networks.remove(0) };
    description.host_config.network_mode = next.network;
    description.networking = Endpoint { egress, rate, ..next.endpoint };
    description
}

/// Has the keeper of a container that runs do what the message says, and write down what is different from then on; where there is none
/// that is all there is to do. Gives what there is to warn of.
///
/// # Errors
/// Why that cannot be; nothing has changed then.
pub(super) fn change(
    store: &Store,
    container: &str,
    message: &ClientMessage,
    file: Option<BorrowedFd<'_>>,
    change: impl Fn(Description) -> Result<Description>,
) -> Result<Option<String>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let folder = store.find(container)?;
        if let Some(channel) = action::connect(store, &folder)? {
            let description = folder.description()?.ok_or_else(|| Error::NotFound(container.to_owned()))?;
            change(description)?;
            return ask(&folder, &channel, message, file);
        }
        // The keeper of one that has just ended is still there for a moment.
        let lock = folder.try_lock().map_err(Error::file("cannot lock", folder.path()))?;
        if lock.is_some() {
            return store.change(&folder, &change).map(|_| None);
        }
        if Instant::now() > end {
            return Err(Error::Conflict(format!(
                "container {container} is about to start or to end; try again"
            )));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Has a keeper change something, and waits until it has. Gives what there is to warn of.
///
/// # Errors
/// Why it does not.
pub(super) fn ask(
    folder: &Folder,
    channel: &Channel,
    message: &ClientMessage,
    file: Option<BorrowedFd<'_>>,
) -> Result<Option<String>> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => gone(folder),
        _ => Error::Keeper(format!("cannot be asked: {error}")),
    };
    channel.send(message, file).map_err(failed)?;
    loop {
        match channel.receive().map_err(failed)? {
            Received::Message(KeeperMessage::Updated { warning }, _) => return Ok(warning),
            Received::Message(KeeperMessage::Refused { message }, _) => {
                return Err(Error::Conflict(format!("Container {} {message}", folder.id)));
            }
            Received::Message(..) | Received::Nothing => {}
            Received::Closed => return Err(gone(folder)),
        }
    }
}

/// Why a keeper has closed the connection.
fn gone(folder: &Folder) -> Error {
    if folder.state().is_ok_and(|state| state.status.needs_keeper()) {
        return action::too_many();
    }
    Error::Conflict(format!("Container {} has ended", folder.id))
}
