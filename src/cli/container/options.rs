//! The options that make a container, as `run` and `create` have them.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{ArgAction, Args, ValueEnum};

use hull_protocol::defaults::SHM_SIZE;

use super::{
    environment::Environment, health_options::HealthOptions, limit_options::LimitOptions,
    network_options::NetworkOptions, refused::Refused, security,
};
use crate::{
    config::Size,
    container::{
        Config, ContainerName, Error, HostConfig, LogConfig, Request, Result, limits,
        mount::{self, Asked, MountPoint},
        restart::RestartPolicy,
        shared,
    },
    image::pull::Policy,
};

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// Whether it is there or not
    Always,
    /// When it is not there
    Missing,
    /// Not at all
    Never,
}

impl From<Pull> for Policy {
    fn from(pull: Pull) -> Self {
        match pull {
            Pull::Always => Self::Always,
            Pull::Missing => Self::Missing,
            Pull::Never => Self::Never,
        }
    }
}

/// What to run, and how.
#[derive(Debug, Args)]
pub struct Options {
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<ContainerName>,
    /// Keep the input open, even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Attach to stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM", value_parser = ["stdin", "stdout", "stderr"], ignore_case = true)]
    pub attach: Vec<String>,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
    #[command(flatten)]
    environment: Environment,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIRECTORY", default_value = "")]
    workdir: String,
    /// User name or id, and group name or id
    #[arg(short, long, value_name = "USER[:GROUP]", default_value = "")]
    user: String,
    /// Most memory the container may use; without it, what half of the host has
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,
    /// Most processes; -1 is no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Command that the arguments are given to, instead of the image's
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME", default_value = "")]
    hostname: String,
    /// Make the container's root read-only
    #[arg(long)]
    read_only: bool,
    /// Mount a tmpfs
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Mount a folder or file of the host, or a volume
    #[arg(short, long, value_name = "[SOURCE:]PATH[:OPTIONS]")]
    volume: Vec<String>,
    /// Mount something: type=bind|volume|tmpfs, source=, target=, readonly, consistency=strict|cached, uid=, gid=
    #[arg(long, value_name = "KEY=VALUE,…")]
    mount: Vec<String>,
    /// Mount what another container has of the host, too
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,
    /// Size of /dev/shm (64m by default)
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<Size>,
    /// Add a capability
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// Give the container every privilege in its VM
    #[arg(long)]
    privileged: bool,
    /// no-new-privileges, seccomp=unconfined, seccomp=FILE (a profile as Docker has them), or systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Set a resource limit
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Run an init that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Run a whole system: cgroups of its own to divide, /run and /tmp in memory, its console as the log, an orderly shutdown. It is
    /// what a command such as /sbin/init or systemd gets anyway (true); always or false say so of any command
    #[arg(long, value_name = "WHEN", default_value = "true", value_parser = ["true", "always", "false"])]
    systemd: String,
    /// Set a label
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Set the labels of a file, one a line
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Note something about the container for whoever runs it
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Start the container again when it ends: no, on-failure[:NUMBER], always or unless-stopped. Nothing starts it after a
    /// restart of the host
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: RestartPolicy,
    #[command(flatten)]
    health: HealthOptions,
    /// How output is kept: json-file or local, which are the same here
    #[arg(long, value_name = "DRIVER", default_value = "json-file")]
    log_driver: String,
    /// Limit what is kept of the output: max-size=SIZE, max-file=NUMBER
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
    /// Let the process be in another group, too
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// How likely the process is to be killed for want of memory, -1000 to 1000
    #[arg(long, value_name = "NUMBER", default_value_t, allow_negative_numbers = true)]
    oom_score_adj: i16,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// CPUs of its VM that the container may use, such as 0-1 or 0,2
    #[arg(long, value_name = "CPUS", default_value = "")]
    cpuset_cpus: String,
    /// Run in this VM, which containers share that name it; started if need be. Its size is what vm/NAME.toml in hull's
    /// configuration folder says. container:NAME is the VM, and the network, of that container
    #[arg(long, value_name = "VM|container:NAME", default_value = "")]
    vm: String,
    #[command(flatten)]
    limits: LimitOptions,
    /// Signal that stops the container
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds before a container that is to stop is killed
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    /// Write the container's id to a new file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// When to pull the image
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub pull: Pull,
    /// Do not show a pull's progress
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    network: NetworkOptions,
    #[command(flatten)]
    refused: Refused,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The image, and the command to run in it
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    image_and_command: Vec<String>,
}

impl Options {
    /// The image, as it was asked for.
    pub fn image(&self) -> &str {
        self.image_and_command.first().map_or("", String::as_str)
    }

