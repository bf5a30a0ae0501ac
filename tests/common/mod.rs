//! What the end to end tests share: the built program, a home of its own for each test, and its images.
//!
//! `HULL_BIN` names the program (default `build/bin/hull`, as `make build` leaves it), `HULL_IMAGES` a folder with
//! `busybox.tar` and the like. A test that cannot run here says so with [`skip`], which reports its name.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod busy;
pub mod damage;
pub mod fault_handler;
pub mod printed;
pub mod pty;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Enough for anything, also where guests are slow and two of them run.
pub const PATIENCE: Duration = Duration::from_secs(300);

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

/// Whether tests that take long are to run; reports the test as skipped when not.
pub fn need_soak(test: &str) -> bool {
    if !soak() {
        skip(test, "it takes minutes; `make soak` runs it");
    }
    soak()
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
    /// hull's folder for temporary files.
    temporary: PathBuf,
}

impl Home {
    /// An empty home.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("hull-").tempdir().expect("a temporary folder");
        let temporary = folder.path().join("tmp");
        fs::create_dir(&temporary).expect("a folder");
        Self { folder, temporary }
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
            .env("XDG_CACHE_HOME", cache())
            .env("TMPDIR", &self.temporary)
            // What is shared by all that a user runs is not for tests side by side.
            .env("HULL_LOCALHOST_PORT", "0")
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

    /// A process of this home that is of this kind: `keeper` or `vmm`.
    pub fn find(&self, kind: &str) -> Option<Pid> {
        self.processes().into_iter().find_map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words: Vec<_> = command.split(|byte| *byte == 0).collect();
            let is_kind = words.get(1) == Some(&&b"internal"[..]) && words.get(2) == Some(&kind.as_bytes());
            is_kind.then(|| Pid::from_raw(pid.cast_signed())).flatten()
        })
    }

    /// Kills a process of this home, `keeper` or `vmm`; returns whether it was there.
    pub fn kill(&self, kind: &str) -> bool {
        self.find(kind).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }

    /// What `hull inspect` says of a container.
    pub fn inspect(&self, container: &str) -> serde_json::Value {
        let text = self.ok(&["inspect", container]);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")[0].take()
    }

    /// Waits until no process of this home is left.
    pub fn await_quiet(&self) {
        eventually("hull's processes to end", || self.processes().is_empty());
    }

    /// Asserts that nothing is left of any container: no process, record, name, socket, mount or temporary file.
    pub fn nothing_is_left(&self, what: &str) {
        self.await_quiet();
        assert_eq!(self.ok(&["ps", "-aq"]), "", "{what}");
        let state = self.folder.path().join("state/hull");
        assert_eq!(entries(&state.join("containers")), [""; 0], "{what}");
        assert_eq!(entries(&state.join("names")), [""; 0], "{what}");
        let known = |name: &String| {
            ["containers", "names", "networks", "shared", "lock", "events"].contains(&name.as_str())
        };
        let others: Vec<_> = entries(&state).into_iter().filter(|name| !known(name)).collect();
        assert_eq!(others, [""; 0], "{what}");
        assert_eq!(entries(&self.temporary), [""; 0], "{what}");
        let ours = self.folder.path().to_str().expect("a path in UTF-8");
        assert!(!fs::read_to_string("/proc/mounts").expect("/proc").contains(ours), "{what}");
        assert!(!fs::read_to_string("/proc/net/unix").expect("/proc").contains(ours), "{what}");
    }
}

/// An address of this host that guests have a way to; a report that the test is skipped if there is none.
pub fn need_address(test: &str) -> Option<std::net::IpAddr> {
    // Nothing is sent: the system only says which address it would be sent from.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let address = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr()).map(|at| at.ip());
    let address = address.ok().filter(|address| !address.is_loopback() && !address.is_unspecified());
    if address.is_none() {
        skip(test, "this host has no address but its loopback's");
    }
    address
}

/// Names of what is in a folder; none when it is not there.
fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().expect("a name in UTF-8")).collect()
}

/// Waits until a program ends; gives its exit code.
pub fn code(child: &mut Child) -> Option<i32> {
    let mut status = None;
    eventually("hull to end", || {
        status = child.try_wait().expect("hull");
        status.is_some()
    });
    status.expect("an end").code()
}

impl Drop for Home {
    fn drop(&mut self) {
        for pid in self.processes() {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed());
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

/// Waits until a condition holds that nothing announces.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Templates of VMs are kept here, for all tests of a user together: none is to wait for what another has built.
fn cache() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
}
