//! Ports of a container that is there already (`hull update --publish-add`): reached from outside at once in one that runs, and at its next
//! start.

use std::os::fd::AsFd;

use super::{
    Description, Error, HostConfig, Port, PortBinding, Result, attachment, networking, state::Store,
};
use crate::{
    network::control::{self, Publication, Republish},
    vm::control::ClientMessage,
};

/// What is to be different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Ports that are to be reached, and where.
    pub add: Vec<(Port, PortBinding)>,
    /// Ports that are not to be reached any more, wherever they were.
    pub remove: Vec<Port>,
}

impl Change {
    /// What is asked of a container whose ports are these.
    fn apply(&self, mut description: Description) -> Description {
        let HostConfig { port_bindings: bindings, publish_all_ports, .. } = &mut description.host_config;
        for port in &self.remove {
            bindings.remove(port);
            if *publish_all_ports && description.config.exposed_ports.contains(port) {
                // This one is not, and that is said so.
                bindings.insert(*port, Vec::new());
            }
        }
        for (port, binding) in &self.add {
            let bindings = bindings.entry(*port).or_default();
            if binding.host_port.is_empty() || !bindings.contains(binding) {
                bindings.push(binding.clone());
            }
            description.config.exposed_ports.insert(*port);
        }
        description
    }

    fn check(&self, description: &Description) -> Result<()> {
        let host_config = &description.host_config;
        let is_published = |port: &&Port| match host_config.port_bindings.get(port) {
            Some(bindings) => !bindings.is_empty(),
            None => host_config.publish_all_ports && description.config.exposed_ports.contains(port),
        };
        match self.remove.iter().find(|port| !is_published(port)) {
            None => Ok(()),
            Some(port) => Err(Error::Conflict(format!(
                "port {port} of container {} is not published",
                description.name
            ))),
        }
    }
}

/// What is asked of a container that has been given these ports while it runs.
pub(super) fn published(description: Description, ports: &Republish) -> Description {
    let binding = |port: &Publication| PortBinding {
        host_ip: port.address.map(|address| address.to_string()).unwrap_or_default(),
        host_port: match port.ports {
            (0, 0) => String::new(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        },
    };
    let port = |number, protocol| Port { number, protocol };
    let change = Change {
        add: ports.add.iter().map(|one| (port(one.inside, one.protocol), binding(one))).collect(),
        remove: ports.remove.iter().map(|(number, protocol)| port(*number, *protocol)).collect(),
    };
    change.apply(description)
}

/// Changes the ports of a container. Gives what there is to warn of.
///
/// # Errors
/// When there is none, it is in no network, or the ports are not to be had; nothing has changed then.
pub fn publish(store: &Store, container: &str, change: &Change) -> Result<Option<String>> {
    let add = change.add.iter().map(|(port, binding)| networking::publication(*port, binding));
    let wanted = Republish {
        add: add.collect::<Result<_, _>>().map_err(Error::Invalid)?,
        remove: change.remove.iter().map(|port| (port.number, port.protocol)).collect(),
    };
    let file = control::write(&wanted)
        .map_err(|error| Error::Keeper(format!("cannot be told of ports: {error}")))?;
    attachment::change(store, container, &ClientMessage::Publish, Some(file.as_fd()), |description| {
        change.check(&description)?;
        Ok(change.apply(description))
    })
}

#[cfg(test)]
#[path = "publish_test.rs"]
mod tests;