    /// What is asked of the container.
    ///
    /// # Errors
    /// When an option is not built yet, or makes no sense.
    pub fn request(&self, attached: &Attached) -> Result<Request> {
        self.refused.check().map_err(Error::Invalid)?;
        let network = self.network.read()?;
        let command = &self.image_and_command[1..];
        let config = Config {
            hostname: self.hostname.clone(),
            user: self.user.clone(),
            attach_stdin: attached.stdin,
            attach_stdout: attached.stdout,
            attach_stderr: attached.stderr,
            tty: self.tty,
            open_stdin: self.interactive,
            stdin_once: self.interactive && attached.stdin,
            env: self.environment.variables()?,
            cmd: (!command.is_empty()).then(|| command.to_vec()),
            image: self.image().to_owned(),
            working_dir: self.workdir.clone(),
            entrypoint: self.entrypoint.clone().map(|entrypoint| vec![entrypoint]),
            labels: self.labels()?,
            healthcheck: self.health.read()?,
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            exposed_ports: network.exposed,
        };
        let host_config = HostConfig {
            memory: self.memory.map_or(0, |size| size.0),
            nano_cpus: self.cpus.unwrap_or(0),
            pids_limit: self.pids_limit()?,
            readonly_rootfs: self.read_only,
            tmpfs: pairs(&self.tmpfs, ':'),
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            privileged: self.privileged,
            init: self.init,
            system: match self.systemd.as_str() {
                "always" => Some(true),
                "false" => Some(false),
                _ => None,
            },
            auto_remove: self.rm,
            shm_size: self.shm_size.map_or(SHM_SIZE, |size| size.0),
            ulimits: self.ulimit.iter().map(|limit| limits::parse(limit)).collect::<Result<_>>()?,
            security_opt: security::options(&self.security_opt)?,
            restart_policy: self.restart,
            log_config: LogConfig { kind: self.log_driver.clone(), config: pairs(&self.log_opt, '=') },
            group_add: self.group_add.clone(),
            oom_score_adj: self.oom_score_adj,
            sysctls: pairs(&self.sysctl, '='),
            cpuset_cpus: self.cpuset_cpus.clone(),
            annotations: pairs(&self.annotation, '='),
            ..network.host_config
        };
        let mut host_config = host_config;
        shared::choose(&self.vm, &mut host_config)?;
        self.limits.apply(&mut host_config)?;
        let mut mounts: Vec<MountPoint> =
            self.volume.iter().map(|text| mount::volume(text)).collect::<Result<_>>()?;
        host_config.binds = (!mounts.is_empty()).then(|| mounts.iter().map(MountPoint::as_bind).collect());
        for text in &self.mount {
            match mount::mount(text)? {
                Asked::Shared(point) => mounts.push(*point),
                Asked::Tmpfs(path, options) => drop(host_config.tmpfs.insert(path, options)),
            }
        }
        host_config.volumes_from = (!self.volumes_from.is_empty()).then(|| self.volumes_from.clone());
        let (networking, more_networks) = (network.endpoint, network.more);
        Ok(Request { name: self.name.clone(), config, host_config, mounts, networking, more_networks })
    }

    /// Labels of files and of the command line, which go before those.
    fn labels(&self) -> Result<BTreeMap<String, String>> {
        let mut labels = BTreeMap::new();
        for path in &self.label_file {
            let text = std::fs::read_to_string(path).map_err(Error::file("cannot read", path))?;
            let lines: Vec<_> = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .collect();
            labels.extend(pairs(&lines, '='));
        }
        labels.extend(pairs(&self.label, '='));
        Ok(labels)
    }

    fn pids_limit(&self) -> Result<Option<u32>> {
        match self.pids_limit {
            None | Some(0 | -1) => Ok(None),
            Some(limit) => u32::try_from(limit)
                .map(Some)
                .map_err(|_| Error::Invalid(format!("invalid PIDs limit: {limit}"))),
        }
    }
}

fn pairs(texts: &[impl AsRef<str>], separator: char) -> BTreeMap<String, String> {
    texts
        .iter()
        .map(AsRef::as_ref)
        .map(|text| text.split_once(separator).unwrap_or((text, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// CPUs in billionths.
pub fn parse_cpus(text: &str) -> Result<u64, String> {
    let cpus: f64 = text.parse().map_err(|_| "write a number of CPUs, such as 1.5".to_owned())?;
    if cpus.is_finite() && (0.0..=1e6).contains(&cpus) {
        Ok((cpus * 1e9).round() as u64)
    } else {
        Err("write a number of CPUs, such as 1.5".to_owned())
    }
}

/// The streams that a front end attaches to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attached {
    /// Its input.
    pub stdin: bool,
    /// Its output.
    pub stdout: bool,
    /// Its errors.
    pub stderr: bool,
}

impl Attached {
    /// What these options ask for, when not detached.
    pub fn of(options: &Options) -> Self {
        let asked = |stream: &str| options.attach.iter().any(|name| name.eq_ignore_ascii_case(stream));
        if options.attach.is_empty() {
            Self { stdin: options.interactive, stdout: true, stderr: true }
        } else {
            Self {
                stdin: asked("stdin") && options.interactive,
                stdout: asked("stdout"),
                stderr: asked("stderr"),
            }
        }
    }
}

#[cfg(test)]
#[path = "options_test.rs"]
mod tests;
