//! What Docker gives a container that asks for nothing else.
//!
//! Host and agent share these because the agent has an empty container of exactly this kind ready before it is asked for
//! one: a request with other values is served as well, only later.

/// Paths hidden unless a container is privileged.
pub const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that are read-only unless a container is privileged.
pub const READ_ONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Kernel parameters of a container with a network of its own: anybody may `ping` and bind low ports. Not the first for one with a
/// user namespace, which has no groups of such numbers.
pub const SYSCTLS: &[(&str, &str)] =
    &[("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")];

/// Capabilities, a bit each as `linux/capability.h` numbers them: chown, dac_override, fowner, fsetid, kill, setgid, setuid,
/// setpcap, net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap.
pub const CAPABILITIES: u64 = 0xa804_25fb;

/// Size of `/dev/shm` in bytes.
pub const SHM_SIZE: u64 = 64 << 20;
