//! Which VM a container is to be in, and what it cannot have there.

use super::Plan;
use crate::{
    config::Name,
    container::{
        HostConfig,
        error::{Error, Result},
        mount::MountPoint,
        state::Store,
    },
    image::Image,
};

/// What stands in front of a container's name.
const CONTAINER: &str = "container:";

/// Reads `--vm`, and `--network container:NAME`, which puts a container into the VM of that one.
///
/// # Errors
/// When there is no such VM or container, or that container shares its VM with nobody.
pub fn choose(vm: &str, host_config: &mut HostConfig) -> Result<()> {
    if let Some(name) = vm.strip_prefix(CONTAINER) {
        if !matches!(host_config.network_mode.as_str(), "" | "default") {
            return Err(Error::Invalid(format!(
                "conflicting options: --vm {vm} is the network of that container, too, and --network another"
            )));
        }
        host_config.network_mode = format!("{CONTAINER}{name}");
    } else if !vm.is_empty() {
        host_config.vm = Some(vm.parse().map_err(|error| Error::Invalid(format!("--vm: {error}")))?);
    }
    let Some(name) = host_config.network_mode.strip_prefix(CONTAINER).map(str::to_owned) else {
        return Ok(());
    };
    let (id, its) = vm_of(&name)?;
    if host_config.vm.as_ref().is_some_and(|vm| *vm != its) {
        return Err(Error::Invalid(format!(
            "conflicting options: container {name} is in VM {its}, and only containers there can share its network"
        )));
    }
    host_config.vm = Some(its);
    host_config.network_mode = format!("{CONTAINER}{id}");
    Ok(())
}

/// A container's id, and the VM that it is in.
fn vm_of(name: &str) -> Result<(String, Name)> {
    let folder = Store::open()?.find(name)?;
    let description = folder.description()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    match description.host_config.vm {
        Some(vm) => Ok((folder.id.to_string(), vm)),
        None => Err(Error::Invalid(format!(
            "container {name} has a VM of its own, which takes no second container; create it with --vm NAME to have others \
             join it"
        ))),
    }
}

/// Refuses what a container cannot have in a shared VM, before it is made.
///
/// # Errors
/// What that is, and what to do.
pub fn check(host_config: &HostConfig, mounts: &[MountPoint], image: &Image) -> Result<()> {
    let Some(name) = &host_config.vm else { return Ok(()) };
    Plan::of(name)?.check(name, host_config)?;
    let volumes = !mounts.is_empty() || host_config.volumes_from.is_some();
    if volumes || crate::container::volume::Volumes::needed_by(mounts, host_config, image) {
        return Err(Error::Invalid(format!(
            "volumes and folders of the host cannot be mounted in a VM that containers share yet, and this {}: leave --vm out",
            if volumes { "container asks for some" } else { "image declares some" }
        )));
    }
    Ok(())
}
