//! What a shared VM is: `vm/NAME.toml` in hull's configuration folder, or as large as a VM of a container without limits.
//!
//! ```toml
//! [machine]
//! vcpus = 2
//! memory = "2G"      # what its containers can have together, and the guest's kernel
//! ```

use std::{fs, io::ErrorKind, path::PathBuf};

use hull_protocol::Limits;
use serde::Deserialize;

use crate::{
    config::{MAX_VCPUS, Name, Size},
    container::{
        HostConfig, Share, VmSize,
        error::{Error, Result},
        process,
        sizing::Host,
        template::Purpose,
    },
    folders,
};

/// A file over this many bytes is no VM file.
const MAX_FILE: u64 = 1 << 20;

/// A shared VM's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// As its guest is told of it.
    pub size: VmSize,
    /// What all of its containers have.
    pub share: Share,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    machine: Machine,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Machine {
    vcpus: Option<u8>,
    memory: Option<Size>,
}

/// Where the file of this VM is, if there is one.
fn path(name: &Name) -> PathBuf {
    let folder = folders::user(Some("HULL_CONFIG"), "XDG_CONFIG_HOME", ".config", "/etc/hull");
    folder.join("vm").join(format!("{name}.toml"))
}

impl Plan {
    /// That of the VM of this name.
    ///
    /// # Errors
    /// When its file cannot be read, or says what cannot be; the message names file, line and column.
    pub fn of(name: &Name) -> Result<Self> {
        let path = path(name);
        let text = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Ok(about) if about.len() > MAX_FILE => {
                return Err(Error::Invalid(format!("{} is too long for a VM file", path.display())));
            }
            _ => fs::read_to_string(&path).map_err(Error::file("cannot read the VM file", &path))?,
        };
        Self::parse(&text, Host::this())
            .map_err(|error| Error::Invalid(format!("{}: {}", path.display(), error.trim_end())))
    }

    fn parse(text: &str, host: Host) -> Result<Self, String> {
        let File { machine: Machine { vcpus, memory } } =
            toml::from_str(text).map_err(|error| error.to_string())?;
        let none = HostConfig::default();
        let (mut size, mut share) = host
            .vm_size(&none)
            .and_then(|size| Ok((size, host.share(&none)?)))
            .map_err(|error| error.to_string())?;
        if let Some(vcpus) = vcpus {
            if !(1..=MAX_VCPUS).contains(&vcpus) {
                return Err(format!("machine.vcpus: {vcpus} is not between 1 and {MAX_VCPUS}"));
            }
            (share.cpus, size.vcpus) = (vcpus, vcpus.next_power_of_two().min(MAX_VCPUS));
        }
        if let Some(memory) = memory {
            if !(size.memory..=host.memory).contains(&memory.0) {
                return Err(format!(
                    "machine.memory: {memory} is not between the {} that a VM begins with and the {} MiB of this host",
                    Size(size.memory),
                    host.memory / Size::MIB
                ));
            }
            share.memory = memory.0;
        }
        Ok(Self { size, share })
    }

    /// That of a container's VM, its own or one that it shares, which has what its limits say.
    ///
    /// # Errors
    /// When they are out of range, or the shared VM's file is wrong.
    pub fn of_container(host_config: &HostConfig) -> Result<Self> {
        if let Some(name) = &host_config.vm {
            let plan = Self::of(name)?;
            plan.check(name, host_config)?;
            return Ok(plan);
        }
        let host = Host::this();
        host.check_cpuset(host_config)?;
        Ok(Self { size: host.vm_size(host_config)?, share: host.share(host_config)? })
    }

    /// What its VM goes on from.
    pub fn purpose(&self) -> Purpose {
        Purpose { size: self.size, image: None }
    }

    /// Refuses limits that are more than the VM has, and what would let one container speak for another.
    ///
    /// # Errors
    /// Which, and what the VM has.
    pub fn check(&self, name: &Name, host_config: &HostConfig) -> Result<()> {
        let seccomp = process::security_options(&host_config.security_opt)?.seccomp;
        if seccomp == process::Seccomp::Unconfined && !host_config.privileged {
            return Err(Error::Invalid(format!(
                "--security-opt seccomp=unconfined: a container without a filter reaches what others of VM {name} say to the host; \
                 leave --vm out"
            )));
        }
        let Share { memory, cpus } = self.share;
        let larger =
            format!("give it more in vm/{name}.toml of hull's configuration folder, or leave --vm out");
        if host_config.memory > memory {
            return Err(Error::Invalid(format!(
                "--memory {}: VM {name} has {} for all of its containers; {larger}",
                Size(host_config.memory),
                Size(memory)
            )));
        }
        if host_config.cpus() > u64::from(cpus) * 1_000_000_000 {
            return Err(Error::Invalid(format!(
                "--cpus {}: VM {name} has {cpus}; {larger}",
                host_config.cpus() as f64 / 1e9
            )));
        }
        Host::check_cpus(&host_config.cpuset_cpus, cpus)
    }

    /// The limits of one of its containers. CPUs are time here, and not which: else all that may use one would use the same.
    pub fn limits(&self, host_config: &HostConfig) -> Limits {
        let millis = host_config.cpus().div_ceil(1_000_000);
        Limits {
            cpu_millis: (millis > 0).then(|| u32::try_from(millis).unwrap_or(u32::MAX)),
            guest_memory: None,
            ..process::limits(host_config, self.size, self.share)
        }
    }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
