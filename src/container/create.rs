//! Makes a container: what was asked for and what its image says become one description.

use hull_protocol::defaults;
use oci_spec::image::ImageConfiguration;

use super::{
    Config, ContainerName, Description, Endpoint, HostConfig, MoreNetwork, budget,
    capability::Capabilities,
    error::{Error, Result},
    health::HealthCheck,
    limits,
    logs::log_limits,
    mount::{self, MountPoint},
    networking::{self, parse_expose},
    process,
    restart::When,
    shared, signal,
    sizing::Host,
    state::{Folder, Lock, State, Status, Store},
    system,
    volume::Volumes,
};
use crate::{image::Image, vm::timestamp};

/// What is asked of a new container. Of `config` everything that is unset is the image's.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Its name; made up when absent.
    pub name: Option<ContainerName>,
    /// What runs.
    pub config: Config,
    /// What it may use.
    pub host_config: HostConfig,
    /// What is mounted in it.
    pub mounts: Vec<MountPoint>,
    /// How it is in its network.
    pub networking: Endpoint,
    /// Networks that it is to be in beside that.
    pub more_networks: Vec<MoreNetwork>,
}

/// A new container, and the lock that its keeper is to inherit.
#[derive(Debug)]
pub struct Created {
    /// Its folder.
    pub folder: Folder,
    /// What it is.
    pub description: Description,
    /// Held, so that nobody takes it for one that was left behind.
    pub lock: Lock,
}

/// Makes a container of this image. It is left in `status`: [`Status::Starting`] if it is started at once.
///
/// # Errors
/// When the request makes no sense, the name is taken, or the disk is full. Nothing is left then.
pub fn create(store: &Store, image: &Image, request: Request, status: Status) -> Result<Created> {
    let mut config = with_image(request.config, &image.config)?;
    let healthcheck =
        config.healthcheck.take().unwrap_or_default().or(HealthCheck::of_image(&image.config_json));
    config.healthcheck = (healthcheck != HealthCheck::default()).then_some(healthcheck);
    let mut host_config = request.host_config;
    let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    check(&config, &host_config)?;
    if host_config.system.is_none() && system::is_init(&config.args(), &host_config) {
        host_config.system = Some(true);
    }
    networking::check(&host_config, &request.networking)?;
    let mut more_networks = request.more_networks;
    for more in &more_networks {
        networking::check_more(&more.network, &more.endpoint)?;
        if let Some(vm) = &host_config.vm {
            return Err(Error::Invalid(format!(
                "--network {}: a container that shares VM {vm} is in one network only; leave --vm out",
                more.network
            )));
        }
    }
    shared::check(&host_config, &request.mounts, image)?;
    networking::name_all(&mut host_config, &mut more_networks, networking::find)?;
    // Held until the container is there: nobody is to remove its volumes meanwhile.
    let (mounts, _volumes) = match Volumes::needed_by(&request.mounts, &host_config, image) {
        true => {
            let (mounts, lock) = Volumes::open()?.provide(request.mounts, &host_config, image, store)?;
            (mounts, Some(lock))
        }
        false => (request.mounts, None),
    };
    let mounts = mount::arrange(mounts, &host_config)?;
    let unmasked = process::security_options(&host_config.security_opt)?.unmasked;
    if !host_config.privileged && !unmasked {
        host_config.masked_paths = owned(defaults::MASKED_PATHS);
        host_config.readonly_paths = owned(defaults::READ_ONLY_PATHS);
    }

    let published = host_config.port_bindings.keys().copied();
    config.exposed_ports.extend(published);
    let claim = store.claim(request.name.as_ref())?;
    if let Some(other) = networking::other(&host_config.network_mode) {
        if !config.hostname.is_empty() {
            return Err(Error::Invalid("conflicting options: hostname and the network mode".to_owned()));
        }
        let other = store.find(other)?.description()?.ok_or_else(|| Error::NotFound(other.to_owned()))?;
        config.hostname = other.config.hostname;
    }
    if config.hostname.is_empty() {
        config.hostname = claim.folder.id.short().to_owned();
    }
    let description = Description {
        id: claim.folder.id.clone(),
        name: claim.name.clone(),
        created: timestamp::now(),
        image: image.id,
        config,
        host_config,
        mounts,
        networking: request.networking,
        more_networks,
    };
    let (folder, lock) = claim.finish(&description, &State { status, ..State::default() })?;
    Ok(Created { folder, description, lock })
}

/// Everything that can be wrong with a request, before anything is made.
fn check(config: &Config, host_config: &HostConfig) -> Result<()> {
    Host::this().vm_size(host_config)?;
    Capabilities::of_container(&host_config.cap_add, &host_config.cap_drop)?;
    limits::rlimits(&host_config.ulimits)?;
    process::check_security(host_config)?;
    process::check_sysctls(&host_config.sysctls)?;
    log_limits(&host_config.log_config)?;
    Host::this().check_cpuset(host_config)?;
    budget::check(host_config)?;
    if let Some(health) = &config.healthcheck {
        health.check()?;
    }
    if host_config.auto_remove && host_config.restart_policy.name != When::No {
        return Err(Error::Invalid("Conflicting options: --restart and --rm".to_owned()));
    }
    if host_config.is_system() && host_config.init {
        return Err(Error::Invalid("conflicting options: --init and --systemd=always".to_owned()));
    }
    if !(-1000..=1000).contains(&host_config.oom_score_adj) {
        return Err(Error::Invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host_config.oom_score_adj
        )));
    }
    for path in host_config.tmpfs.keys() {
        if !path.starts_with('/') || path == "/" {
            return Err(Error::Invalid(format!(
                "invalid mount config for type \"tmpfs\": invalid mount path: '{path}' mount path must be absolute"
            )));
        }
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::Invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if let Some(name) = &config.stop_signal {
        signal::parse(name)?;
    }
    if config.args().is_empty() {
        return Err(Error::NoCommand);
    }
    Ok(())
}

/// Fills what is unset from the image, as Docker's engine does.
fn with_image(mut config: Config, image: &ImageConfiguration) -> Result<Config> {
    let Some(image) = image.config() else { return Ok(config) };
    // What is no port is the image's affair.
    let exposed = image.exposed_ports().iter().flatten().filter_map(|port| parse_expose(port).ok());
    config.exposed_ports.extend(exposed.flatten());
    if config.user.is_empty() {
        config.user = image.user().clone().unwrap_or_default();
    }
    if config.working_dir.is_empty() {
        config.working_dir = image.working_dir().clone().unwrap_or_default();
    }
    if config.stop_signal.is_none() {
        config.stop_signal = image.stop_signal().clone();
    }
    for variable in image.env().iter().flatten() {
        let name = variable.split('=').next();
        if !config.env.iter().any(|known| known.split('=').next() == name) {
            config.env.push(variable.clone());
        }
    }
    for (name, value) in image.labels().iter().flatten() {
        config.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    // An entry point on the command line takes the image's command away, too.
    if config.entrypoint.is_none() {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd = image.cmd().clone();
        }
        config.entrypoint = image.entrypoint().clone();
    } else if config.entrypoint.as_deref() == Some(&[String::new()]) {
        config.entrypoint = None;
    }
    Ok(config)
}

#[cfg(test)]
#[path = "create_test.rs"]
mod tests;
