//! Copies of a running container that go on from its present state.

use super::{
    Checkpoints, HostConfig, refuse_shares,
    take::{await_return, take},
};
use crate::{
    container::{
        ContainerId, ContainerName, Description, Endpoint, MoreNetwork, action,
        error::{Error, Result},
        start::{self, Beginning},
        state::{Claim, State, Status, Store},
    },
    vm::timestamp,
};

/// Most copies made at once: each is a VM.
pub const MOST: u32 = 1000;

/// Makes copies of a container that runs, and starts them. The first is called `name`, the others `name-2`, `name-3` and so on; without
/// one each gets a name that is made up. `started` is told of each that runs.
///
/// # Errors
/// When the container does not run, a name is taken, or a copy does not start: those before it run, and of it and those after it
/// nothing is left.
pub fn fork(
    store: &Store,
    container: &str,
    count: u32,
    name: Option<&ContainerName>,
    mut started: impl FnMut(&ContainerId),
) -> Result<()> {
    if count == 0 || count > MOST {
        return Err(Error::Invalid(format!("1 to {MOST} copies can be made at once, not {count}")));
    }
    let folder = store.find(container)?;
    let description = folder.description()?.ok_or_else(|| Error::NotFound(container.to_owned()))?;
    refuse_shares(&description)?;
    let channel = action::connect_running(store, &folder)?;
    // Whoever asks for a name that is taken does not stop anything.
    let claims = (1..=count).map(|number| {
        let name = name.map(|name| numbered(name, number)).transpose()?;
        store.claim(name.as_ref())
    });
    let claims = claims.collect::<Result<Vec<_>>>()?;

    let checkpoints = Checkpoints::of(&folder, container, None)?;
    let unfinished = checkpoints.begin(&format!("fork-{}", ContainerId::random().short()))?;
    let failed = |error: anyhow::Error| checkpoints.explain(&error);
    let (frozen, taken) = take(&channel, &unfinished, &folder).map_err(failed)?;
    frozen.thaw();
    let mut about = taken.describe("of a fork", description.clone()).map_err(failed)?;
    about.set_leases(&folder.state()?);
    unfinished.describe(&about).map_err(failed)?;
    for claim in claims {
        let id = claim.folder.id.clone();
        start_copy(store, claim, &description, unfinished.path())?;
        started(&id);
    }
    await_return(&channel);
    // Those that run have the files open: what they do not share goes with the last of them.
    Ok(())
}

/// How a copy is in a network.
fn of_its_own(original: &Endpoint) -> Endpoint {
    Endpoint { address: None, mac_address: None, ..original.clone() }
}

fn of_its_own_there(original: &MoreNetwork) -> MoreNetwork {
    MoreNetwork { endpoint: of_its_own(&original.endpoint), ..original.clone() }
}

/// The name of a copy.
fn numbered(name: &ContainerName, number: u32) -> Result<ContainerName> {
    if number == 1 { Ok(name.clone()) } else { format!("{name}-{number}").parse() }
}

fn start_copy(
    store: &Store,
    claim: Claim<'_>,
    original: &Description,
    checkpoint: &std::path::Path,
) -> Result<()> {
    let mut config = original.config.clone();
    let id = claim.folder.id.clone();
    if config.hostname == original.id.short() {
        id.short().clone_into(&mut config.hostname);
    }
    let mut host_config = HostConfig::clone(&original.host_config);
    for binding in host_config.port_bindings.values_mut().flatten() {
        // The original has the port that was asked for.
        binding.host_port.clear();
    }
    let description = Description {
        name: claim.name.clone(),
        created: timestamp::now(),
        image: original.image,
        host_config,
        // Its own address is another, and so is everything that is one's alone.
        networking: of_its_own(&original.networking),
        more_networks: original.more_networks.iter().map(of_its_own_there).collect(),
        config,
        mounts: Vec::new(),
        id,
    };
    let state = State { status: Status::Starting, ..State::default() };
    let (folder, lock) = claim.finish(&description, &state)?;
    let beginning = Beginning::Checkpoint(checkpoint);
    let begun = start::start(&folder, &description, lock, false, beginning).and_then(|channel| {
        let begun = action::await_start(&channel)?.map_err(|(_, message)| Error::Conflict(message));
        if begun.is_err() {
            // Until its record is written.
            let _ = action::await_end(&channel);
        }
        begun
    });
    begun.inspect_err(|_| drop(action::remove(store, folder.id.as_str(), true, true)))
}
