//! Ports of a container that is there already (`hull update --publish-add`): reached from outside at once in one that runs, and at its next
//! start.

use std::os::fd::AsFd;

use super::{Description, Error, Port, PortBinding, Result, attachment, networking, state::Store};
use crate::{
    network::control::{self, Republish},
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
    fn apply(&self, mut description: Description) -> Result<Description> {
        let bindings = &mut description.host_config.port_bindings;
        for port in &self.remove {
            if bindings.remove(port).is_none() && !description.host_config.publish_all_ports {
                return Err(Error::Conflict(format!(
                    "port {port} of container {} is not published",
                    description.name
                )));
            }
        }
        for (port, binding) in &self.add {
            bindings.entry(*port).or_default().push(binding.clone());
            description.config.exposed_ports.insert(*port);
        }
        Ok(description)
    }
}

/// Changes the ports of a container.
///
/// # Errors
/// When there is none, it is in no network, or the ports are not to be had; nothing has changed then.
pub fn publish(store: &Store, container: &str, change: &Change) -> Result<()> {
    let add = change.add.iter().map(|(port, binding)| networking::publication(*port, binding));
    let wanted = Republish {
        add: add.collect::<Result<_, _>>().map_err(Error::Invalid)?,
        remove: change.remove.iter().map(|port| (port.number, port.protocol)).collect(),
    };
    let file = control::write(&wanted)
        .map_err(|error| Error::Keeper(format!("cannot be told of ports: {error}")))?;
    attachment::change(store, container, &ClientMessage::Publish, Some(file.as_fd()), |description| {
        change.apply(description)
    })
}
