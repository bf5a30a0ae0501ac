//! The checks of `hull doctor`, one a function.

use std::path::Path;

use hull_arch::quirks::Quirks;

use super::Finding;
use crate::assets::Assets;
use crate::config::Size;
use crate::vmm::{confinement::has_landlock, namespaces};

/// Memory below which the first container already may not fit.
const LITTLE_MEMORY: Size = Size::mib(768);
/// Space for images below which a pull is likely to fail.
const LITTLE_SPACE: Size = Size(2 << 30);

/// What runs guests: VT-x, AMD-V, or `kvm_pvm` with what follows from it.
pub fn virtualization() -> Vec<Finding> {
    const SUBJECT: &str = "virtualization";
    let quirks = Quirks::detect();
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| flags.split_ascii_whitespace().any(|word| word == flag);
    let mut findings = vec![match (has("vmx"), has("svm"), quirks.pvm) {
        (true, _, false) => Finding::good(SUBJECT, "VT-x"),
        (_, true, false) => Finding::good(SUBJECT, "AMD-V"),
        (_, _, true) => Finding::warning(
            SUBJECT,
            "kvm_pvm: guest programs run at full speed, but the guest's kernel is interpreted at a few million \
             instructions a second",
            "containers start in seconds rather than in a fraction of one; for full speed use a host with VT-x or AMD-V",
        ),
        (false, false, false) => Finding::problem(
            SUBJECT,
            "the CPU shows neither VT-x nor AMD-V",
            "switch virtualization on in the firmware, or, inside a VM, switch nested virtualization on for it",
        ),
    }];
    for warning in quirks.warnings() {
        findings.push(Finding::warning(SUBJECT, warning.what, warning.remedy));
    }
    findings
}

/// Access to `/dev/kvm`.
pub fn kvm() -> Finding {
    const SUBJECT: &str = "/dev/kvm";
    const API: i32 = 12;
    let path = Path::new("/dev/kvm");
    match std::fs::OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::problem(
            SUBJECT,
            "does not exist",
            "load KVM: `sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`; in a container of another engine, pass --device /dev/kvm",
        ),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::problem(
            SUBJECT,
            "no permission",
            "`sudo usermod -aG kvm $USER` and log in again, or `sudo setfacl -m u:$USER:rw /dev/kvm` for now",
        ),
        Err(error) => Finding::problem(SUBJECT, error.to_string(), "look at `dmesg | grep -i kvm`"),
        Ok(_) => match kvm_ioctls::Kvm::new().map(|kvm| kvm.get_api_version()) {
            Ok(API) => Finding::good(SUBJECT, "usable"),
            Ok(other) => Finding::problem(
                SUBJECT,
                format!("version {other} of its API, hull needs {API}"),
                "use a kernel of this century",
            ),
            Err(error) => Finding::problem(SUBJECT, error.to_string(), "look at `dmesg | grep -i kvm`"),
        },
    }
}

/// Guest kernel, guest rootfs, template of data disks.
pub fn assets() -> Vec<Finding> {
    let assets = match Assets::find() {
        Ok(assets) => assets,
        Err(error) => return vec![Finding::problem("assets", format!("{error:#}"), "set HULL_ASSETS")],
    };
    [
        ("guest kernel", assets.kernel()),
        ("guest rootfs", assets.rootfs()),
        ("data disk template", assets.data_disk()),
    ]
    .into_iter()
    .map(|(subject, path)| match std::fs::File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.len() > 0 => Finding::good(subject, path.display().to_string()),
        Ok(_) => Finding::problem(subject, format!("{} is empty", path.display()), "run `make build`"),
        Err(error) => Finding::problem(
            subject,
            format!("{}: {error}", path.display()),
            "run `make build`, install hull with its lib folder, or set HULL_ASSETS",
        ),
    })
    .collect()
}

/// Memory that guests could have.
pub fn memory() -> Finding {
    const SUBJECT: &str = "free memory";
    match available_memory() {
        Some(free) if free < LITTLE_MEMORY => Finding::warning(
            SUBJECT,
            format!("{} MiB", free.0 / Size::MIB),
            "a container's VM has 512 MiB by default; end something, or give less with -m",
        ),
        Some(free) => Finding::good(SUBJECT, format!("{} MiB", free.0 / Size::MIB)),
        None => Finding::warning(SUBJECT, "/proc/meminfo cannot be read", "mount /proc"),
    }
}

/// `MemAvailable` of this host.
pub fn available_memory() -> Option<Size> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Size(kib << 10))
}

/// What confines a VM that sees folders of the host, beyond seccomp: namespaces and landlock. Containers without such folders start
/// without.
pub fn confinement() -> Finding {
    const SUBJECT: &str = "shared folders";
    let remedy = "an ordinary user needs user namespaces for them: look at `sysctl -a | grep userns`; where AppArmor keeps them from \
                  programs without a profile (Ubuntu 24.04), give hull one with `userns,` in it, or set \
                  kernel.apparmor_restrict_unprivileged_userns=0";
    let refused = namespaces::refused().unwrap_or_else(|error| Some(error.to_string()));
    match (refused, has_landlock()) {
        (None, true) => Finding::good(SUBJECT, "confined by namespaces and landlock"),
        (None, false) => Finding::warning(
            SUBJECT,
            "confined by namespaces; this kernel has no landlock",
            "boot it with `lsm=landlock,…`, or use a kernel of 5.13 or newer",
        ),
        (Some(reason), true) => {
            Finding::warning(SUBJECT, format!("confined by landlock alone; no namespaces: {reason}"), remedy)
        }
        (Some(reason), false) => Finding::warning(
            SUBJECT,
            format!("none: this kernel has no landlock, and no namespaces: {reason}"),
            remedy,
        ),
    }
}

/// Where images go, and whether there is room.
pub fn storage() -> Finding {
    const SUBJECT: &str = "image store";
    let root = match crate::image::Store::open() {
        Ok(store) => store.root().to_owned(),
        Err(error) => {
            return Finding::problem(
                SUBJECT,
                format!("{error:#}"),
                "make its folder writable, or set HULL_DATA",
            );
        }
    };
    match rustix::fs::statvfs(&root) {
        Ok(statistics) => {
            let free = Size(statistics.f_bavail.saturating_mul(statistics.f_frsize));
            let found = format!("{}, {} MiB free", root.display(), free.0 / Size::MIB);
            if free < LITTLE_SPACE {
                Finding::warning(
                    SUBJECT,
                    found,
                    "remove images that are not used (`hull rmi`), or set HULL_DATA",
                )
            } else {
                Finding::good(SUBJECT, found)
            }
        }
        Err(error) => Finding::problem(SUBJECT, format!("{}: {error}", root.display()), "set HULL_DATA"),
    }
}
