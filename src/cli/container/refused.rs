//! Options of `docker run` that hull does not have yet: known, so that each is refused by name and none ignored.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// An option that is not built yet.
struct Option {
    name: &'static str,
    /// A flag without a value.
    flag: bool,
    reason: &'static str,
}

const fn value(name: &'static str, reason: &'static str) -> Option {
    Option { name, flag: false, reason }
}

const fn flag(name: &'static str, reason: &'static str) -> Option {
    Option { name, flag: true, reason }
}

const NETWORK: &str = "containers have no IPv6 address and no link-local one yet";
const LINK: &str = "containers of one network know each other by name";
const CPU: &str = "a guest's kernel has no real-time groups";
const MEMORY: &str = "a guest's kernel has no such limit";
const DISK: &str = "a container has no disk of the host's: its disks are those of its VM";
const DEVICE: &str = "a container has no devices of the host: it runs in a VM of its own";
const NAMESPACE: &str = "a container's namespaces are always its own so far";
const WINDOWS: &str = "it is for Windows containers";

const REFUSED: &[Option] = &[
    value("blkio-weight", DISK),
    value("blkio-weight-device", DISK),
    value("cgroup-parent", "a container's cgroup is in a VM of its own"),
    value("cgroupns", NAMESPACE),
    value("cpu-count", WINDOWS),
    value("cpu-percent", WINDOWS),
    value("cpu-rt-period", CPU),
    value("cpu-rt-runtime", CPU),
    value("device", DEVICE),
    value("device-cgroup-rule", DEVICE),
    flag("disable-content-trust", "images are not signed here"),
    value("domainname", "the name of a container's domain cannot be set yet"),
    value("gpus", DEVICE),
    value("io-maxbandwidth", WINDOWS),
    value("io-maxiops", WINDOWS),
    value("ip6", NETWORK),
    value("ipc", NAMESPACE),
    value("isolation", WINDOWS),
    value("kernel-memory", MEMORY),
    value("link", LINK),
    value("link-local-ip", NETWORK),
    flag("oom-kill-disable", MEMORY),
    value("pid", NAMESPACE),
    value("platform", "a guest runs linux/amd64 only"),
    value("runtime", "there is one runtime: a VM"),
    value("storage-opt", "the size of a writable layer cannot be set yet"),
    flag("use-api-socket", "there is no Docker API yet"),
    value("userns", NAMESPACE),
    value("uts", NAMESPACE),
    value("volume-driver", "volumes are folders of the host"),
];

/// What asks for what is there anyway.
const GRANTED: &[(&str, &str)] = &[
    ("platform", "linux/amd64"),
    ("platform", "linux"),
    ("ipc", "private"),
    // It is the one of its VM, which is the container's own.
    ("userns", "host"),
    ("cgroupns", "private"),
    ("volume-driver", "local"),
];

/// The refused options that were used anyway.
#[derive(Debug, Clone, Default)]
pub struct Refused(Vec<String>);

impl Refused {
    /// Refuses what was used.
    pub fn check(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0.join("\n")) }
    }
}

impl FromArgMatches for Refused {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut refused = Self::default();
        refused.update_from_arg_matches(matches)?;
        Ok(refused)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let used = |option: &&Option| {
            if option.flag {
                return matches.get_flag(option.name);
            }
            let mut values = matches.get_many::<String>(option.name).into_iter().flatten();
            values.any(|value| !GRANTED.contains(&(option.name, value.as_str())))
        };
        self.0 = REFUSED
            .iter()
            .filter(used)
            .map(|option| format!("--{}: {}", option.name, option.reason))
            .collect();
        Ok(())
    }
}

impl Args for Refused {
    fn augment_args(command: Command) -> Command {
        command.args(REFUSED.iter().map(|option| {
            let action = if option.flag { ArgAction::SetTrue } else { ArgAction::Append };
            Arg::new(option.name).long(option.name).hide(true).action(action)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
