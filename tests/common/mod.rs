//! What the end to end tests share: the built program, a home of its own for each test, and its images.
//!
//! `HULL_BIN` names the program (default `build/bin/hull`, as `make build` leaves it), `HULL_IMAGES` a folder with
//! `busybox.tar` and the like. A test that cannot run here says so with [`skip`], which reports its name.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod pty;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The program under test.
pub fn hull_path() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("build/bin/hull");
    std::env::var_os("HULL_BIN").map_or_else(built, PathBuf::from)
}

/// Whether the full counts are asked for (`make soak`).
pub fn soak() -> bool {
    std::env::var_os("HULL_SOAK").is_some_and(|value| !value.is_empty())
}

/// Reports that the named test cannot run here. The caller returns after it.
pub fn skip(test: &str, reason: &str) {
    let line = format!("{test}: {reason}\n");
    eprint!("SKIPPED {line}");
    if let Some(path) = std::env::var_os("HULL_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list of skipped tests");
    }
}

/// Whether VMs can run here; reports the test as skipped when not.
pub fn need_kvm(test: &str) -> bool {
    let usable = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    usable.inspect_err(|error| skip(test, &format!("cannot open /dev/kvm: {error}"))).is_ok()
}

/// An image file, or a report that the test is skipped.
pub fn need_image(test: &str, name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("HULL_IMAGES").map(PathBuf::from);
    let path = folder.map(|folder| folder.join(format!("{name}.tar"))).filter(|path| path.exists());
    if path.is_none() {
        skip(test, &format!("no image {name}.tar in HULL_IMAGES; `make test` makes it"));
    }
    path
}

/// A user's data and state for one test, removed with everything that still runs in it.
pub struct Home {
    /// The folder.
    pub folder: TempDir,
}

impl Home {
    /// An empty home.
    pub fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("hull-").tempdir().expect("a temporary folder") }
    }

    /// A home with busybox in it, ready to run; `None` when the test is skipped.
    pub fn with_busybox(test: &str) -> Option<Self> {
        Self::with_image(test, "busybox")
    }

    /// A home with the named image in it; `None` when the test is skipped.
    pub fn with_image(test: &str, name: &str) -> Option<Self> {
        if !need_kvm(test) {
            return None;
        }
        let image = need_image(test, name)?;
        let home = Self::new();
        home.ok(&["load", "-i", image.to_str().expect("a path in UTF-8")]);
        Some(home)
    }

    /// hull with these arguments, in this home.
    pub fn hull(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(hull_path());
        command
            .args(arguments)
            .env("HOME", self.folder.path())
            .env_remove("HULL_DATA")
            .env_remove("HULL_STATE")
            .env("XDG_DATA_HOME", self.folder.path().join("data"))
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .stdin(Stdio::null());
        command
    }

    /// Runs hull to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.hull(arguments).output().expect("the built hull; run `make build`")
    }

    /// Runs hull, which must succeed; gives what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "hull {arguments:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs hull, which must end with this code; gives what it printed on standard error.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "hull {arguments:?}: {errors}");
        errors
    }

    /// Processes of hull that belong to this home: those that have its folder in their environment.
    pub fn processes(&self) -> Vec<u32> {
        let marker = self.folder.path().as_os_str().as_encoded_bytes();
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| *pid != std::process::id())
            .filter(|pid| {
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.windows(marker.len()).any(|window| window == marker)
            })
            .collect()
    }

    /// Waits until no process of this home is left.
    pub fn await_quiet(&self) {
        eventually("hull's processes to end", || self.processes().is_empty());
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for pid in self.processes() {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed());
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

/// Waits until a condition holds that nothing announces; five minutes are enough for anything, also where guests are slow.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(300);
    while !condition() {
        assert!(Instant::now() < end, "waited five minutes for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
