//! Containers that go on from a template: sooner than those that boot, and each with what is its own.

mod common;

use std::{
    collections::HashSet,
    fs,
    process::Stdio,
    time::{SystemTime, UNIX_EPOCH},
};

use common::{Home, eventually, soak};

/// Milliseconds from the VM's first run to its agent's hello, of one `hull run`.
fn until_hello(home: &Home, options: &[&str]) -> f64 {
    let output = home.run(&[&["run", "--rm", "--timings=json"], options, &["busybox", "true"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let timings: serde_json::Value = serde_json::from_str(errors.trim()).expect("timings");
    let mark = |name: &str| timings[name].as_u64().expect("a time") as f64;
    (mark("hello_ns") - mark("first_run_ns")) / 1e6
}

#[test]
fn a_template_is_built_once_and_spares_the_boot() {
    let Some(home) = Home::with_busybox("a_template_is_built_once_and_spares_the_boot") else { return };
    let id = home.ok(&["template", "build", "--cpus", "1"]);
    let listed = || home.ok(&["template", "ls", "--json"]);
    let one = listed().lines().find(|line| line.contains(id.trim())).expect("the template").to_owned();
    assert!(one.contains("\"Vcpus\":1"), "{one}");
    assert_eq!(home.ok(&["template", "build", "--cpus", "1"]), id, "the same is not built again");

    let restored = until_hello(&home, &["--cpus", "1"]);
    let booted = until_hello(&home, &["--cpus", "1", "--no-template"]);
    assert!(restored * 2.0 < booted, "restored {restored} ms, booted {booted} ms");
}

#[test]
fn no_two_containers_of_a_template_share_their_randomness() {
    let Some(home) = Home::with_busybox("no_two_containers_of_a_template_share_their_randomness") else {
        return;
    };
    let count = if soak() { 100 } else { 3 };
    let script = "cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id; \
                  head -c 16 /dev/urandom | hexdump -C; date +%s";
    let mut seen = HashSet::new();
    for _ in 0..count {
        let told = home.ok(&["run", "--rm", "busybox", "sh", "-c", script]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        for random in told.lines().take(3) {
            assert!(seen.insert(random.to_owned()), "{random} came twice");
        }
        let told: u64 = told.lines().last().and_then(|line| line.parse().ok()).expect("a time");
        assert!(told <= now && told + 60 > now, "the guest's clock says {told}, the host's {now}");
    }
    assert_eq!(seen.len(), 3 * count);
}

#[test]
fn a_template_can_be_removed_and_comes_again() {
    let Some(home) = Home::with_busybox("a_template_can_be_removed_and_comes_again") else { return };
    // Templates of its own: others use theirs.
    let cache = home.folder.path().join("cache");
    let run = |arguments: &[&str]| home.hull(arguments).env("XDG_CACHE_HOME", &cache).output().expect("hull");
    let ok = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let id = ok(&["template", "build", "--cpus", "1"]);
    assert_eq!(ok(&["template", "rm", id.trim()]), id);
    let gone = run(&["template", "rm", id.trim()]);
    assert!(!gone.status.success());
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no such template"));
    assert_eq!(ok(&["run", "--rm", "--cpus", "1", "busybox", "echo", "hi"]), "hi\n");
    assert!(ok(&["template", "ls"]).contains(id.trim()));
}

#[test]
fn a_template_of_an_image_serves_its_containers_and_keeps_nothing_of_them() {
    let Some(home) =
        Home::with_busybox("a_template_of_an_image_serves_its_containers_and_keeps_nothing_of_them")
    else {
        return;
    };
    let run = |script: &str| home.ok(&["run", "--rm", "busybox", "sh", "-c", script]);
    assert_eq!(run("echo mine > /etc/left; cat /etc/left"), "mine\n");
    assert_eq!(run("cat /etc/left 2>/dev/null || echo nothing"), "nothing\n");
    let listed = home.ok(&["template", "ls", "--json"]);
    assert!(listed.lines().any(|line| line.contains("\"Image\":\"busybox\"")), "{listed}");

    // What does not fit the root that is ready gets one of its own.
    assert_eq!(home.ok(&["run", "--rm", "--read-only", "busybox", "echo", "hi"]), "hi\n");
    let refused = home.run(&["run", "--rm", "--read-only", "busybox", "touch", "/x"]);
    assert!(!refused.status.success());
    assert_eq!(home.ok(&["run", "--rm", "-u", "1000", "-e", "A=b", "busybox", "id", "-u"]), "1000\n");
}

#[test]
fn an_image_has_one_template_whatever_it_is_called() {
    let Some(home) = Home::with_busybox("an_image_has_one_template_whatever_it_is_called") else { return };
    home.ok(&["tag", "busybox", "other"]);
    for name in ["busybox", "other"] {
        assert_eq!(home.ok(&["run", "--rm", name, "cat", "/proc/1/comm"]), "cat\n");
    }
    let listed = home.ok(&["template", "ls", "--json"]);
    assert!(!listed.contains("\"Image\":\"other\""), "{listed}");
}

#[test]
fn a_build_that_is_killed_leaves_nothing_and_is_taken_up() {
    let Some(home) = Home::with_busybox("a_build_that_is_killed_leaves_nothing_and_is_taken_up") else {
        return;
    };
    // Templates of its own: others build, too.
    let cache = home.folder.path().join("cache");
    let run = || {
        let mut run = home.hull(&["run", "--rm", "--cpus", "1", "busybox", "echo", "hi"]);
        run.env("XDG_CACHE_HOME", &cache);
        run
    };
    let unfinished = || {
        let entries = fs::read_dir(cache.join("hull/templates")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".")).count()
    };
    let mut killed = run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("hull");
    eventually("a template to be built", || unfinished() > 0 && home.find("vmm").is_some());
    killed.kill().expect("to kill it");
    killed.wait().expect("its end");
    home.nothing_is_left("after a kill");

    let output = run().output().expect("hull");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hi\n", "{output:?}");
    assert_eq!(unfinished(), 0);
}

#[test]
fn a_damaged_template_stops_nobody() {
    let Some(home) = Home::with_busybox("a_damaged_template_stops_nobody") else { return };
    let cache = home.folder.path().join("cache");
    let hull = |arguments: &[&str]| {
        let output = home.hull(arguments).env("XDG_CACHE_HOME", &cache).output().expect("hull");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let id = hull(&["template", "build", "--cpus", "1", "busybox"]);
    let snapshot = cache.join("hull/templates").join(&id).join("snapshot");
    let whole = fs::metadata(&snapshot).expect("the snapshot").len();
    fs::File::options()
        .write(true)
        .open(&snapshot)
        .and_then(|file| file.set_len(whole - 100))
        .expect("a cut");
    for _ in 0..2 {
        assert_eq!(hull(&["run", "--rm", "--cpus", "1", "busybox", "echo", "hi"]), "hi");
    }
    assert_ne!(fs::metadata(&snapshot).expect("a new snapshot").len(), whole - 100);
}
