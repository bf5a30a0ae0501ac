//! Plain VMs, and snapshots of them that were taken while they were busy.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::busy::{Watched, boot, home, kept, listed, snapshots};
use common::damage::{State, flip, reseal};
use common::fault_handler::FaultHandler;
use common::printed::Printed;
use common::pty::Terminal;
use common::{Home, code, eventually, skip, soak};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

#[test]
fn a_busy_vm_goes_on_and_so_do_its_snapshots() {
    let Some(home) = home("a_busy_vm_goes_on_and_so_do_its_snapshots") else { return };
    boot(&home);
    let original = Watched::new(&home, "busy");
    for _ in 0..if soak() { 50 } else { 5 } {
        let before = original.count();
        let name = home.ok(&["vm", "snapshot", "busy"]);
        let after = original.count();
        // The first goes on with the very disks that it had; the others with what the snapshot has of them.
        assert_eq!(home.ok(&["vm", "restore", "-d", "--name", "again", name.trim()]), "again\n");
        let again = Watched::new(&home, "again");
        let went_on = again.count();
        assert!(went_on > before, "{went_on} after {before}");
        assert!(again.count() > went_on && original.count() > after);
        if soak() {
            again.compared();
        }
        assert!(!again.leave().contains("WRONG"));
        assert_eq!(home.ok(&["vm", "rm", "-f", "again"]), "again\n");
        assert_eq!(home.ok(&["vm", "snapshots", "verify", name.trim()]), name);
    }
    assert!(!original.leave().contains("WRONG"));

    // One that is restored can be restored from, and the one before it ended with its snapshot.
    assert_eq!(home.ok(&["vm", "snapshot", "--stop", "busy", "last"]), "last\n");
    assert_eq!(listed(&home, "busy").expect("the VM")["State"], "exited");
    let disk = home.folder.path().join("mine.img");
    let set = format!("disk1={}", disk.display());
    home.ok(&["vm", "restore", "-d", "--set", &set, "last"]);
    let watched = Watched::new(&home, "busy");
    let last = watched.count();
    watched.compared();
    assert!(!watched.leave().contains("WRONG"));
    let name = home.ok(&["vm", "snapshot", "busy"]);
    assert!(kept(&home).contains(&name.trim().to_owned()));
    home.ok(&["vm", "stop", "busy"]);
    let written = fs::read(&disk).expect("the disk that was asked for");
    let line = written.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line: u64 = String::from_utf8_lossy(line).parse().expect("a number");
    assert!(line >= last, "{line} on the disk, {last} on the console");

    // In the foreground, nothing of it is kept.
    let mut session = home
        .hull(&["vm", "restore", "--name", "front", name.trim()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("hull");
    Printed::of(session.stdout.take().expect("its output")).expect("count ");
    assert_eq!(listed(&home, "front").expect("the VM")["State"], "running");
    session.kill().expect("the session");
    let _ = session.wait();
    eventually("the VM to end with its terminal", || listed(&home, "front").is_none());
    home.ok(&["vm", "rm", "busy"]);
    assert_eq!(home.ok(&["vm", "ls", "--json"]), "");
    home.await_quiet();
}

#[test]
fn a_difference_is_small_and_goes_on_like_the_whole() {
    let Some(home) = home("a_difference_is_small_and_goes_on_like_the_whole") else { return };
    boot(&home);
    let errors = home.fails(1, &["vm", "snapshot", "--diff", "busy"]);
    assert!(errors.contains("no snapshot of this VM yet") && errors.contains("without --diff"), "{errors}");
    assert_eq!(kept(&home), [""; 0]);
    let shown = |name: &str| {
        let all = home.ok(&["vm", "snapshots", "ls", "--json"]);
        let lines = all.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.into_iter().find(|snapshot| snapshot["Name"] == name).expect("the snapshot")
    };
    let refused = |arguments: &[&str], said: &[&str]| {
        let errors = home.fails(1, &[&["vm"], arguments].concat());
        assert!(said.iter().all(|part| errors.contains(part)), "{arguments:?}: {errors}");
    };

    home.ok(&["vm", "snapshot", "busy", "whole"]);
    let whole = shown("whole")["Size"].as_u64();
    let original = Watched::new(&home, "busy");
    let mut last = "whole".to_owned();
    for number in 0..if soak() { 20 } else { 4 } {
        let before = original.count();
        let name = format!("d{number}");
        home.ok(&["vm", "snapshot", "--diff", "busy", &name]);
        let about = shown(&name);
        assert_eq!(about["Base"], last.as_str());
        assert!(about["Size"].as_u64() < whole.map(|size| size / 4), "{about}");
        home.ok(&["vm", "restore", "-d", "--verify", "--name", "again", &name]);
        let again = Watched::new(&home, "again");
        let went_on = again.count();
        assert!(went_on > before, "{went_on} after {before}");
        assert!(!again.leave().contains("WRONG"));
        // One that goes on from a difference differs from that.
        if number == 1 {
            home.ok(&["vm", "snapshot", "--diff", "again", "other"]);
            assert_eq!(shown("other")["Base"], name.as_str());
            home.ok(&["vm", "restore", "-d", "--name", "third", "other"]);
            assert!(Watched::new(&home, "third").count() > went_on);
            home.ok(&["vm", "rm", "-f", "third"]);
        }
        home.ok(&["vm", "rm", "-f", "again"]);
        last = name;
    }
    original.count();
    assert!(!original.leave().contains("WRONG"));

    // What others need stays, or takes them with it; one of the same name is not the same.
    refused(&["snapshots", "rm", "d0"], &["d1 has only what differs from it", "--force"]);
    refused(&["snapshots", "rm", "whole"], &["d0 has only"]);
    // In another file, for the VM's own memory is mapped from this one.
    let (base, aside) = (snapshots(&home).join("whole/vm"), home.folder.path().join("aside"));
    let bytes = fs::read(&base).expect("the snapshot");
    fs::rename(&base, &aside).expect("the snapshot");
    fs::write(&base, &bytes).expect("a file");
    flip(&base, 0x10_0000, 3);
    refused(&["restore", "--verify", "--name", "again", "d0"], &["whole", "the memory is damaged"]);
    fs::write(&base, &bytes[..bytes.len() / 2]).expect("a file");
    refused(&["restore", "-d", "--name", "again", "d0"], &["that it differs from", "cut short"]);
    fs::rename(&aside, &base).expect("the snapshot");
    home.ok(&["vm", "snapshots", "rm", "--force", "whole"]);
    refused(&["restore", "d1"], &["differs from snapshot whole", "no snapshot whole"]);
    home.ok(&["vm", "snapshot", "busy", "whole"]);
    refused(&["restore", "d1"], &["whole is another by now"]);
    // Nor does a VM differ from what is gone.
    home.ok(&["vm", "snapshots", "rm", "whole"]);
    refused(&["snapshot", "--diff", "busy", "none"], &["is gone", "without --diff"]);
    assert!(!kept(&home).contains(&"none".to_owned()));
    Watched::new(&home, "busy").count();
    home.ok(&["vm", "rm", "-f", "busy"]);
    home.await_quiet();
}

#[test]
fn another_process_serves_the_memory() {
    let test = "another_process_serves_the_memory";
    let device = File::options().read(true).write(true).open("/dev/userfaultfd");
    if let Err(error) = device
        && !rustix::process::geteuid().is_root()
    {
        return skip(test, &format!("/dev/userfaultfd: {error}"));
    }
    let Some(home) = home(test) else { return };
    boot(&home);
    let before = Watched::new(&home, "busy").count();
    home.ok(&["vm", "snapshot", "busy", "one"]);
    home.ok(&["vm", "snapshot", "--diff", "--stop", "busy", "two"]);
    let socket = home.folder.path().join("handler");
    let path = socket.to_str().expect("a path in UTF-8");
    let restore = ["vm", "restore", "-d", "--fault-handler", path];
    let errors = home.fails(1, &[&restore[..], &["one"]].concat());
    assert!(errors.contains("no page fault handler answers"), "{errors}");

    let handler = FaultHandler::start(&socket, &snapshots(&home).join("one/vm"));
    home.ok(&[&restore[..], &["one"]].concat());
    let watched = Watched::new(&home, "busy");
    assert!(watched.count() > before);
    watched.compared();
    // A snapshot of it is whole, and needs no handler: all that was not touched yet is fetched for it.
    let errors = home.fails(1, &["vm", "snapshot", "--diff", "busy"]);
    assert!(errors.contains("take one without --diff"), "{errors}");
    home.ok(&["vm", "snapshot", "busy", "three"]);
    watched.count();
    assert!(handler.end() > 1000);
    eventually("the VM to end without its memory", || {
        listed(&home, "busy").expect("the VM")["State"] == "exited"
    });
    let reason = listed(&home, "busy").expect("the VM")["Reason"].to_string();
    assert!(reason.contains("page fault handler is gone"), "{reason}");
    home.ok(&["vm", "restore", "-d", "--verify", "three"]);
    assert!(Watched::new(&home, "busy").count() > before);
    home.ok(&["vm", "rm", "-f", "busy"]);

    // One that serves nothing: the VM is at a loss, but not its commands.
    fs::remove_file(&socket).expect("the socket");
    let idle = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let restoring =
        home.hull(&[&restore[..], &["one"]].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut restoring = restoring.expect("hull");
    let _held = idle.accept().expect("a VM");
    eventually("the VM to be there", || listed(&home, "busy").is_some());
    home.run(&["vm", "stop", "busy"]);
    assert!(code(&mut restoring).is_some());
    home.run(&["vm", "rm", "-f", "busy"]);

    fs::remove_file(&socket).expect("the socket");
    let handler = FaultHandler::start(&socket, &snapshots(&home).join("two/vm"));
    let errors = home.fails(1, &[&restore[..], &["two"]].concat());
    assert!(errors.contains("differs from another"), "{errors}");
    handler.end();
    home.await_quiet();
}

#[test]
fn a_terminal_is_the_console_before_and_after() {
    let Some(home) = home("a_terminal_is_the_console_before_and_after") else { return };
    let path = home.folder.path().join("busy.toml");
    let file = fs::read_to_string(&path).expect("the file").replace("init=/init", "init=/bin/sh quiet");
    fs::write(&path, file).expect("the file");
    let mut front = Terminal::start(home.hull(&["vm", "run", path.to_str().expect("a path")]));
    front.expect("# ");
    front.type_in("kept=$((40+2)); echo is $kept\n");
    front.expect("is 42");
    // In the foreground it has a name, too.
    assert_eq!(home.ok(&["vm", "snapshot", "busy", "shell"]), "shell\n");
    front.type_in("echo still $kept\n");
    front.expect("still 42");

    assert_eq!(home.ok(&["vm", "restore", "-d", "--name", "again", "shell"]), "again\n");
    let mut again = Terminal::start(home.hull(&["vm", "console", "again"]));
    again.type_in("echo and $kept\n");
    again.expect("and 42");
    assert!(!again.is_cooked());
    // Ctrl-A X leaves a console, and ends a VM in the foreground.
    again.type_in("\u{1}x");
    assert_eq!(code(&mut again.child), Some(0));
    assert!(again.is_cooked());
    assert_eq!(listed(&home, "again").expect("the VM")["State"], "running");
    front.type_in("\u{1}x");
    assert_eq!(code(&mut front.child), Some(0));
    assert!(listed(&home, "busy").is_none());

    // The end of its guest is the end of the VM, of which what it said last is kept.
    let mut again = Terminal::start(home.hull(&["vm", "console", "again"]));
    again.type_in("exit\n");
    eventually("the VM to end", || listed(&home, "again").expect("the VM")["State"] == "exited");
    let _ = code(&mut again.child);
    let refusal = home.fails(1, &["vm", "console", "again"]);
    let said = refusal.trim().rsplit(' ').next().expect("a path");
    assert!(fs::read_to_string(said).expect("its last words").contains("and 42"));
}

#[test]
fn a_guest_learns_that_it_is_another_and_how_late_it_is() {
    let Some(home) = home("a_guest_learns_that_it_is_another_and_how_late_it_is") else { return };
    // A kernel of one's own is told by ACPI, by which it can be told of this.
    let kernel = common::hull_path().with_file_name("../lib/hull/vmlinux");
    let path = home.folder.path().join("busy.toml");
    let file = fs::read_to_string(&path).expect("the file").replace("init=/init", "loglevel=6 init=/bin/sh");
    let file = file.replace("[kernel]", &format!("[kernel]\nimage = {kernel:?}"));
    fs::write(&path, file).expect("the file");
    let mut front = Terminal::start(home.hull(&["vm", "run", path.to_str().expect("a path")]));
    front.expect("# ");
    assert_eq!(home.ok(&["vm", "snapshot", "busy", "shell"]), "shell\n");
    front.type_in("\u{1}x");
    assert_eq!(code(&mut front.child), Some(0));
    std::thread::sleep(Duration::from_secs(10));

    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time").as_secs();
    let mut random = Vec::new();
    for name in ["one", "two"] {
        let before = now();
        home.ok(&["vm", "restore", "-d", "--set", &format!("name={name}"), "shell"]);
        let mut terminal = Terminal::start(home.hull(&["vm", "console", name]));
        terminal.expect("crng reseeded due to virtual machine fork");
        terminal.type_in("echo it is $(date +%s), $(head -c 16 /dev/urandom | md5sum)\n");
        terminal.expect("\nit is ");
        let date: u64 = terminal.until(", ").parse().expect("a date");
        assert!((before - 1..=now() + 1).contains(&date), "{date} at {}", now());
        random.push(terminal.until(" "));
    }
    assert_ne!(random[0], random[1]);
    home.ok(&["vm", "rm", "-f", "one", "two"]);
    home.await_quiet();
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let Some(home) = home("what_cannot_be_is_refused_and_leaves_nothing") else { return };
    let refused = |arguments: &[&str], said: &[&str]| {
        let errors = home.fails(1, &[&["vm"], arguments].concat());
        assert!(said.iter().all(|part| errors.contains(part)), "{arguments:?}: {errors}");
    };
    refused(&["snapshot", "busy"], &["no VM busy"]);
    refused(&["restore", "one"], &["no snapshot one"]);
    boot(&home);
    let file = home.folder.path().join("busy.toml");
    refused(&["run", file.to_str().expect("a path")], &["VM busy runs", "hull vm stop busy"]);
    refused(&["rm", "busy"], &["VM busy runs"]);

    // While one is taken, another is not. The VMM cannot answer the first before it is let go.
    let vmm = home.find("vmm").expect("the VMM");
    kill_process(vmm, Signal::STOP).expect("the VMM");
    let taking = |name: &str| home.hull(&["vm", "snapshot", "busy", name]).stdout(Stdio::piped()).spawn();
    let mut first = taking("one").expect("hull");
    eventually("the first to begin", || kept(&home) == [".new-one"]);
    // Whether the keeper was asked already is seen by what it says to the second.
    eventually("the second to be refused", || {
        let output = home.hull(&["vm", "snapshot", "busy", "two"]).stderr(Stdio::piped()).spawn();
        let mut second = output.expect("hull");
        std::thread::sleep(Duration::from_millis(300));
        let over = second.try_wait().expect("hull").is_some();
        let _ = second.kill();
        let errors = Printed::of(second.stderr.take().expect("its errors")).rest();
        let _ = second.wait();
        over && errors.contains("another command takes a snapshot of VM busy")
    });
    // One that is killed leaves nothing, and lets the VM go on.
    first.kill().expect("the first");
    let _ = first.wait();
    kill_process(vmm, Signal::CONT).expect("the VMM");
    Watched::new(&home, "busy").count();
    eventually("the keeper to be free", || home.run(&["vm", "snapshot", "busy", "three"]).status.success());
    assert_eq!(kept(&home), ["three"]);
    refused(&["snapshot", "busy", "three"], &["a snapshot three already", "hull vm snapshots rm three"]);
    assert_eq!(kept(&home), ["three"]);

    no_space(&home);
    refused(&["restore", "three"], &["VM busy runs", "--name"]);
    home.ok(&["vm", "stop", "busy"]);
    refused(&["snapshot", "busy"], &["does not run"]);

    // Disks that are not what they were.
    let (disk, moved) = (home.folder.path().join("root.img"), home.folder.path().join("moved.img"));
    let refused_with = |set: String, said: &[&str]| refused(&["restore", "-d", "--set", &set, "three"], said);
    fs::rename(&disk, &moved).expect("the disk");
    refused(&["restore", "three"], &["root.img", "is gone", "--set disk0="]);
    fs::write(&disk, "another").expect("a disk");
    refused(&["restore", "three"], &["root.img", "has changed"]);
    refused_with("disk7=/x".to_owned(), &["no disk7"]);
    refused_with(format!("disk1={}", disk.display()), &["is there already"]);
    assert!(listed(&home, "busy").is_none(), "what was refused left a VM");
    let set = format!("disk0={}", moved.display());
    home.ok(&["vm", "restore", "-d", "--set", &set, "three"]);
    // Twice is once too often under one name, and as often as is wanted under others.
    refused_with(set.clone(), &["VM busy runs", "--name"]);
    home.ok(&["vm", "restore", "-d", "--name", "other", "--set", &set, "three"]);
    Watched::new(&home, "busy").count();
    Watched::new(&home, "other").count();
    home.ok(&["vm", "rm", "-f", "busy", "other"]);

    // A snapshot of a later hull, and a CPU that can more than this one.
    let about = snapshots(&home).join("three/about");
    reseal(&about, |about| about["version"] = json!(3));
    refused(&["restore", "three"], &["three", "format 3"]);
    reseal(&about, |about| about["version"] = json!(2));
    let vm = snapshots(&home).join("three/vm");
    let pristine = State::read(&vm);
    pristine.clone().write(&vm, &about, |state| state["cpu"] = json!("Cyrix 0x1"));
    refused(&["restore", "-d", "--set", &set, "three"], &["CPU Cyrix"]);
    pristine.clone().write(&vm, &about, |state| {
        // A leaf is written as the bytes that KVM has it in: function, index, flags, EAX and so on.
        let leaves = state["vcpus"][0]["cpuid"].as_array_mut().expect("leaves");
        let of_kvm = |leaf: &&mut Value| (0..4).all(|at| leaf[at] == 0x4000_0001u32.to_le_bytes()[at]);
        let leaf = leaves.iter_mut().find(of_kvm).expect("KVM's features");
        leaf[14] = json!(leaf[14].as_u64().expect("a byte") | 1 << 4);
    });
    refused(&["restore", "-d", "--set", &set, "three"], &["lacks", "CPUID 0x40000001.0 Eax bit 20"]);
    pristine.write(&vm, &about, |_| {});
    home.ok(&["vm", "restore", "-d", "--set", &set, "three"]);
    home.ok(&["vm", "rm", "-f", "busy"]);

    assert_eq!(home.ok(&["vm", "snapshots", "rm", "three"]), "three\n");
    refused(&["snapshots", "rm", "three"], &["no snapshot three"]);
    assert_eq!(kept(&home), [""; 0]);
    home.await_quiet();
}

/// On a file system that is full, there is no snapshot and no VM that goes on from one.
fn no_space(home: &Home) {
    let possible = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "t", "/mnt"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        common::skip("no_space", "no file system can be mounted in a user namespace here");
        return;
    }
    let errors = with_little_space(home, &snapshots(home), &["vm", "snapshot", "busy"]);
    assert!(errors.contains("No space left") && errors.contains("bytes left; free some"), "{errors}");
    assert!(!errors.contains(".new-"), "{errors}");
    Watched::new(home, "busy").count();

    // More than there is room for. Nobody looks at this part of the disk afterwards.
    let disk = snapshots(home).join("three/disk1.img");
    let file = File::options().write(true).open(&disk).expect("the snapshot's disk");
    let length = file.metadata().expect("the disk").len();
    file.set_len(length + (4 << 20)).expect("a longer disk");
    file.write_all_at(&vec![1; 4 << 20], length).expect("a fuller disk");
    let about = snapshots(home).join("three/about");
    let resize = |size: u64| reseal(&about, |about| about["disks"][1]["size"] = json!(size));
    resize(length + (4 << 20));
    let vms = home.folder.path().join("state/hull/vms");
    let errors = with_little_space(home, &vms, &["vm", "restore", "-d", "--name", "again", "three"]);
    assert!(errors.contains("disk1.img, whose file system may be full"), "{errors}");
    assert!(!errors.contains("again\n"), "{errors}");
    file.set_len(length).expect("the disk");
    resize(length);
}

/// What hull says when it fails for a file system of 2 MiB in place of this folder, and what is left in there.
fn with_little_space(home: &Home, folder: &Path, arguments: &[&str]) -> String {
    let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" && \"$@\"; code=$?; ls -A \"$0\" >&2; exit $code";
    let hull = home.hull(arguments);
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script]).arg(folder).arg(hull.get_program()).args(hull.get_args());
    for (name, value) in hull.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().expect("unshare");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    errors
}
