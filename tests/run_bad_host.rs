//! What is missing or damaged on the host: said clearly, with what to do, and nothing is left behind.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Home, hull_path};

/// A copy of the folder of assets, to damage.
fn assets(home: &Home) -> PathBuf {
    let original = hull_path().parent().and_then(Path::parent).expect("bin/hull").join("lib/hull");
    let copy = home.folder.path().join("assets");
    fs::create_dir(&copy).expect("a folder");
    for name in ["vmlinux", "rootfs.erofs", "data.ext4"] {
        let target = original.join(name).canonicalize().expect("an asset; run `make build`");
        std::os::unix::fs::symlink(target, copy.join(name)).expect("a link");
    }
    copy
}

fn run(home: &Home, assets: &Path) -> String {
    let output =
        home.hull(&["run", "--rm", "busybox", "true"]).env("HULL_ASSETS", assets).output().expect("hull");
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(home.ok(&["ps", "-aq"]), "");
    home.await_quiet();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_kernel_that_is_none_is_refused() {
    let Some(home) = Home::with_busybox("a_kernel_that_is_none_is_refused") else { return };
    let assets = assets(&home);
    let kernel = fs::read(assets.join("vmlinux")).expect("a kernel");
    let arm = {
        let mut arm = kernel[..1 << 20].to_vec();
        arm[18] = 183;
        arm
    };
    for (content, what) in [
        (&b"#!/bin/sh\nexit 1\n"[..], "not a kernel"),
        (&kernel[..kernel.len() / 2], "cut short"),
        (&arm, "another architecture"),
        (b"", "empty"),
    ] {
        let path = assets.join("vmlinux");
        fs::remove_file(&path).expect("the kernel");
        fs::write(&path, content).expect("a file");
        let errors = run(&home, &assets);
        assert!(errors.contains("kernel"), "{what}: {errors}");
    }
}

#[test]
fn an_asset_that_is_missing_is_named_with_the_remedy() {
    let Some(home) = Home::with_busybox("an_asset_that_is_missing_is_named_with_the_remedy") else { return };
    let assets = assets(&home);
    for name in ["vmlinux", "rootfs.erofs", "data.ext4"] {
        let kept = fs::read_link(assets.join(name)).expect("a link");
        fs::remove_file(assets.join(name)).expect("a link");
        let errors = run(&home, &assets);
        assert!(errors.contains(name) && errors.contains("make build"), "{errors}");
        std::os::unix::fs::symlink(kept, assets.join(name)).expect("a link");
    }
    let errors = run(&home, Path::new("/nonexistent"));
    assert!(errors.contains("/nonexistent"), "{errors}");
}

#[test]
fn a_guest_that_panics_shows_its_last_words() {
    let Some(home) = Home::with_busybox("a_guest_that_panics_shows_its_last_words") else { return };
    let assets = assets(&home);
    fs::remove_file(assets.join("rootfs.erofs")).expect("a link");
    fs::write(assets.join("rootfs.erofs"), vec![0; 1 << 20]).expect("a file");
    let errors = run(&home, &assets);
    assert!(errors.contains("Kernel panic") || errors.contains("VFS"), "{errors}");
}

/// Runs a container by way of other programs, which change what it sees of the host; gives its errors.
fn run_by(home: &Home, words: &[&str], setting: &str) -> String {
    let mut command = Command::new(words[0]);
    let output = command
        .args(&words[1..])
        .args([hull_path().as_os_str(), "run".as_ref(), "--rm".as_ref(), "busybox".as_ref(), "true".as_ref()])
        .env("HOME", home.folder.path())
        .env("XDG_DATA_HOME", home.folder.path().join("data"))
        .env("XDG_STATE_HOME", home.folder.path().join("state"))
        .env("XDG_CACHE_HOME", home.folder.path().join("cache"))
        .env("SETTING", setting)
        .output()
        .expect("util-linux");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether this test runs as root; reported as skipped when not.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        common::skip(test, "to take /dev/kvm away needs root");
    }
    root
}

#[test]
fn no_kvm_is_said_with_the_remedy() {
    let test = "no_kvm_is_said_with_the_remedy";
    if !is_root(test) {
        return;
    }
    let Some(home) = Home::with_busybox(test) else { return };
    let dev = home.folder.path().join("dev");
    fs::create_dir(&dev).expect("a folder");
    let script = "mount -t tmpfs none $SETTING && for node in null zero full random urandom tty; do \
                  cp -a /dev/$node $SETTING/; done && mount --move $SETTING /dev && exec \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", script, "sh"];
    let errors = run_by(&home, &words, dev.to_str().expect("a path in UTF-8"));
    assert!(errors.contains("cannot open /dev/kvm") && errors.contains("kvm_intel"), "{errors}");
    home.nothing_is_left(test);
}

#[test]
fn no_permission_on_kvm_is_said_with_the_remedy() {
    let test = "no_permission_on_kvm_is_said_with_the_remedy";
    if !is_root(test) {
        return;
    }
    let Some(home) = Home::with_busybox(test) else { return };
    // A user who has never been given access.
    const NOBODY: &str = "65534";
    let owner = format!("{NOBODY}:{NOBODY}");
    let status = Command::new("chown").args(["-R", &owner]).arg(home.folder.path()).status().expect("chown");
    assert!(status.success());
    let words = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    let errors = run_by(&home, &words, "");
    assert!(errors.contains("cannot open /dev/kvm") && errors.contains("setfacl"), "{errors}");
    home.await_quiet();
}
