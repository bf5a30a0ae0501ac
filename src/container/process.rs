//! What the agent is told of a container and its process.

use std::collections::BTreeMap;

use hull_arch::quirks::Quirks;
use hull_protocol::{Container, Extent, Limits, Mount, Process, WindowSize, defaults};

use super::{
    Config, Description, HostConfig, Share, VmSize, budget,
    capability::Capabilities,
    error::{Error, Result},
    limits as resource,
    mount::depth,
    networking, seccomp, system,
};

/// Where commands are looked for when nobody says.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Options of a tmpfs when only its path is given; as Docker has them.
const TMPFS_OPTIONS: [&str; 4] = ["rw", "noexec", "nosuid", "nodev"];

/// What `--security-opt` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// `no-new-privileges`
    pub no_new_privileges: bool,
    /// `seccomp=`
    pub seccomp: Seccomp,
    /// `systempaths=unconfined`
    pub unmasked: bool,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// Those that Docker's may.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// Those of a profile, which is this JSON document.
    Profile(String),
}

/// Reads `--security-opt`.
///
/// # Errors
/// When one is not known. What is in a profile is not looked at yet.
pub fn security_options(options: &[String]) -> Result<Security> {
    let mut security = Security::default();
    for option in options {
        let refused = || Error::Invalid(format!("invalid --security-opt: \"{option}\": not supported"));
        let (name, value) = match option.find(['=', ':']) {
            Some(at) => (&option[..at], &option[at + 1..]),
            None => (option.as_str(), "true"),
        };
        match (name, value) {
            ("no-new-privileges", "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", seccomp::UNCONFINED) => security.seccomp = Seccomp::Unconfined,
            ("seccomp", seccomp::BUILT_IN) => security.seccomp = Seccomp::Default,
            ("seccomp", profile) if profile.trim_start().starts_with('{') => {
                security.seccomp = Seccomp::Profile(profile.to_owned());
            }
            ("systempaths", "unconfined") => security.unmasked = true,
            // The guest has neither of these.
            ("apparmor", "unconfined") | ("label", "disable") => {}
            _ => return Err(refused()),
        }
    }
    Ok(security)
}

/// The container, as the agent is told of it. `layers` are the places of its layers on the layer disk.
/// `shared` is what is mounted from the host.
pub fn container(
    description: &Description,
    layers: Vec<Extent>,
    size: VmSize,
    share: Share,
    shared: Vec<Mount>,
) -> Container {
    let host_config = &description.host_config;
    let config = &description.config;
    let mut mounts: Vec<Mount> =
        host_config.tmpfs.iter().map(|(path, options)| tmpfs(path, options)).collect();
    mounts.extend(shared);
    if host_config.is_system() {
        let free = |path: &&(&str, &str)| !mounts.iter().any(|mount| mount.destination == path.0);
        let own: Vec<_> =
            system::TMPFS.iter().filter(free).map(|(path, options)| tmpfs(path, options)).collect();
        mounts.extend(own);
    }
    mounts.sort_by_key(|mount| depth(&mount.destination));
    // What the user mounts there is there.
    let mut files = networking::files(description, &[]);
    files.retain(|file| !mounts.iter().any(|mount| mount.destination == file.path));
    Container {
        id: description.id.to_string(),
        hostname: config.hostname.clone(),
        layers,
        read_only: host_config.readonly_rootfs,
        mounts,
        files,
        networks: Vec::new(),
        limits: limits(host_config, size, share),
        masked_paths: host_config.masked_paths.clone(),
        read_only_paths: host_config.readonly_paths.clone(),
        privileged: host_config.privileged,
        system: host_config.is_system(),
        user_namespace: false,
        shm_size: host_config.shm_size,
        sysctls: sysctls(&host_config.sysctls),
        shared: host_config.vm.is_some(),
        network_of: networking::other(&host_config.network_mode).map(str::to_owned),
    }
}

/// The limits of a container's cgroup.
pub fn limits(host_config: &HostConfig, size: VmSize, share: Share) -> Limits {
    Limits {
        memory: (host_config.memory > 0).then_some(host_config.memory),
        guest_memory: (share.memory > size.memory).then_some(share.memory),
        cpus: (share.cpus < size.vcpus).then_some(share.cpus),
        cpu_millis: cpu_limit(host_config.cpus()),
        pids: host_config.pids_limit,
        cpuset: host_config.cpuset_cpus.clone(),
        cpu_period: host_config.cpu_period(),
        cpu_weight: budget::weight(host_config.cpu_shares),
        memory_low: (host_config.memory_reservation > 0).then_some(host_config.memory_reservation),
        disks: budget::disks(host_config),
    }
}

/// Kernel parameters: the default ones, and those that were asked for.
fn sysctls(wanted: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let defaults = defaults::SYSCTLS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let defaults = defaults.filter(|(name, _)| !wanted.contains_key(name));
    let wanted = wanted.iter().map(|(name, value)| (name.clone(), value.clone()));
    defaults.chain(wanted).collect()
}

/// Refuses kernel parameters that are not of a container's namespaces.
///
/// # Errors
/// With Docker's words.
pub fn check_sysctls(wanted: &BTreeMap<String, String>) -> Result<()> {
    for name in wanted.keys() {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let known = hull_protocol::IPC_SYSCTLS.contains(&&**name)
            || name.starts_with("net.")
            || name.starts_with("fs.mqueue.");
        if !known || !plain || name.contains("..") {
            return Err(Error::Invalid(format!("sysctl '{name}' is not allowed")));
        }
    }
    Ok(())
}

