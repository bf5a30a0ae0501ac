//! Images between hull and other programs: what it saves and pushes `skopeo` and `umoci` read, what they make it loads and runs.

mod common;
mod images;
mod registry;

use std::{
    fs,
    process::{Command, Stdio},
};

use common::{Home, skip};
use images::{digest, noise, tar};
use registry::debian::server;
use serde_json::Value;

/// Whether a program is installed; reports the test as skipped when not.
fn need_program(test: &str, program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    there.inspect_err(|error| skip(test, &format!("{program}: {error}; apt-get install {program}"))).is_ok()
}

/// Runs a program, which must succeed, with a home's folder as its own; gives what it printed.
fn runs(home: &Home, program: &str, arguments: &[&str]) -> String {
    let folder = home.folder.path();
    let output =
        Command::new(program).args(arguments).env("HOME", folder).current_dir(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Loads an image; gives its manifest's digest and its id.
fn load(home: &Home, image: &images::Parts) -> (String, String) {
    let archive = home.folder.path().join("image.tar");
    fs::write(&archive, images::pack(&image.oci_members())).unwrap();
    home.ok(&["load", "-i", archive.to_str().unwrap()]);
    (digest(&image.manifest_bytes()), image.id())
}

#[test]
fn what_is_saved_is_read_by_others_and_the_other_way_round() {
    let test = "what_is_saved_is_read_by_others_and_the_other_way_round";
    if !need_program(test, "skopeo") || !need_program(test, "umoci") {
        return;
    }
    let home = Home::new();
    let layers =
        [tar(&[("bin/true", b"#!"), ("etc/passwd", b"root")]), tar(&[("noise", &noise(1 << 20, 3))])];
    let image = images::parts("one:1", &layers);
    let (manifest, id) = load(&home, &image);
    let at = |name: &str| home.folder.path().join(name).display().to_string();
    home.ok(&["save", "-o", &at("saved.tar"), "one:1"]);
    let inspect = |what: &str| -> Value {
        serde_json::from_str(&runs(&home, "skopeo", &["inspect", what])).expect("JSON")
    };
    let oci = inspect("oci-archive:saved.tar");
    assert_eq!((&oci["Digest"], &oci["Labels"]["of"]), (&manifest.clone().into(), &"one:1".into()));
    assert_eq!(inspect("oci-archive:saved.tar:1")["Digest"], oci["Digest"]);
    let docker = inspect("docker-archive:saved.tar:one:1");
    assert_eq!(docker["Layers"].as_array().map(Vec::len), Some(layers.len()), "{docker}");
    assert_eq!(docker["Layers"][0], digest(&layers[0]));

    // An unpacked layout, its files, and what umoci makes of it.
    let layout = home.folder.path().join("layout");
    fs::create_dir(&layout).unwrap();
    runs(&home, "tar", &["-xf", "saved.tar", "-C", "layout"]);
    assert_eq!(runs(&home, "umoci", &["ls", "--layout", "layout"]), "1\n");
    runs(&home, "umoci", &["unpack", "--rootless", "--image", "layout:1", "bundle"]);
    let unpacked = home.folder.path().join("bundle/rootfs");
    assert_eq!(fs::read(unpacked.join("noise")).unwrap(), noise(1 << 20, 3));
    assert_eq!(fs::read(unpacked.join("etc/passwd")).unwrap(), b"root");
    runs(&home, "umoci", &["config", "--image", "layout:1", "--tag", "2", "--config.label", "by=umoci"]);
    runs(&home, "tar", &["-cf", "umoci.tar", "-C", "layout", "."]);

    home.ok(&["load", "-i", &at("umoci.tar")]);
    let copy = |from: &str, to: &str| {
        runs(&home, "skopeo", &["--insecure-policy", "copy", "-q", from, to]);
    };
    copy("docker-archive:saved.tar", "docker-archive:docker.tar:by-docker:1");
    copy("oci-archive:saved.tar", "oci-archive:oci.tar:by-oci:1");
    for archive in ["docker.tar", "oci.tar"] {
        let said = home.ok(&["load", "-i", &at(archive)]);
        let name = said.trim().strip_prefix("Loaded image: ").unwrap_or_else(|| panic!("{said}")).to_owned();
        assert_eq!(home.ok(&["images", "-q", "--no-trunc", &name]).trim(), id, "{archive}");
        home.ok(&["rmi", &name]);
    }
}

#[test]
fn a_real_image_goes_by_a_registry() {
    let test = "a_real_image_goes_by_a_registry";
    let Some(home) = Home::with_image(test, "busybox-10") else { return };
    let Some(server) = server(test, &home, true) else { return };
    let (host, loaded) = (format!("localhost:{}", server.port), "busybox:10-layers");
    home.ok(&["login", "-u", "me", "-p", "secret", &host]);
    let name = format!("{host}/some/busybox:10");
    home.ok(&["tag", loaded, &name]);
    let id = home.ok(&["images", "-q", "--no-trunc", loaded]);
    let pushed = home.ok(&["push", &name]);
    let said = pushed.lines().last().unwrap().split(' ').nth(2).unwrap().to_owned();
    if need_program(test, "skopeo") {
        let at = format!("docker://{name}");
        let seen = runs(&home, "skopeo", &["inspect", "--tls-verify=false", "--creds", "me:secret", &at]);
        let seen: Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(
            (&seen["Digest"], seen["Layers"].as_array().map(Vec::len)),
            (&said.clone().into(), Some(10))
        );
    }
    home.ok(&["rmi", loaded, &name]);
    assert_eq!(images::stored(home.folder.path()).0, 0, "nothing is left of it");
    let printed = home.ok(&["run", "--rm", &name, "sh", "-c", "cat /layers/top; ls /layers | wc -l"]);
    assert_eq!(printed, "9\n10\n", "it is pulled, and runs");
    assert_eq!(home.ok(&["images", "-q", "--no-trunc", &name]), id);
    assert!(home.ok(&["images", "--digests"]).contains(&said));
    home.nothing_is_left("an image by a registry");
}
