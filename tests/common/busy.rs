//! A plain VM that is always busy, for tests of snapshots.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::printed::Printed;
use super::{Home, code, need_image, need_kvm};

/// A guest that never rests, on two CPUs. It counts, writes each number to its disk and reads it back from there, since the last
/// to close a disk drops what is cached of it. All of that in one process, for a fork takes half a second on slow hosts.
/// Another writes larger parts of the disk, and compares.
const INIT: &str = r#"#!/bin/sh
part() { dd bs=4096 count=32 "$@" 2>/dev/null; }
while :; do
  part if=/bin/busybox of=/dev/vdb seek=$((16 + k)) conv=fsync
  part if=/dev/vdb skip=$((16 + k)) | cmp -n 131072 - /bin/busybox || echo "WRONG: what was written"
  k=$(((k + 7) % 200))
  echo "part $k"
done &
i=0
while :; do
  i=$((i+1))
  echo "$i" > /dev/vdb
  read -r j < /dev/vdb
  [ "$i" = "$j" ] || echo "WRONG: $j for $i"
  echo "count $i."
done
"#;

/// A home with the VM in it; `None` when the test is skipped.
pub fn home(test: &str) -> Option<Home> {
    if !need_kvm(test) {
        return None;
    }
    let image = need_image(test, "busybox")?;
    let home = Home::new();
    let folder = home.folder.path();
    let archive = folder.join("root.tar");
    fs::write(&archive, root(&image)).expect("an archive");
    let made = home
        .hull(&["internal", "mkerofs"])
        .stdin(File::open(&archive).expect("the archive"))
        .stdout(File::create(folder.join("root.img")).expect("a disk"))
        .status();
    assert!(made.expect("hull").success());
    File::create(folder.join("data.img")).and_then(|disk| disk.set_len(1 << 20)).expect("a disk");
    let file = r#"
        [kernel]
        command_line = "console=hvc0 root=/dev/vda rootfstype=erofs ro init=/init"
        [machine]
        vcpus = 2
        memory = "64M"
        [[disk]]
        path = "root.img"
        read_only = true
        [[disk]]
        path = "data.img"
    "#;
    fs::write(folder.join("busy.toml"), file).expect("a file");
    Some(home)
}

/// The busybox image's only layer with the guest's init in it.
fn root(image: &Path) -> Vec<u8> {
    let mut image = tar::Archive::new(File::open(image).expect("the image"));
    let mut entries = image.entries().expect("an archive").map(|entry| entry.expect("an entry"));
    let mut layer = Vec::new();
    let mut entry = entries
        .find(|entry| entry.path().expect("a path").extension().is_some_and(|ending| ending == "tar"))
        .expect("a layer");
    entry.read_to_end(&mut layer).expect("the layer");
    let mut archive = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(layer.as_slice()).entries().expect("an archive") {
        let entry = entry.expect("an entry");
        archive.append(&entry.header().clone(), entry).expect("an entry");
    }
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    archive.append_data(&mut header, "dev/", [].as_slice()).expect("a folder");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(INIT.len() as u64);
    archive.append_data(&mut header, "init", INIT.as_bytes()).expect("a file");
    archive.into_inner().expect("an archive")
}

/// Boots the VM and waits until it counts.
pub fn boot(home: &Home) {
    let file = home.folder.path().join("busy.toml");
    assert_eq!(home.ok(&["vm", "run", "-d", file.to_str().expect("a path in UTF-8")]), "busy\n");
    Watched::new(home, "busy").count();
}

/// A VM's console.
pub struct Watched {
    session: Child,
    /// What it prints.
    pub printed: Printed,
}

impl Watched {
    /// That of this VM.
    pub fn new(home: &Home, name: &str) -> Self {
        let session = home.hull(&["vm", "console", name]).stdout(Stdio::piped()).spawn();
        let mut session = session.expect("hull");
        let printed = Printed::of(session.stdout.take().expect("its output"));
        Self { session, printed }
    }

    /// Waits until this is printed; nothing before it is wrong.
    pub fn expect(&self, text: &str) {
        let before = self.printed.until(text);
        assert!(!before.contains("WRONG"), "{before}");
    }

    /// The number that comes next, after some more.
    pub fn count(&self) -> u64 {
        for _ in 0..5 {
            self.expect(".\r\ncount ");
        }
        self.printed.until(".").parse().expect("a number")
    }

    /// Waits until what was written to larger parts of the disk was compared.
    pub fn compared(&self) {
        self.expect("part ");
        self.expect("part ");
    }

    /// Leaves the VM, and gives what was not looked at.
    pub fn leave(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.session);
        kill_process(pid, Signal::TERM).expect("the session");
        assert_eq!(code(&mut self.session), Some(0));
        self.printed.rest()
    }
}

/// What `hull vm ls` says of a VM.
pub fn listed(home: &Home, name: &str) -> Option<Value> {
    let all = home.ok(&["vm", "ls", "--json"]);
    let lines = all.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.into_iter().find(|vm| vm["Name"] == name)
}

/// The folder of snapshots.
pub fn snapshots(home: &Home) -> PathBuf {
    home.folder.path().join("data/hull/snapshots")
}

/// Names in the folder of snapshots, but for its lock.
pub fn kept(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(snapshots(home)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().expect("a name"));
    let mut names: Vec<_> = names.filter(|name| name != ".lock").collect();
    names.sort();
    names
}
