//! Checkpoints and forks of containers that run: nothing that was going on inside notices, and nothing is lost or said twice.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::printed::Printed;
use common::pty::Terminal;
use common::{Home, code, eventually};

/// Counts in memory and in a file, and says each number through a connection to its own loopback.
const COUNTER: &str = "
    listens() { while read slot address rest; do case $address in *:1B58) return 0;; esac; done < /proc/net/tcp6; return 1; }
    sleep 100000 | nc -l -p 7000 & until listens; do :; done
    i=0; echo $i > /count
    while :; do
        read file < /count; [ $file = $i ] || echo \"memory has $i, file $file\"
        i=$((i+1)); echo $i > /count; echo $i
    done | nc 127.0.0.1 7000";

fn numbers(text: &str) -> Vec<u64> {
    text.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{line:?} is no number"))).collect()
}

/// Waits until a container's log has this many lines; gives them.
fn lines(home: &Home, name: &str, count: usize) -> Vec<u64> {
    let mut told = Vec::new();
    eventually("the container's output", || {
        told = numbers(&home.ok(&["logs", name]));
        told.len() >= count
    });
    told
}

/// The folder of a container.
fn folder(home: &Home, name: &str) -> PathBuf {
    let id = home.inspect(name)["Id"].as_str().expect("an id").to_owned();
    home.folder.path().join("state/hull/containers").join(id)
}

#[test]
fn a_container_goes_on_from_a_checkpoint_as_if_nothing_had_been() {
    let Some(home) = Home::with_busybox("a_container_goes_on_from_a_checkpoint_as_if_nothing_had_been")
    else {
        return;
    };
    home.ok(&["run", "-d", "--name", "count", "busybox", "sh", "-c", COUNTER]);
    lines(&home, "count", 5);
    assert_eq!(home.ok(&["checkpoint", "ls", "count"]), "CHECKPOINT NAME\n");
    assert_eq!(home.ok(&["checkpoint", "create", "count", "one"]), "one\n");
    home.await_quiet();
    assert_eq!(home.inspect("count")["State"]["ExitCode"], 137);
    assert_eq!(home.inspect("count")["State"]["Status"], "exited");
    assert_eq!(home.ok(&["checkpoint", "ls", "count"]), "CHECKPOINT NAME\none\n");
    let before = numbers(&home.ok(&["logs", "count"]));
    let last = *before.last().expect("a number");
    assert!(before.iter().copied().eq(1..=last), "{before:?}");

    // Each time it goes on from the same moment, whatever it did the last time.
    let mut said = before.len();
    for verify in [true, false] {
        let options: &[&str] = if verify { &["--verify"] } else { &[] };
        assert_eq!(home.ok(&[&["start", "--checkpoint", "one"], options, &["count"]].concat()), "");
        lines(&home, "count", said + 5);
        home.ok(&["stop", "-t", "0", "count"]);
        let all = numbers(&home.ok(&["logs", "count"]));
        let after = &all[said..];
        assert!(after.iter().copied().eq(last + 1..=last + after.len() as u64), "{last}: {after:?}");
        said = all.len();
    }
    home.ok(&["checkpoint", "rm", "count", "one"]);
    assert_eq!(home.ok(&["checkpoint", "ls", "count"]), "CHECKPOINT NAME\n");
    home.ok(&["rm", "count"]);
    home.nothing_is_left("checkpoints");
}

