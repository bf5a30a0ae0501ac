//! `hull pull` from registries that behave, and from those that do not.

mod common;
mod images;
mod registry;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Home;
use images::{Parts, digest, gzip, noise, parts, small, stored, tar, zstd};
use registry::{Registry, Reply, Request};
use serde_json::json;

/// Pulls with time-outs that a test can wait for.
fn pull(home: &Home, arguments: &[&str]) -> Output {
    let arguments: Vec<&str> = ["pull"].iter().chain(arguments).copied().collect();
    home.hull(&arguments).env("HULL_REGISTRY_TIMEOUT", "2").env_remove("DOCKER_CONFIG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pulled(home: &Home, output: &Output, image: &Parts) {
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(home.ok(&["images", "-q", "--no-trunc"]), format!("{}\n", image.id()));
    assert_eq!(stored(home.folder.path()).2, 0, "nothing is left in the temporary folder");
}

/// The pull must have failed with these words; no image is there, nor anything half.
fn refused(home: &Home, output: &Output, words: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.starts_with("hull: ") && message.lines().count() == 1, "one line of error: {message}");
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
    assert_eq!(home.ok(&["images", "-q"]), "");
    assert_eq!(stored(home.folder.path()).2, 0);
}

/// An image whose layers are large enough to break in the middle.
fn large() -> Parts {
    let layer = |seed| tar(&[(&format!("noise{seed}"), &noise(1_000_000, seed))]);
    parts("large", &[layer(1), layer(2), layer(3), layer(4)]).compressed(gzip)
}

fn is_layer(request: &Request, image: &Parts, layer: usize) -> bool {
    request.method == "GET" && request.path.ends_with(&digest(&image.layers[layer]))
}

fn docker_config(home: &Home, json: &serde_json::Value) {
    let folder = home.folder.path().join(".docker");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), json.to_string()).unwrap();
}

#[test]
fn an_image_is_pulled_and_found_up_to_date() {
    let image = large();
    let registry = Registry::start(&[("team/large:v1", &image)], |_| None);
    let home = Home::new();
    let name = registry.name("team/large:v1");
    let output = pull(&home, &[&name]);
    pulled(&home, &output, &image);
    let manifest = digest(&image.manifest_bytes());
    let said = text(&output.stdout);
    assert!(said.starts_with("v1: Pulling from team/large\n"), "{said}");
    assert_eq!(said.matches("Pull complete").count(), 4);
    assert!(
        said.ends_with(&format!("Digest: {manifest}\nStatus: Downloaded newer image for {name}\n{name}\n")),
        "{said}"
    );

    let before = registry.requests("").len();
    let said = text(&pull(&home, &[&name]).stdout);
    assert_eq!(said, format!("Digest: {manifest}\nStatus: Image is up to date for {name}\n{name}\n"));
    assert_eq!(registry.requests("").len(), before + 1, "one HEAD is enough");

    // By digest, quietly, and found again by either.
    let by_digest = registry.name(&format!("team/large@{manifest}"));
    assert_eq!(text(&pull(&home, &["-q", &by_digest]).stdout), format!("{by_digest}\n"));
    assert!(home.ok(&["images", "--digests"]).contains(&manifest));
    home.ok(&["image", "inspect", &by_digest]);
}

#[test]
fn layers_that_are_here_are_not_fetched() {
    let base = tar(&[("base", &noise(100_000, 1))]);
    let [one, two] =
        ["one", "two"].map(|name| parts(name, &[base.clone(), tar(&[(name, b"1")])]).compressed(zstd));
    let registry = Registry::start(&[("one:latest", &one), ("two:latest", &two)], |_| None);
    let home = Home::new();
    assert!(pull(&home, &[&registry.name("one")]).status.success());
    let said = text(&pull(&home, &[&registry.name("two")]).stdout);
    assert!(said.starts_with("Using default tag: latest\n") && said.contains(": Already exists\n"), "{said}");
    let first = digest(&one.layers[0]);
    assert_eq!(registry.requests(&first).len(), 1);
    assert_eq!(stored(home.folder.path()), (7, 3, 0));
}

