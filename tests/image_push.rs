//! Images that leave: `push` to Debian's registry, with and without a password, and to one that does not behave; and `save`.

mod common;
mod images;
mod registry;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use common::Home;
use images::{digest, tar};
use registry::{Registry, Reply, Request, debian::server};
use serde_json::Value;

/// Loads an image of this name, of three layers; gives how many it has.
fn load(home: &Home, name: &str) -> usize {
    let layers =
        [tar(&[("bin/true", b"#!")]), tar(&[("noise", &images::noise(3 << 20, 1))]), tar(&[("top", b"2")])];
    let image = images::parts(name, &layers).compressed(images::gzip);
    let archive = home.folder.path().join("image.tar");
    fs::write(&archive, images::pack(&image.oci_members())).unwrap();
    home.ok(&["load", "-i", archive.to_str().unwrap()]);
    layers.len()
}

/// A file of an archive.
fn file_in(archive: &[u8], name: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut entry = entries.find(|entry| entry.path_bytes() == name.as_bytes()).expect(name);
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    bytes
}

fn blobs(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home.join("data/hull/blobs/sha256")).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_pushed_is_pulled_as_it_was() {
    const TEST: &str = "what_is_pushed_is_pulled_as_it_was";
    let home = Home::new();
    let Some(server) = server(TEST, &home, false) else { return };
    let name = format!("localhost:{}/some/image:v1", server.port);
    let layers = load(&home, &name);
    let before = blobs(home.folder.path());
    let pushed = home.ok(&["push", &name]);
    assert_eq!(pushed.matches(": Pushed\n").count(), layers, "{pushed}");
    let said = pushed.lines().last().unwrap().to_owned();
    assert!(said.starts_with("v1: digest: sha256:"), "{said}");
    let known = home.ok(&["push", &name]);
    assert_eq!(known.matches(": Layer already exists\n").count(), layers, "{known}");

    // Another repository of the same registry gets the layers from there.
    let other = format!("localhost:{}/other:latest", server.port);
    home.ok(&["tag", &name, &other]);
    let mounted = home.ok(&["push", &other]);
    assert_eq!(mounted.matches(": Mounted from some/image\n").count(), layers, "{mounted}");
    assert!(home.ok(&["images", "--digests"]).contains(said.split(' ').nth(2).unwrap()));

    let id = home.ok(&["images", "-q", "--no-trunc", &name]);
    home.ok(&["rmi", &name, &other]);
    assert_eq!(blobs(home.folder.path()), Vec::<String>::new());
    for name in [&name, &other] {
        home.ok(&["pull", "-q", name]);
        assert_eq!(home.ok(&["images", "-q", "--no-trunc", name]), id);
    }
    assert_eq!(blobs(home.folder.path()), before, "the same blobs, to the byte");
    let errors = home.fails(1, &["push", "localhost:1/nothing"]);
    assert!(errors.contains("does not exist locally with the tag: localhost:1/nothing"), "{errors}");
    home.ok(&["tag", &name, "localhost:1/nowhere"]);
    assert!(home.fails(1, &["push", "localhost:1/nowhere"]).contains("cannot be reached"));
}

#[test]
fn a_registry_with_a_password_is_logged_in_to() {
    const TEST: &str = "a_registry_with_a_password_is_logged_in_to";
    let home = Home::new();
    let Some(server) = server(TEST, &home, true) else { return };
    let host = format!("localhost:{}", server.port);
    let name = format!("{host}/mine:latest");
    load(&home, &name);
    let errors = home.fails(1, &["push", &name]);
    assert!(errors.contains("without a login"), "{errors}");
    let login = |password: &str| {
        let mut child = home.hull(&["login", "-u", "me", "--password-stdin", &host]);
        let mut child =
            child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let (accepted, said) = login("wrong\n");
    assert!(!accepted && said.contains("does not accept the login"), "{said}");
    let config = home.folder.path().join(".docker/config.json");
    assert!(!config.exists());
    let (accepted, said) = login("secret\n");
    assert!(accepted && said.contains("Login Succeeded") && said.contains("stored unencrypted"), "{said}");
    let kept: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert_eq!(kept["auths"][&host]["auth"], "bWU6c2VjcmV0");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    home.ok(&["push", &name]);
    home.ok(&["rmi", &name]);
    home.ok(&["pull", "-q", &name]);
    assert!(home.ok(&["logout", &host]).contains("Removing login credentials"));
    let kept: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert_eq!(kept["auths"].as_object().map(serde_json::Map::len), Some(0));
    assert!(home.fails(1, &["pull", &name]).contains("without a login"));

    // A helper keeps the login where the configuration names one.
    let helper = home.folder.path().join("docker-credential-test");
    let script =
        format!("#!/bin/sh\necho \"$1\" >> {0}/said\ncat >> {0}/said\n", home.folder.path().display());
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&config, "{\"credsStore\": \"test\", \"other\": 1}").unwrap();
    let path = format!("{}:{}", home.folder.path().display(), std::env::var("PATH").unwrap());
    for arguments in [&["login", "-u", "me", "-p", "secret", &host][..], &["logout", &host]] {
        assert!(home.hull(arguments).env("PATH", &path).output().unwrap().status.success());
    }
    let said = fs::read_to_string(home.folder.path().join("said")).unwrap();
    assert!(said.starts_with("store\n{") && said.contains("\"Secret\":\"secret\""), "{said}");
    assert!(said.ends_with(&format!("erase\n{host}")), "{said}");
    assert!(fs::read_to_string(&config).unwrap().contains("\"other\": 1"));
}

