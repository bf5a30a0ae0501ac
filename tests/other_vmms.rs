//! hull's guest kernel is a kernel for any VMM: others boot it from a virtio disk to what user space prints.
//!
//! Each is looked for on PATH, or where `HULL_FIRECRACKER`, `HULL_CLOUD_HYPERVISOR` or `HULL_QEMU` says. The disk is
//! busybox's layer as hull keeps it, the first process busybox without arguments, which prints what it is.

mod common;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Home, eventually, hull_path};
use hull_arch::arguments::KernelKind;
use hull_arch::quirks::Quirks;

/// Only user space says this.
const PRINTED: &str = "BusyBox v";

/// What a VMM is to boot.
struct Guest {
    kernel: PathBuf,
    disk: PathBuf,
    /// Where the test may keep files.
    folder: PathBuf,
}

impl Guest {
    fn new(home: &Home) -> Self {
        let layers = fs::read_dir(home.folder.path().join("data/hull/layers")).expect("layers");
        let layer = layers
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension() == Some("erofs".as_ref()));
        Guest {
            kernel: hull_path().parent().and_then(Path::parent).expect("bin/hull").join("lib/hull/vmlinux"),
            disk: layer.expect("busybox's layer"),
            folder: home.folder.path().to_owned(),
        }
    }

    /// The kernel's command line: with this console, and what this host asks for.
    fn arguments(&self, console: &str) -> String {
        let quirks = Quirks::detect().kernel_arguments(KernelKind::Hull).join(" ");
        format!(
            "console={console} quiet=5 tsc=reliable reboot=k root=/dev/vda ro rootfstype=erofs init=/bin/busybox {quirks}"
        )
    }
}

/// Lets a VMM boot the kernel until user space has printed; reports the test as skipped where there is no such VMM.
fn boots(test: &str, variable: &str, program: &str, arguments: impl FnOnce(&Guest) -> Vec<String>) {
    let Some(home) = Home::with_busybox(test) else { return };
    let program = std::env::var_os(variable).unwrap_or_else(|| program.into());
    let output = home.folder.path().join("output");
    let file = File::create(&output).expect("a file");
    let child = Command::new(&program)
        .args(arguments(&Guest::new(&home)))
        // By this the home finds it, to kill it whatever happens.
        .env("TMPDIR", home.folder.path())
        .stdin(Stdio::null())
        .stderr(file.try_clone().expect("a file"))
        .stdout(file)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        // A folder of PATH that may not be looked into makes it a permission that is missing.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return common::skip(test, &format!("no {} on PATH, and no {variable}", program.display()));
        }
        Err(error) => panic!("{}: {error}", program.display()),
    };
    let mut text = String::new();
    eventually("a line from user space", || {
        let ended = child.try_wait().expect("a child").is_some();
        text = String::from_utf8_lossy(&fs::read(&output).expect("the output")).into_owned();
        ended || text.contains(PRINTED)
    });
    let _ = child.kill();
    child.wait().expect("the VMM's end");
    assert!(text.contains(PRINTED), "{text}");
}

/// Virtio over mmio, found by ACPI or by arguments; the kernel is entered as its 64-bit boot protocol says.
#[test]
fn firecracker_boots_the_kernel() {
    boots("firecracker_boots_the_kernel", "HULL_FIRECRACKER", "firecracker", |guest| {
        let settings = serde_json::json!({
            "boot-source": { "kernel_image_path": guest.kernel, "boot_args": guest.arguments("ttyS0") },
            "drives": [
                { "drive_id": "root", "path_on_host": guest.disk, "is_root_device": true, "is_read_only": true }
            ],
            "machine-config": { "vcpu_count": 1, "mem_size_mib": 128 },
        });
        let file = guest.folder.join("firecracker.json");
        fs::write(&file, settings.to_string()).expect("a file");
        vec!["--no-api".into(), "--config-file".into(), file.display().to_string()]
    });
}

/// Virtio over PCI, ACPI, and the entry of the PVH note.
#[test]
fn cloud_hypervisor_boots_the_kernel() {
    boots("cloud_hypervisor_boots_the_kernel", "HULL_CLOUD_HYPERVISOR", "cloud-hypervisor", |guest| {
        let disk = format!("path={},readonly=on,image_type=raw", guest.disk.display());
        let kernel = guest.kernel.display().to_string();
        let arguments = guest.arguments("hvc0");
        let words = ["--kernel", &kernel, "--cmdline", &arguments, "--disk", &disk];
        let machine = ["--cpus", "boot=1", "--memory", "size=128M", "--serial", "off", "--console", "tty"];
        words.into_iter().chain(machine).map(str::to_owned).collect()
    });
}

/// Virtio over mmio, found by ACPI; the kernel is entered through the firmware, by the PVH note.
#[test]
fn qemu_microvm_boots_the_kernel() {
    boots("qemu_microvm_boots_the_kernel", "HULL_QEMU", "qemu-system-x86_64", |guest| {
        let disk = format!("if=none,id=root,format=raw,readonly=on,file={}", guest.disk.display());
        let kernel = guest.kernel.display().to_string();
        let arguments = guest.arguments("ttyS0");
        let words = ["-kernel", &kernel, "-append", &arguments, "-drive", &disk];
        // A bit of CPUID that some hosts' KVM offers and then refuses is left out.
        let machine = "-M microvm,accel=kvm -cpu host,-arch-capabilities -smp 1 -m 128 -nodefaults -no-user-config \
                       -nographic -no-reboot -serial stdio -device virtio-blk-device,drive=root";
        words.into_iter().chain(machine.split(' ')).map(str::to_owned).collect()
    });
}