#[test]
fn a_tag_that_moved_is_pulled_again() {
    let (old, new) = (small("old"), parts("new", &[tar(&[("new", b"1")])]));
    let registry = Registry::start(&[("x:latest", &old)], |_| None);
    let moved = Registry::start(&[("x:latest", &new)], |_| None);
    let home = Home::new();
    pulled(&home, &pull(&home, &[&registry.name("x")]), &old);
    // The same name at another time, as far as the store can tell.
    let list = home.folder.path().join("data/hull/images.json");
    let renamed =
        fs::read_to_string(&list).unwrap().replace(&registry.address.to_string(), &moved.address.to_string());
    fs::write(&list, renamed).unwrap();
    let said = text(&pull(&home, &[&moved.name("x")]).stdout);
    assert!(said.contains("Status: Downloaded newer image"), "{said}");
    let ids = home.ok(&["images", "-q", "--no-trunc"]);
    assert!(ids.contains(&new.id()) && ids.contains(&old.id()), "the old one has lost its name only");
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    let ours = small("ours");
    let mut arm = parts("arm", &[tar(&[("arm", b"1")])]);
    arm.config["architecture"] = json!("arm64");
    let entry = |image: &Parts, architecture: &str| {
        let manifest = image.manifest_bytes();
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest),
            "size": manifest.len(), "platform": { "os": "linux", "architecture": architecture } })
    };
    let index =
        |entries: &[serde_json::Value]| json!({ "schemaVersion": 2, "manifests": entries }).to_string();
    let (both, foreign) =
        (index(&[entry(&arm, "arm64"), entry(&ours, "amd64")]), index(&[entry(&arm, "arm64")]));
    let registry = Registry::start(&[("x:ours", &ours), ("x:arm", &arm)], move |request| {
        let index = match request.path.as_str() {
            "/v2/x/manifests/both" => &both,
            "/v2/x/manifests/foreign" => &foreign,
            _ => return None,
        };
        Some(
            Reply::new(200, index.as_bytes())
                .header("content-type", "application/vnd.oci.image.index.v1+json"),
        )
    });
    let home = Home::new();
    pulled(&home, &pull(&home, &[&registry.name("x:both")]), &ours);

    let home = Home::new();
    let words = ["image is for linux/arm64, this host is linux/amd64"];
    refused(&home, &pull(&home, &[&registry.name("x:foreign")]), &words);
    refused(&home, &pull(&home, &[&registry.name("x:arm")]), &words);
    pulled(&home, &pull(&home, &["--platform", "linux/arm64", &registry.name("x:both")]), &arm);
    assert_eq!(pull(&home, &["--platform", "nonsense", "x"]).status.code(), Some(125));
}

#[test]
fn a_broken_connection_is_taken_up_again() {
    for knows_ranges in [true, false] {
        let image = large();
        let served = image.clone();
        let registry = Registry::start(&[("x:latest", &image)], move |request| {
            if !is_layer(request, &served, 0) {
                return None;
            }
            let whole = Reply::new(200, &served.layers[0]);
            match request.earlier {
                0 => Some(Reply { cut: Some(300_000), ..whole }),
                1 if knows_ranges => {
                    let rest = Reply::new(206, &served.layers[0][300_000..]);
                    Some(Reply { cut: Some(300_000), ..rest })
                }
                1 => Some(Reply { cut: Some(600_000), ..whole }),
                _ if knows_ranges => None,
                _ => Some(whole),
            }
        });
        let home = Home::new();
        pulled(&home, &pull(&home, &[&registry.name("x")]), &image);
        let requests = registry.requests(&digest(&image.layers[0]));
        let ranges: Vec<_> = requests.iter().map(|request| request.headers.get("range").cloned()).collect();
        assert_eq!(ranges, [None, Some("bytes=300000-".into()), Some("bytes=600000-".into())]);
    }
}