/// A registry that has nothing, and takes what it is sent; `begin` answers what asks for a place for a blob.
fn taker(begin: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Registry {
    Registry::start(&[], move |request| match (&*request.method, request.path.contains("/uploads/")) {
        ("POST", true) => Some(begin(request)),
        ("PUT", _) => Some(Reply::new(201, b"")),
        _ => None,
    })
}

#[test]
fn what_a_registry_does_not_mount_is_sent() {
    for status in [401, 403, 404] {
        let registry = taker(move |request| match request.path.contains("from=") {
            true => Reply::new(status, b"").header("www-authenticate", "Basic realm=\"tests\""),
            false => Reply::new(202, b"").header("location", "/v2/uploads/here"),
        });
        let home = Home::new();
        let (name, other) = (registry.name("some/image:v1"), registry.name("other:latest"));
        let layers = load(&home, &name);
        home.ok(&["push", &name]);
        home.ok(&["tag", &name, &other]);
        let pushed = home.ok(&["push", &other]);
        assert_eq!(pushed.matches(": Pushed\n").count(), layers, "{pushed}");
        assert_eq!(registry.requests("from=some%2Fimage").len(), layers, "each was asked for first");
    }
}

#[test]
fn a_login_is_not_given_to_whoever_asks_for_one_where_blobs_are_sent() {
    let thief = Registry::thief();
    let place = format!("http://localhost:{}/blobs/here", thief.address.port());
    let registry = taker(move |_| Reply::new(202, b"").header("location", &place));
    let home = Home::new();
    let folder = home.folder.path().join(".docker");
    fs::create_dir_all(&folder).unwrap();
    let logins = serde_json::json!({ registry.address.to_string(): { "auth": "dXNlcjpwYXNz" } });
    fs::write(folder.join("config.json"), serde_json::json!({ "auths": logins }).to_string()).unwrap();
    let name = registry.name("some/image:v1");
    load(&home, &name);
    let errors = home.fails(1, &["push", &name]);
    assert!(errors.contains("denies access"), "{errors}");
    assert!(!thief.requests("/blobs/").is_empty() && thief.requests("/token").is_empty());
}

#[test]
fn what_is_saved_is_loaded_as_it_was() {
    let home = Home::new();
    load(&home, "one:1");
    home.ok(&["tag", "one:1", "one:2"]);
    let (before, listed) = (blobs(home.folder.path()), home.ok(&["images", "--no-trunc"]));
    let archive = home.folder.path().join("saved.tar");
    let path = archive.to_str().unwrap();
    home.ok(&["save", "-o", path, "one"]);
    let bytes = fs::read(&archive).unwrap();
    assert_eq!(home.run(&["save", "one"]).stdout, bytes, "standard output gets the same");
    // What `docker load` looks for.
    let docker = file_in(&bytes, "manifest.json");
    let docker: Value = serde_json::from_slice(&docker).unwrap();
    assert_eq!(docker[0]["RepoTags"], serde_json::json!(["one:1", "one:2"]));
    for layer in docker[0]["Layers"].as_array().unwrap() {
        let name = layer.as_str().unwrap();
        let blob = file_in(&bytes, name);
        assert_eq!(digest(&blob), format!("sha256:{}", name.rsplit('/').next().unwrap()));
    }
    home.ok(&["rmi", "one:1", "one:2"]);
    assert_eq!(blobs(home.folder.path()), Vec::<String>::new());
    home.ok(&["load", "-i", path]);
    assert_eq!((blobs(home.folder.path()), home.ok(&["images", "--no-trunc"])), (before, listed));
    assert!(home.fails(1, &["save", "-o", path, "nothing"]).contains("No such image: nothing"));
    assert_eq!(fs::read(&archive).unwrap(), bytes, "what failed has replaced nothing");

    home.ok(&["history", "one:1"]);
    let told = home.ok(&["system", "df", "--format", "{{.Type}}: {{.TotalCount}} {{.Active}}"]);
    assert_eq!(told, "Images: 1 0\nContainers: 0 0\nLocal Volumes: 0 0\n");
    assert!(home.ok(&["image", "prune", "-f"]).starts_with("Total reclaimed space: 0B"));
    let told = home.ok(&["system", "prune", "-af"]);
    assert!(told.contains("Deleted Images:\nuntagged: one:1\nuntagged: one:2\ndeleted: sha256:"), "{told}");
    assert_eq!(home.ok(&["images", "-q"]), "");
}