/// What the guest has to see to. The container sees as many CPUs as the limit, rounded up ([`super::sizing`]): a whole number is no
/// limit there.
fn cpu_limit(nano_cpus: u64) -> Option<u32> {
    const CPU: u64 = 1_000_000_000;
    (!nano_cpus.is_multiple_of(CPU))
        .then(|| u32::try_from(nano_cpus.div_ceil(CPU / 1000)).unwrap_or(u32::MAX))
}

fn tmpfs(path: &str, options: &str) -> Mount {
    let mut all: Vec<String> = TMPFS_OPTIONS.map(str::to_owned).to_vec();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        // A later option wins; its opposite would only confuse.
        let opposite = match option {
            "exec" => "noexec",
            "suid" => "nosuid",
            "dev" => "nodev",
            "ro" => "rw",
            _ => "",
        };
        all.retain(|known| known != opposite && known != option);
        all.push(option.to_owned());
    }
    Mount {
        kind: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        destination: path.to_owned(),
        options: all,
        ..Mount::default()
    }
}

/// The container's first process.
///
/// # Errors
/// When a capability or a limit is not known, which creation has checked.
pub fn process(description: &Description) -> Result<Process> {
    let (config, host_config) = (&description.config, &description.host_config);
    let security = security_options(&host_config.security_opt)?;
    let capabilities = capabilities(host_config)?;
    Ok(Process {
        args: config.args(),
        env: environment(config, config.tty, &of_host(host_config), &[]),
        cwd: if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() },
        user: config.user.clone(),
        // What a system says on its console is its log.
        terminal: (config.tty || host_config.is_system()).then_some(WindowSize { columns: 80, rows: 24 }),
        capabilities: capabilities.0,
        seccomp: filter(host_config, &security.seccomp, capabilities)?,
        no_new_privileges: security.no_new_privileges,
        rlimits: resource::rlimits(&host_config.ulimits)?,
        init: host_config.init,
        tool: None,
        oom_score_adj: host_config.oom_score_adj,
        groups: host_config.group_add.clone(),
    })
}

/// The seccomp program of a container.
fn filter(host_config: &HostConfig, seccomp: &Seccomp, capabilities: Capabilities) -> Result<Vec<u64>> {
    match seccomp {
        // One that is asked for is for a privileged container as well, as with Docker.
        Seccomp::Profile(text) => {
            // Vsock is how a keeper is spoken to, and in a shared VM it is not this container's only.
            let confined = host_config.vm.is_some() && !host_config.privileged;
            seccomp::of_profile(text, capabilities, confined)
        }
        _ if host_config.privileged => Ok(Vec::new()),
        Seccomp::Unconfined => Ok(Vec::new()),
        Seccomp::Default => seccomp::docker_default(capabilities),
    }
}

/// Refuses security options that are not known, and profiles that are none.
///
/// # Errors
/// Which, and why.
pub fn check_security(host_config: &HostConfig) -> Result<()> {
    let security = security_options(&host_config.security_opt)?;
    match &security.seccomp {
        Seccomp::Profile(_) => filter(host_config, &security.seccomp, capabilities(host_config)?).map(drop),
        _ => Ok(()),
    }
}

/// Variables that a container has because of where it runs.
pub(super) fn of_host(host_config: &HostConfig) -> Vec<&'static str> {
    let system = host_config.is_system().then_some(system::ENVIRONMENT);
    Quirks::detect().environment().iter().copied().chain(system).collect()
}

fn capabilities(host_config: &HostConfig) -> Result<Capabilities> {
    if host_config.privileged {
        return Ok(Capabilities::ALL);
    }
    // In a shared VM a frame with another's address would pass for that one's, who may be in another network.
    let raw = ["NET_RAW".to_owned()];
    let all = |capability: &String| capability.eq_ignore_ascii_case("ALL");
    let withheld = host_config.vm.is_some() && !host_config.cap_add.iter().any(all);
    let dropped = if withheld {
        [host_config.cap_drop.as_slice(), &raw].concat()
    } else {
        host_config.cap_drop.clone()
    };
    let mut added = host_config.cap_add.clone();
    if host_config.is_system()
        && !host_config.cap_drop.iter().any(|name| all(name) || name.ends_with(system::CAPABILITY))
    {
        added.push(system::CAPABILITY.to_owned());
    }
    Capabilities::of_container(&added, &dropped)
}

/// Docker's own variables, under those of the container and these. One without `=` takes its variable away.
pub(super) fn environment(config: &Config, terminal: bool, of_host: &[&str], own: &[String]) -> Vec<String> {
    let mut environment = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", config.hostname)];
    environment.extend(of_host.iter().map(|variable| (*variable).to_owned()));
    if terminal {
        environment.push("TERM=xterm".to_owned());
    }
    for variable in config.env.iter().chain(own) {
        let name = variable.split('=').next().unwrap_or_default();
        let known = environment.iter_mut().find(|known| known.split('=').next() == Some(name));
        match known {
            Some(known) => known.clone_from(variable),
            None => environment.push(variable.clone()),
        }
    }
    environment.retain(|variable| variable.contains('='));
    environment
}

#[cfg(test)]
#[path = "process_test.rs"]
pub(super) mod tests;