#[test]
fn what_passes_is_waited_for() {
    for (status, retry_after) in [(500, None), (503, None), (429, Some("1")), (429, None)] {
        let image = small("x");
        let registry = Registry::start(&[("x:latest", &image)], move |request| {
            let reply = Reply::new(status, b"busy");
            let reply =
                retry_after.into_iter().fold(reply, |reply, after| reply.header("retry-after", after));
            (request.earlier == 0).then_some(reply)
        });
        let home = Home::new();
        let started = Instant::now();
        pulled(&home, &pull(&home, &[&registry.name("x")]), &image);
        assert!(
            retry_after.is_none() || started.elapsed() >= Duration::from_secs(1),
            "Retry-After is kept to"
        );
    }
}

#[test]
fn what_does_not_pass_is_an_error_with_a_remedy() {
    let html =
        || Reply::new(200, b"<html>Log in to the hotel's network</html>").header("content-type", "text/html");
    let later = Reply::new(429, br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#)
        .header("retry-after", "7200");
    let denied = Reply::new(403, br#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#);
    let cases: Vec<(Reply, Vec<&str>)> = vec![
        (Reply::new(500, b"oops"), vec!["fails with status 500", "try again later"]),
        (later, vec!["429", "slow down", "in 7200 s"]),
        (Reply::new(404, b""), vec!["has no manifest latest of", "check name and tag"]),
        (Reply::new(401, b""), vec!["login"]),
        (denied, vec!["denies access", "not yours", "docker login"]),
        (html(), vec!["web page", "login page"]),
        (Reply::new(200, b"<!DOCTYPE html>"), vec!["web page"]),
        (Reply::new(200, b"not JSON"), vec!["manifest"]),
        (Reply::new(200, b"{}"), vec!["neither a manifest nor an index"]),
        (Reply::new(200, br#"{"schemaVersion":1,"fsLayers":[]}"#), vec!["schema 1"]),
        (Reply::new(200, &vec![b' '; 5 << 20]), vec!["4 MiB"]),
        (Reply { cut: Some(1), ..Reply::new(200, b"{}") }, vec!["broke off"]),
        (
            Reply { stall: Some(Duration::from_secs(8)), length: Some(5), ..Reply::new(200, b"{}") },
            vec!["does not answer"],
        ),
        (Reply::new(302, b"").header("location", "http://127.0.0.1:1/elsewhere"), vec!["cannot be reached"]),
    ];
    thread_each(cases, |(reply, words)| {
        let reply = reply.clone();
        let registry = Registry::start(&[], move |_| Some(reply.clone()));
        let home = Home::new();
        let output = pull(&home, &[&registry.name("x")]);
        let mut words = words.clone();
        let address = registry.address.to_string();
        if !words.contains(&"manifest") && !words[0].contains("schema") && !words[0].contains("neither") {
            words.push(&address);
        }
        refused(&home, &output, &words);
    });
}

#[test]
fn layers_that_arrive_wrong_are_refused() {
    let image = large();
    let layer = image.layers[1].clone();
    let size = layer.len();
    let mut damaged = layer.clone();
    damaged[size / 2] ^= 1;
    let html = Reply::new(200, &b"<html>".repeat(100)).header("content-type", "text/html");
    let cases: Vec<(Reply, Vec<&str>)> = vec![
        (Reply::new(200, &damaged), vec!["wrong digest"]),
        (Reply::new(200, &layer[..size - 10]), vec!["which should be"]),
        (Reply::new(200, &[&layer[..], b"more"].concat()), vec!["which should be"]),
        (Reply { cut: Some(0), ..Reply::new(200, &layer) }, vec!["broke off"]),
        (
            Reply { cut: Some(1000), stall: Some(Duration::from_secs(60)), ..Reply::new(200, &layer) },
            vec!["does not answer"],
        ),
        (html, vec!["web page"]),
        (Reply::new(404, b""), vec!["has no layer"]),
        (Reply::new(500, b""), vec!["fails with status 500"]),
    ];
    thread_each(cases, |(reply, words)| {
        let (served, reply) = (image.clone(), reply.clone());
        let registry = Registry::start(&[("x:latest", &image)], move |request| {
            is_layer(request, &served, 1).then(|| reply.clone())
        });
        let home = Home::new();
        refused(&home, &pull(&home, &[&registry.name("x")]), words);
        assert!(stored(home.folder.path()).1 <= 3, "the layer itself is not there");
    });
}

#[test]
fn manifests_and_configurations_that_lie_are_refused() {
    let image = small("x");
    let manifest = image.manifest_bytes();
    let other = digest(b"other");
    let promised = Reply::new(200, &manifest).header("docker-content-digest", &other);
    let registry = Registry::start(&[("x:latest", &image)], {
        let image = image.clone();
        let manifest = manifest.clone();
        let other = other.clone();
        move |request| match request.path.as_str() {
            "/v2/x/manifests/promised" => Some(promised.clone()),
            path if path.ends_with(&other) => Some(Reply::new(200, &manifest)),
            "/v2/x/manifests/diffid" => {
                let mut lying = image.clone();
                lying.layers.reverse();
                Some(Reply::new(200, &lying.manifest_bytes()))
            }
            "/v2/x/manifests/size" => {
                let mut lying = image.manifest();
                lying["config"]["size"] = json!(17);
                Some(Reply::new(200, lying.to_string().as_bytes()))
            }
            _ => None,
        }
    });
    let home = Home::new();
    refused(&home, &pull(&home, &[&registry.name("x:promised")]), &["something else", &other]);
    refused(&home, &pull(&home, &[&registry.name(&format!("x@{other}"))]), &["something else", &other]);
    refused(&home, &pull(&home, &[&registry.name("x:diffid")]), &["content of layer", "wrong digest"]);
    refused(&home, &pull(&home, &[&registry.name("x:size")]), &["configuration", "which should be 17"]);
}

#[test]
fn registries_that_are_not_there_are_named() {
    let home = Home::new();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let started = Instant::now();
    let name = format!("localhost:{port}/x");
    refused(&home, &pull(&home, &[&name]), &[&format!("localhost:{port}"), "cannot be reached", "refused"]);
    assert!(started.elapsed() < Duration::from_secs(5), "a refusal is believed at once");
    refused(&home, &pull(&home, &["registry.invalid/x"]), &["registry.invalid", "no host of this name"]);
    refused(&home, &pull(&home, &["UPPER"]), &["invalid reference format", "lowercase"]);
    // One that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("{}/x", silent.local_addr().unwrap());
    refused(&home, &pull(&home, &[&name]), &["does not answer", "HULL_REGISTRY_TIMEOUT"]);
}

/// A registry that wants a bearer token, and gives one to whom `allowed` lets have it.
fn with_tokens(image: &Parts, allowed: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Registry {
    let address = Arc::new(std::sync::OnceLock::<String>::new());
    let own = address.clone();
    let registry = Registry::start(&[("private/x:latest", image)], move |request| {
        let own = own.get().expect("it was set before the first request");
        if request.path.starts_with("/token") {
            assert!(
                request.path.contains("scope=repository%3Aprivate%2Fx%3Apull") || request.method == "POST",
                "{}",
                request.path
            );
            return Some(match allowed(request) {
                true => Reply::new(200, br#"{"token":"opensesame","expires_in":60}"#),
                false => Reply::new(401, br#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#),
            });
        }
        if request.headers.get("authorization").map(String::as_str) == Some("Bearer opensesame") {
            return None;
        }
        let challenge = format!(
            "Bearer realm=\"http://{own}/token\",service=\"tests\",scope=\"repository:private/x:pull\""
        );
        Some(Reply::new(401, b"").header("www-authenticate", &challenge))
    });
    address.set(registry.address.to_string()).unwrap();
    registry
}

#[test]
fn tokens_are_fetched_with_and_without_a_login() {
    let image = small("x");
    let registry = with_tokens(&image, |_| true);
    let home = Home::new();
    pulled(&home, &pull(&home, &[&registry.name("private/x")]), &image);
    assert_eq!(registry.requests("/token").len(), 1, "one token does for all");
    assert!(!registry.requests("/token")[0].headers.contains_key("authorization"));

    // dXNlcjpwYXNz is user:pass.
    let login = |request: &Request| {
        request.headers.get("authorization").map(String::as_str) == Some("Basic dXNlcjpwYXNz")
    };
    let registry = with_tokens(&image, login);
    let name = registry.name("private/x");
    let home = Home::new();
    refused(&home, &pull(&home, &[&name]), &["without a login", "docker login 127.0.0.1"]);
    docker_config(
        &home,
        &json!({ "auths": { registry.address.to_string(): { "auth": "dXNlcjp3cm9uZw==" } } }),
    );
    refused(&home, &pull(&home, &[&name]), &["does not accept the login"]);
    docker_config(&home, &json!({ "auths": { registry.address.to_string(): { "auth": "dXNlcjpwYXNz" } } }));
    pulled(&home, &pull(&home, &[&name]), &image);

    let identity = |request: &Request| {
        request.method == "POST"
            && text(&request.body).contains("refresh_token=identity")
            && text(&request.body).contains("grant_type=refresh_token")
    };
    let registry = with_tokens(&image, identity);
    let home = Home::new();
    docker_config(
        &home,
        &json!({ "auths": { registry.address.to_string(): { "identitytoken": "identity" } } }),
    );
    pulled(&home, &pull(&home, &[&registry.name("private/x")]), &image);
}

#[test]
fn basic_logins_and_helpers_are_used() {
    let image = small("x");
    let registry = Registry::start(&[("x:latest", &image)], |request| {
        let right = request.headers.get("authorization").map(String::as_str) == Some("Basic dXNlcjpwYXNz");
        (!right).then(|| Reply::new(401, b"").header("www-authenticate", "Basic realm=\"tests\""))
    });
    let (name, address) = (registry.name("x"), registry.address.to_string());
    let home = Home::new();
    refused(&home, &pull(&home, &[&name]), &["without a login", "docker login"]);
    docker_config(&home, &json!({ "auths": { &address: { "auth": "dXNlcjp3cm9uZw==" } } }));
    refused(&home, &pull(&home, &[&name]), &["does not accept the login"]);
    fs::write(home.folder.path().join(".docker/config.json"), "{").unwrap();
    refused(&home, &pull(&home, &[&name]), &["login", "cannot be used"]);

    let helper = home.folder.path().join("docker-credential-tests");
    fs::write(
        &helper,
        "#!/bin/sh\nread server\necho '{\"ServerURL\":\"x\",\"Username\":\"user\",\"Secret\":\"pass\"}'\n",
    )
    .unwrap();
    fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    docker_config(&home, &json!({ "credHelpers": { &address: "tests" } }));
    let path = format!("{}:{}", home.folder.path().display(), std::env::var("PATH").unwrap());
    let output = home.hull(&["pull", &name]).env("PATH", path).output().unwrap();
    pulled(&home, &output, &image);
}

#[test]
fn a_login_is_not_carried_to_where_a_redirect_leads() {
    let image = large();
    let storage = Registry::start(&[("x:latest", &image)], |_| None);
    let elsewhere = storage.address;
    let registry = Registry::start(&[("x:latest", &image)], move |request| {
        if !request.headers.contains_key("authorization") {
            return Some(Reply::new(401, b"").header("www-authenticate", "Basic realm=\"tests\""));
        }
        let blob = request.path.contains("/blobs/");
        let location = format!("http://localhost:{}{}", elsewhere.port(), request.path);
        blob.then(|| Reply::new(307, b"").header("location", &location))
    });
    let home = Home::new();
    docker_config(&home, &json!({ "auths": { registry.address.to_string(): { "auth": "dXNlcjpwYXNz" } } }));
    pulled(&home, &pull(&home, &[&registry.name("x")]), &image);
    let redirected = storage.requests("/blobs/");
    assert_eq!(redirected.len(), 5);
    assert!(redirected.iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn a_login_is_not_given_to_whoever_asks_for_one_where_a_redirect_leads() {
    let image = large();
    let thief = Registry::thief();
    let elsewhere = thief.address;
    let registry = Registry::start(&[("x:latest", &image)], move |request| {
        let location = format!("http://localhost:{}{}", elsewhere.port(), request.path);
        request.path.contains("/blobs/").then(|| Reply::new(307, b"").header("location", &location))
    });
    let home = Home::new();
    docker_config(&home, &json!({ "auths": { registry.address.to_string(): { "auth": "dXNlcjpwYXNz" } } }));
    refused(&home, &pull(&home, &[&registry.name("x")]), &["denies access"]);
    assert!(!thief.requests("/blobs/").is_empty() && thief.requests("/token").is_empty());
    assert!(thief.requests("").iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn two_pulls_of_one_image_both_succeed() {
    let image = large();
    let registry = Registry::start(&[("x:latest", &image)], |_| None);
    let home = Home::new();
    let name = registry.name("x");
    let start = || home.hull(&["pull", &name]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pulls = [start(), start(), start()];
    for pull in pulls {
        let output = pull.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(stored(home.folder.path()), (6, 4, 0));
}

#[test]
fn a_pull_that_is_killed_leaves_nothing_half_there() {
    let image = large();
    let served = image.clone();
    let registry = Registry::start(&[("x:latest", &image)], move |request| {
        let stalls = is_layer(request, &served, 2) && request.earlier == 0;
        stalls.then(|| Reply {
            cut: Some(500_000),
            stall: Some(Duration::from_secs(60)),
            ..Reply::new(200, &served.layers[2])
        })
    });
    let home = Home::new();
    let name = registry.name("x");
    let mut child = home.hull(&["pull", &name]).stdout(Stdio::null()).spawn().unwrap();
    common::eventually("two layers and a half", || {
        let (_, layers, temporary) = stored(home.folder.path());
        layers >= 2 && temporary > 0
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(home.ok(&["images", "-q"]), "");
    assert_eq!(stored(home.folder.path()).2, 0);
    pulled(&home, &pull(&home, &[&name]), &image);
    assert_eq!(
        registry.requests(&digest(&image.layers[0])).len(),
        1,
        "a layer that was there whole is not fetched again"
    );
}

/// The real thing: Debian's docker-registry.
#[test]
fn debian_s_registry_is_pulled_from() {
    const TEST: &str = "debian_s_registry_is_pulled_from";
    let home = Home::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = home.folder.path().join("registry.yml");
    let data = home.folder.path().join("registry");
    let settings = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
        data.display()
    );
    fs::write(&config, settings).unwrap();
    let mut server = match Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    {
        Ok(server) => server,
        Err(error) => return common::skip(TEST, &format!("docker-registry: {error}")),
    };
    let base = format!("http://127.0.0.1:{port}/v2/");
    common::eventually("the registry", || ureq::get(&base).call().is_ok());
    let image = large();
    push(&base, "some/image", &image);
    let output = pull(&home, &[&format!("localhost:{port}/some/image:v1")]);
    server.kill().unwrap();
    server.wait().unwrap();
    pulled(&home, &output, &image);
    assert_blobs_are_whole(home.folder.path());
}

/// Puts an image into a registry (distribution specification, "Push").
fn push(base: &str, repository: &str, image: &Parts) {
    for blob in image.layers.iter().chain([&image.config_bytes()]) {
        let started = ureq::post(format!("{base}{repository}/blobs/uploads/")).send_empty().unwrap();
        let location = started.headers()["location"].to_str().unwrap();
        let url = format!("{location}&digest={}", digest(blob));
        ureq::put(url).header("content-type", "application/octet-stream").send(&blob[..]).unwrap();
    }
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = image.manifest_bytes();
    ureq::put(format!("{base}{repository}/manifests/v1"))
        .header("content-type", kind)
        .send(&manifest[..])
        .unwrap();
}

fn assert_blobs_are_whole(home: &Path) {
    for entry in fs::read_dir(home.join("data/hull/blobs/sha256")).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap();
        assert_eq!(digest(&bytes), format!("sha256:{}", entry.file_name().to_str().unwrap()));
    }
}

/// Runs the cases of a test beside each other: many of them wait.
fn thread_each<T: Send + Sync>(cases: Vec<T>, check: impl Fn(&T) + Send + Sync) {
    std::thread::scope(|scope| {
        for case in &cases {
            scope.spawn(|| check(case));
        }
    });
}
