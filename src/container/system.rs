//! Containers that are whole systems: those whose command is an init. They get what systemd and Debian's sysvinit need of whoever
//! contains them (systemd's "Container Interface"), as Podman gives it to them.

use hull_protocol::Signal;

use super::HostConfig;

/// What is an init by its path, as for Podman. `/init` is the command of many an image that is no system.
const INITS: [&str; 3] = ["/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"];
/// What is one by its name, wherever it is.
const SYSTEMD: &str = "systemd";

/// `SIGRTMIN+3`; in the guest it becomes what another init than systemd understands.
pub const SHUT_DOWN: Signal = 37;
/// Seconds that a system has to shut down, as systemd gives each of its services.
pub const STOP_TIMEOUT: i64 = 90;
/// By this an init knows that it is in a container.
pub const ENVIRONMENT: &str = "container=oci";
/// Where it finds file systems in memory: path, options.
pub const TMPFS: [(&str, &str); 3] =
    [("/run", "exec,mode=755"), ("/run/lock", "mode=1777,size=5m"), ("/tmp", "exec,mode=1777")];
/// To halt ends the container and nothing else.
pub const CAPABILITY: &str = "SYS_BOOT";

/// Whether this command is an init, that would be PID 1.
pub fn is_init(args: &[String], host_config: &HostConfig) -> bool {
    let Some(command) = args.first().filter(|_| !host_config.init) else { return false };
    let name = command.rsplit('/').next().unwrap_or_default();
    INITS.contains(&command.as_str()) || (name == SYSTEMD && command.starts_with('/'))
}

#[cfg(test)]
#[path = "system_test.rs"]
mod tests;