#[test]
fn a_container_that_is_left_running_loses_and_repeats_nothing() {
    let Some(home) = Home::with_busybox("a_container_that_is_left_running_loses_and_repeats_nothing") else {
        return;
    };
    const COUNT: u64 = 4000;
    // As fast as it can, to somebody who is attached.
    let script = format!(
        "i=0; while [ $i -lt {COUNT} ]; do i=$((i+1)); echo $i; done; trap 'md5sum; exit 3' USR1; echo done >&2; \
         while :; do sleep 0.2; done"
    );
    let mut front_end = home
        .hull(&["run", "-i", "--name", "fast", "busybox", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hull");
    let stdout = Printed::of(front_end.stdout.take().expect("its output"));
    let stderr = Printed::of(front_end.stderr.take().expect("its errors"));
    let mut read = stdout.until("\n100\n") + "\n100\n";
    for name in ["c1", "c2"] {
        home.ok(&["checkpoint", "create", "--leave-running", "fast", name]);
    }
    // More than the container's pipe and the connections have room for is on its way in while the next is made.
    let mut stdin = front_end.stdin.take().expect("its input");
    let sent: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
    let input = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    home.ok(&["checkpoint", "create", "--leave-running", "fast", "c3"]);
    read += &stdout.until(&format!("\n{COUNT}\n"));
    read += &format!("\n{COUNT}\n");
    assert!(numbers(&read).into_iter().eq(1..=COUNT));
    stderr.expect("done\n");
    home.ok(&["kill", "-s", "USR1", "fast"]);
    assert_eq!((code(&mut front_end), stderr.rest().as_str()), (Some(3), ""));
    writer.join().expect("a writer").expect("somebody who reads");
    let sum = {
        let mut child = std::process::Command::new("md5sum")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("md5sum");
        child.stdin.take().expect("its input").write_all(&sent).expect("somebody who reads");
        String::from_utf8(child.wait_with_output().expect("md5sum").stdout).expect("text")
    };
    assert_eq!(stdout.rest(), sum);
    home.await_quiet();

    // What the first of them goes on with is the rest, from a number that has not been said before it.
    let logged = home.ok(&["logs", "fast"]).lines().count();
    home.ok(&["start", "--checkpoint", "c1", "fast"]);
    let mut rest = Vec::new();
    eventually("the rest of the numbers", || {
        let log = home.ok(&["logs", "fast"]);
        let lines = log.lines().skip(logged).filter_map(|line| line.parse::<u64>().ok());
        rest = lines.collect();
        rest.last() == Some(&COUNT)
    });
    assert!(rest[0] > 100 && rest.iter().copied().eq(rest[0]..=COUNT), "from {}", rest[0]);
    home.ok(&["rm", "-f", "fast"]);
    home.nothing_is_left("checkpoints of a container that runs");
}

#[test]
fn a_terminal_goes_on() {
    let Some(home) = Home::with_busybox("a_terminal_goes_on") else { return };
    let mut terminal = Terminal::start(home.hull(&["run", "-it", "--name", "tty", "busybox", "sh"]));
    terminal.expect("/ # ");
    terminal.type_in("word=kept; PS1='> '\r");
    terminal.expect("\n> ");
    home.ok(&["checkpoint", "create", "--leave-running", "tty", "here"]);
    terminal.type_in("echo still $word\r");
    terminal.expect("\r\nstill kept\r\n> ");
    home.ok(&["checkpoint", "create", "tty", "there"]);
    assert_eq!(code(&mut terminal.child), Some(137));
    assert!(terminal.is_cooked());

    let mut terminal = Terminal::start(home.hull(&["start", "-ai", "--checkpoint", "there", "tty"]));
    eventually("the terminal to be raw", || !terminal.is_cooked());
    terminal.resize(100, 30);
    terminal.type_in("until [ \"$(stty size)\" = '30 100' ]; do :; done; echo again $word\r");
    terminal.expect("\r\nagain kept\r\n");
    terminal.type_in("exit 7\r");
    assert_eq!(code(&mut terminal.child), Some(7));
    home.ok(&["rm", "tty"]);
    home.nothing_is_left("a terminal");
}

#[test]
fn forks_go_on_each_as_its_own() {
    let Some(home) = Home::with_busybox("forks_go_on_each_as_its_own") else { return };
    let script =
        "test -e /mine && echo kept; warm=up; echo first > /file; tell() { echo $warm $(cat /file) $(hostname) $(cat /etc/hostname) \
                  $(grep -c \"$(hostname)\" /etc/hosts) $(cat /proc/sys/kernel/random/uuid) \
                  $(head -c 16 /dev/urandom | md5sum); hostname > /file; touch /mine; }
                  trap tell USR1; echo ready; while :; do sleep 0.2; done";
    let id = home.ok(&["run", "-d", "--name", "one", "busybox", "sh", "-c", script]);
    eventually("the container to be ready", || home.ok(&["logs", "one"]) == "ready\n");
    let told = home.ok(&["fork", "-n", "2", "--name", "copy", "one"]);
    let forks: Vec<_> = told.lines().collect();
    assert_eq!(forks.len(), 2, "{told}");
    let names = home.ok(&["ps", "--no-trunc"]);
    for name in ["one", "copy", "copy-2"] {
        assert!(names.lines().any(|line| line.ends_with(name)), "{names}");
    }
    assert!(home.fails(1, &["fork", "--name", "copy", "one"]).contains("already in use"));

    let mut random = std::collections::HashSet::new();
    for container in [id.trim(), forks[0], forks[1]] {
        home.ok(&["kill", "-s", "USR1", container]);
        let mut said = String::new();
        eventually("an answer", || {
            said = home.ok(&["logs", "--tail", "1", container]);
            said.starts_with("up ")
        });
        let words: Vec<_> = said.split_whitespace().collect();
        // Each has the file of that moment, whatever the others have written since, and its own name.
        let short = &container[..12];
        assert_eq!(words[..5], ["up", "first", short, short, "1"], "{said}");
        assert!(random.insert(words[5].to_owned()) && random.insert(words[6].to_owned()), "{said}");
    }
    let left = fs::read_dir(folder(&home, "one").join("checkpoints")).expect("a folder");
    assert_eq!(left.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>(), [".lock"]);
    // What is started in a copy is in the copy.
    assert_eq!(
        home.ok(&["exec", "copy", "sh", "-c", "hostname; cat /file"]),
        format!("{0}\n{0}\n", &forks[0][..12])
    );
    // Started again it has what it wrote as a copy.
    home.ok(&["stop", "-t", "0", "copy"]);
    home.ok(&["start", "copy"]);
    eventually("it to be ready", || home.ok(&["logs", "copy"]).ends_with("kept\nready\n"));
    for container in ["one", "copy", "copy-2"] {
        home.ok(&["rm", "-f", container]);
    }
    home.nothing_is_left("forks");
}

#[test]
fn what_cannot_be_is_refused_and_costs_nothing() {
    let Some(home) = Home::with_busybox("what_cannot_be_is_refused_and_costs_nothing") else { return };
    let refused = |arguments: &[&str], words: &str| {
        let errors = home.fails(1, arguments);
        assert!(errors.contains(words), "hull {arguments:?}: {errors}");
    };
    refused(&["checkpoint", "create", "nobody", "c1"], "No such container: nobody");
    home.ok(&["create", "--name", "idle", "busybox", "true"]);
    refused(&["checkpoint", "create", "idle", "c1"], "is not running");
    refused(&["fork", "idle"], "is not running");
    home.ok(&["run", "-d", "--name", "web", "busybox", "sh", "-c", COUNTER]);
    for name in ["../up", "a/b", "..", ".new-x", "", "-x", "x", "a b"] {
        refused(&["checkpoint", "create", "--", "web", name], "Invalid checkpoint ID");
        refused(&["checkpoint", "rm", "--", "web", name], "does not exist for container web");
    }
    refused(&["checkpoint", "create", "--checkpoint-dir", "/proc/none", "web", "c1"], "cannot make folder");
    home.ok(&["checkpoint", "create", "--leave-running", "web", "c1"]);
    refused(
        &["checkpoint", "create", "web", "c1"],
        "checkpoint with name c1 already exists for container web",
    );
    refused(&["checkpoint", "rm", "web", "c2"], "checkpoint c2 does not exist for container web");
    refused(&["start", "--checkpoint", "c1", "web"], "is running");
    home.ok(&["stop", "-t", "0", "web"]);
    refused(&["start", "--checkpoint", "c2", "web"], "checkpoint c2 does not exist for container web");
    refused(&["start", "--checkpoint", "c1", "web", "idle"], "cannot restore multiple containers at once");
    // Another container's, with another command, is as good as its own if it was created alike.
    let own = folder(&home, "web").join("checkpoints");
    let own = own.to_str().expect("a path in UTF-8");
    home.ok(&["create", "--name", "other", "-m", "64m", "busybox", "true"]);
    refused(&["start", "--checkpoint", "c1", "--checkpoint-dir", own, "other"], "with other options");

    let copy = home.folder.path().join("copy");
    let damaged = |file: &str, damage: &dyn Fn(&File, u64), options: &[&str], words: &str| {
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir_all(copy.join("c1")).expect("a folder");
        for name in ["about", "snapshot", "data.img"] {
            let status = std::process::Command::new("cp")
                .args(["--sparse=always", &format!("{own}/c1/{name}")])
                .arg(copy.join("c1").join(name))
                .status();
            assert!(status.expect("cp").success());
        }
        let path = copy.join("c1").join(file);
        let opened = File::options().read(true).write(true).open(&path).expect("a file");
        damage(&opened, opened.metadata().expect("its size").len());
        let folder = copy.to_str().expect("a path in UTF-8");
        let start = ["start", "--checkpoint", "c1", "--checkpoint-dir", folder, "web"];
        refused(&[&start[..], options].concat(), words);
    };
    let cut = |file: &File, length: u64| file.set_len(length - 10).expect("a cut");
    let flip = |file: &File, at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a byte");
        file.write_all_at(&[byte[0] ^ 4], at).expect("another");
    };
    damaged("snapshot", &cut, &[], "cut short");
    damaged("snapshot", &|file, length| flip(file, length - 100), &[], "damaged");
    damaged("snapshot", &|file, _| flip(file, 2 << 20), &["--verify"], "the memory is damaged");
    damaged("data.img", &cut, &[], "its data disk is cut short");
    damaged("data.img", &|file, _| flip(file, 1 << 20), &["--verify"], "the data disk is damaged");
    damaged("about", &|file, length| flip(file, length / 2), &[], "damaged");
    damaged("about", &|file, _| file.set_len(0).expect("a cut"), &[], "damaged");

    // None of this has changed the container, and its own checkpoint is as good as it was.
    assert_eq!(home.inspect("web")["State"]["Status"], "exited");
    assert_eq!(home.inspect("web")["State"]["Error"], "");
    let said = home.ok(&["logs", "web"]).lines().count();
    home.ok(&["start", "--checkpoint", "c1", "web"]);
    lines(&home, "web", said + 1);
    for container in ["web", "idle", "other"] {
        home.ok(&["rm", "-f", container]);
    }
    home.nothing_is_left("refusals");
}

#[test]
fn a_command_that_is_killed_leaves_the_container_running_and_nothing_else() {
    let Some(home) =
        Home::with_busybox("a_command_that_is_killed_leaves_the_container_running_and_nothing_else")
    else {
        return;
    };
    home.ok(&["run", "-d", "--name", "web", "busybox", "sh", "-c", COUNTER]);
    let folder = folder(&home, "web").join("checkpoints");
    let begun =
        || fs::read_dir(&folder).is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()));
    for pause in [0, 30, 100, 300] {
        let mut command: Child = home
            .hull(&["checkpoint", "create", "web", "c1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("hull");
        eventually("a checkpoint to be begun", || begun() || command.try_wait().expect("hull").is_some());
        std::thread::sleep(Duration::from_millis(pause));
        if command.try_wait().expect("hull").is_some() {
            // It was quicker.
            break;
        }
        command.kill().expect("to kill it");
        command.wait().expect("its end");
        let said = lines(&home, "web", 1).len();
        lines(&home, "web", said + 2);
        assert_eq!(home.ok(&["checkpoint", "ls", "web"]), "CHECKPOINT NAME\n");
    }
    if home.inspect("web")["State"]["Status"] == "running" {
        home.ok(&["checkpoint", "create", "--leave-running", "web", "whole"]);
        let left = fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.file_name());
        let mut left: Vec<_> = left.filter_map(|name| name.into_string().ok()).collect();
        left.sort();
        assert_eq!(left, [".lock", "whole"]);
    }
    let all = numbers(&home.ok(&["logs", "web"]));
    assert!(all.iter().copied().eq(1..=all.len() as u64), "{all:?}");
    home.ok(&["rm", "-f", "web"]);
    home.nothing_is_left("commands that were killed");
}
