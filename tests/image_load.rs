//! `hull load` and `hull import`, and what happens to the store when they go wrong.

mod common;
mod images;

use std::fs;
use std::io::{Read, Write};
use std::process::{Output, Stdio};

use common::Home;
use images::{Parts, digest, gzip, noise, odd_tar, pack, parts, small, stored, tar, unpack, zstd};
use serde_json::{Value, json};
use tar::EntryType;

/// Loads bytes by way of a file.
fn load(home: &Home, archive: &[u8]) -> Output {
    let path = home.folder.path().join("archive");
    fs::write(&path, archive).unwrap();
    let output = home.run(&["load", "-i", path.to_str().unwrap()]);
    fs::remove_file(path).unwrap();
    output
}

/// Loads bytes by way of standard input.
fn pipe(home: &Home, archive: &[u8]) -> Output {
    pipe_to(home, &["load"], archive)
}

fn pipe_to(home: &Home, arguments: &[&str], archive: &[u8]) -> Output {
    let mut child = home
        .hull(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that gives up early leaves a broken pipe.
    let _ = child.stdin.take().unwrap().write_all(archive);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The load must have failed with these words, and left nothing.
fn refused(home: &Home, output: &Output, words: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    assert!(message.starts_with("hull: ") && message.lines().count() == 1, "one line of error: {message}");
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
    assert_eq!(stored(home.folder.path()), (0, 0, 0), "{message}");
    assert_eq!(home.ok(&["images", "-q"]), "");
}

fn loads(home: &Home, output: &Output, image: &Parts) {
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("Loaded image: {}\n", image.name));
    assert_eq!(home.ok(&["images", "-q", "--no-trunc"]), format!("{}\n", image.id()));
}

#[test]
fn every_form_of_an_image_is_loaded() {
    let image = small("some/name:tag");
    let docker = image.docker_members();
    let oci = image.clone().compressed(gzip).oci_members();
    let mut both = image.clone().compressed(zstd).oci_members();
    let manifest = json!([{
        "Config": images::blob_path(&image.config_bytes()), "RepoTags": [image.name],
        "Layers": image.clone().compressed(zstd).layers.iter().map(|l| images::blob_path(l)).collect::<Vec<_>>(),
    }]);
    both.push(("manifest.json".into(), manifest.to_string().into_bytes()));
    let mut backwards = docker.clone();
    backwards.reverse();
    for (form, members) in
        [("docker", docker), ("reversed", backwards), ("OCI", oci), ("recent docker", both)]
    {
        let archive = pack(&members);
        type Way<'a> = &'a dyn Fn(&Home) -> Output;
        let ways: [(&str, Way<'_>); 4] = [
            ("file", &|home| load(home, &archive)),
            ("pipe", &|home| pipe(home, &archive)),
            ("gzip", &|home| load(home, &gzip(&archive))),
            ("zstd pipe", &|home| pipe(home, &zstd(&archive))),
        ];
        for (how, output) in ways {
            let home = Home::new();
            let output = output(&home);
            assert!(output.status.success(), "{form} by {how}: {}", text(&output.stderr));
            loads(&home, &output, &image);
            assert_eq!(stored(home.folder.path()), (4, 2, 0), "{form} by {how}");
        }
        let home = Home::new();
        let folder = home.folder.path().join("folder");
        unpack(&members, &folder);
        loads(&home, &home.run(&["load", folder.to_str().unwrap()]), &image);
    }
}

#[test]
fn layers_that_are_links_in_the_archive_are_found() {
    let image = small("linked:latest");
    let mut builder = tar::Builder::new(Vec::new());
    let mut link = |name: &str, target: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    };
    link("layer0/layer.tar", "../real/one.tar");
    link("layer1/layer.tar", "../layer1/two");
    link("layer1/two", "../real/two.tar");
    let members = image.docker_members();
    for (name, bytes) in [
        &members[0],
        &("real/one.tar".into(), image.layers[0].clone()),
        &("real/two.tar".into(), image.layers[1].clone()),
        &members[3],
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    let archive = builder.into_inner().unwrap();
    for output in [load, pipe] {
        let home = Home::new();
        loads(&home, &output(&home, &archive), &image);
    }
}

#[test]
fn an_image_without_a_name_is_called_by_its_id() {
    let image = small("latest");
    let home = Home::new();
    // An OCI layout's bare word is a tag without a repository.
    let output = load(&home, &pack(&image.oci_members()));
    assert_eq!(
        text(&output.stdout),
        format!("Loaded image ID: {}\n", image.id()),
        "{}",
        text(&output.stderr)
    );
    home.ok(&["tag", &image.id()[7..19], "named"]);
    assert!(home.ok(&["images"]).contains("named"));
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    let [mut arm, ours] = [small("x"), parts("x", &[tar(&[("ours", b"")])])];
    arm.config["architecture"] = json!("arm64");
    let entry = |image: &Parts, architecture: &str| {
        let manifest = image.manifest_bytes();
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest), "size": manifest.len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let attestation = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(b"not there"), "size": 9,
        "platform": { "os": "unknown", "architecture": "unknown" },
    });
    let nested = |entries: Vec<Value>| {
        let index = json!({ "schemaVersion": 2, "manifests": entries }).to_string().into_bytes();
        let top = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(&index), "size": index.len(),
            "annotations": { "io.containerd.image.name": "docker.io/library/x:latest" },
        }]});
        let mut members = [arm.blobs(), ours.blobs()].concat();
        members.push((images::blob_path(&index), index));
        members.push(("index.json".into(), top.to_string().into_bytes()));
        pack(&members)
    };
    let home = Home::new();
    let archive = nested(vec![entry(&arm, "arm64"), attestation.clone(), entry(&ours, "amd64")]);
    let output = load(&home, &archive);
    assert_eq!(text(&output.stdout), "Loaded image: x:latest\n", "{}", text(&output.stderr));
    assert_eq!(home.ok(&["images", "-q", "--no-trunc"]), format!("{}\n", ours.id()));

    let words = ["image is for linux/arm64, this host is linux/amd64"];
    let home = Home::new();
    refused(&home, &load(&home, &nested(vec![entry(&arm, "arm64"), attestation])), &words);
    refused(&home, &load(&home, &arm.docker_archive()), &words);
    refused(&home, &load(&home, &pack(&arm.oci_members())), &words);
}

#[test]
fn layers_that_make_no_file_system_are_refused() {
    let opaque: &[(&str, &[u8])] = &[("SCHILY.xattr.trusted.overlay.opaque", b"y")];
    let sparse: &[(&str, &[u8])] =
        &[("GNU.sparse.size", b"10737418240"), ("GNU.sparse.map", b"0,1000000000")];
    let mut below_link = odd_tar("out", EntryType::Symlink, "../../..", &[]);
    below_link.truncate(512);
    below_link.extend(odd_tar("out/x", EntryType::Regular, "", &[]));
    let cases: [(Vec<u8>, &[&str]); 6] = [
        (
            odd_tar("../../etc/cron.d/x", EntryType::Regular, "", &[]),
            &["../../etc/cron.d/x", "leaves the root"],
        ),
        (
            odd_tar("x", EntryType::Link, "nothing", &[]),
            &["\"x\"", "hard link to \"nothing\"", "not in this layer"],
        ),
        (below_link, &["\"out/x\"", "below \"out\""]),
        (odd_tar("x", EntryType::Directory, "", opaque), &["\"x\"", "trusted.overlay.opaque"]),
        (odd_tar("x", EntryType::Regular, "", sparse), &["\"x\"", "sparse map", "1000000000"]),
        (b"no tar at all".repeat(100), &["no tar header"]),
    ];
    for (layer, words) in cases {
        let image = parts("bad", &[tar(&[("good", b"1")]), layer]);
        let home = Home::new();
        refused(&home, &load(&home, &image.docker_archive()), words);
        refused(&home, &pipe(&home, &pack(&image.compressed(gzip).oci_members())), words);
    }
}

#[test]
fn absolute_paths_and_links_that_point_out_stay_inside() {
    let mut layer = odd_tar("/absolute", EntryType::Regular, "", &[]);
    layer.truncate(512);
    layer.extend(odd_tar("out", EntryType::Symlink, "../../../etc/shadow", &[]));
    let image = parts("odd:latest", &[layer]);
    let home = Home::new();
    loads(&home, &load(&home, &image.docker_archive()), &image);
}

#[test]
fn a_sparse_file_of_10_gib_takes_no_disk() {
    let sparse: &[(&str, &[u8])] = &[("GNU.sparse.size", b"10737418240"), ("GNU.sparse.map", b"")];
    let image = parts("sparse:latest", &[odd_tar("hole", EntryType::Regular, "", sparse)]);
    let home = Home::new();
    loads(&home, &load(&home, &image.docker_archive()), &image);
    let layers = fs::read_dir(home.folder.path().join("data/hull/layers")).unwrap();
    let metadata = layers.flatten().next().unwrap().metadata().unwrap();
    assert!(metadata.len() > 10 << 30);
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 < 1 << 20);
}

#[test]
fn content_that_is_not_what_it_is_called_is_refused() {
    let home = Home::new();
    let mut other = small("x");
    other.layers[1] = tar(&[("top", b"another")]);
    refused(
        &home,
        &load(&home, &other.docker_archive()),
        &["content of layer layer1/layer.tar", "wrong digest"],
    );

    let mut members = small("x").docker_members();
    members[0].1 = small("y").config_bytes();
    refused(&home, &load(&home, &pack(&members)), &["configuration", "wrong digest"]);

    let image = small("x").compressed(gzip);
    for damaged in 0..4 {
        let mut members = image.oci_members();
        let length = members[damaged].1.len();
        members[damaged].1[length - 1] ^= 1;
        refused(&home, &pipe(&home, &pack(&members)), &["wrong digest"]);
        members[damaged].1.truncate(length - 3);
        refused(&home, &load(&home, &pack(&members)), &[]);
    }

    let mut image = small("x");
    image.config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop();
    refused(&home, &load(&home, &image.docker_archive()), &["1 layers, and manifest.json has 2"]);
}

#[test]
fn what_is_no_image_is_refused() {
    let home = Home::new();
    let both = |archive: &[u8], words: &[&str]| {
        refused(&home, &load(&home, archive), words);
        refused(&home, &pipe(&home, archive), words);
    };
    both(b"", &["empty"]);
    both(&tar(&[]), &["it is no image"]);
    both(&tar(&[("hello", b"world")]), &["manifest.json", "index.json", "it is no image"]);
    both(&b"<html>".repeat(200), &["no tar header"]);
    both(&tar(&[("manifest.json", b"[]")]), &["names no image"]);
    both(&tar(&[("manifest.json", b"{")]), &["manifest.json"]);
    both(&tar(&[("manifest.json", &[b' '; 5 << 20])]), &["4 MiB"]);
    both(&tar(&[("index.json", br#"{"schemaVersion":2,"manifests":[]}"#)]), &["names no image"]);
    both(&b"\xfd7zXZ\0 and so on"[..], &["xz"]);
    both(&gzip(&small("x").docker_archive())[..500], &[]);

    let mut members = small("x").docker_members();
    members.remove(2);
    both(&pack(&members), &["layer1/layer.tar", "not there"]);
    members.remove(0);
    both(&pack(&members), &["not there"]);

    let mut artifact = small("x");
    artifact.name = "a:b".into();
    let manifest = artifact.manifest().to_string().replace("oci.image.config", "example.chart").into_bytes();
    let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": "x/y", "digest": digest(&manifest), "size": 1 }] });
    let mut members = artifact.blobs();
    members.push((images::blob_path(&manifest), manifest));
    members.push(("index.json".into(), index.to_string().into_bytes()));
    both(&pack(&members), &["artifact", "example.chart"]);

    let missing = home.run(&["load", "-i", "/nowhere/at/all.tar"]);
    refused(&home, &missing, &["/nowhere/at/all.tar", "No such file"]);
    let empty = home.folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    refused(&home, &home.run(&["load", empty.to_str().unwrap()]), &["it is no image"]);
}

#[test]
fn an_archive_cut_short_anywhere_is_refused() {
    let image = parts("x", &[tar(&[("a", &noise(3000, 1))]), tar(&[("b", &noise(70_000, 2))])]);
    let home = Home::new();
    for members in [image.docker_members(), image.oci_members()] {
        let archive = pack(&members);
        for part in 1..12 {
            let cut = archive.len() * part / 12 - 1024;
            refused(&home, &load(&home, &archive[..cut]), &[]);
            refused(&home, &pipe(&home, &archive[..cut]), &[]);
        }
    }
}

#[test]
fn an_archive_of_files_becomes_an_image() {
    let files = tar(&[("bin/true", b"#!"), ("noise", &noise(100_000, 1))]);
    let options = ["import", "-c", "CMD [\"/bin/true\", \"x\"]", "-c", "ENV A=1", "-m", "from outside"];
    for archive in [files.clone(), gzip(&files), zstd(&files)] {
        let home = Home::new();
        let path = home.folder.path().join("files.tar");
        fs::write(&path, &archive).unwrap();
        let by_file = [&options[..], &[path.to_str().unwrap(), "file:1"]].concat();
        let by_pipe = [&options[..], &["-", "pipe"]].concat();
        let piped = pipe_to(&home, &by_pipe, &archive);
        assert!(piped.status.success(), "{}", text(&piped.stderr));
        for (name, id) in [("file:1", home.ok(&by_file)), ("pipe:latest", text(&piped.stdout))] {
            let inspected: Value = serde_json::from_str(&home.ok(&["image", "inspect", name])).unwrap();
            let image = &inspected[0];
            assert_eq!(image["Id"], id.trim());
            assert_eq!(image["Config"], json!({ "Cmd": ["/bin/true", "x"], "Env": ["A=1"] }));
            assert_eq!(image["Comment"], "from outside");
            assert_eq!(image["RootFS"]["Layers"], json!([digest(&files)]));
            assert_eq!(home.ok(&["history", "--format", "{{.Comment}}", name]), "from outside\n");
            assert_eq!(home.ok(&["images", "-q", "--no-trunc", name]), id);
        }
        assert_eq!(stored(home.folder.path()).1, 1, "the same files are there once");
        assert_eq!(stored(home.folder.path()).2, 0);
    }
    let home = Home::new();
    let unnamed = text(&pipe_to(&home, &["import", "-"], &files).stdout);
    assert_eq!(home.ok(&["history", "--format", "{{.Comment}}", unnamed.trim()]), "Imported from -\n");
    assert!(home.ok(&["images", "-a"]).contains("<none>"));
}

#[test]
fn an_archive_that_makes_no_file_system_is_not_imported() {
    let home = Home::new();
    let good = tar(&[("a", &noise(70_000, 1))]);
    let cases: Vec<(Vec<u8>, Vec<&str>)> = vec![
        (odd_tar("../../etc/cron.d/x", EntryType::Regular, "", &[]), vec!["leaves the root"]),
        (odd_tar("x", EntryType::Link, "nothing", &[]), vec!["hard link to \"nothing\""]),
        (b"no tar at all".repeat(100), vec!["no tar header"]),
        (good[..good.len() / 2].to_vec(), vec![]),
        (gzip(&good)[..30_000].to_vec(), vec![]),
    ];
    let path = home.folder.path().join("archive");
    for (archive, words) in cases {
        fs::write(&path, &archive).unwrap();
        refused(&home, &home.run(&["import", path.to_str().unwrap(), "x"]), &words);
        refused(&home, &pipe_to(&home, &["import", "-", "x"], &archive), &words);
    }
    fs::write(&path, &good).unwrap();
    let file = path.to_str().unwrap();
    refused(&home, &home.run(&["import", "-c", "RUN x", file]), &["run is not a valid change command"]);
    refused(&home, &home.run(&["import", "/nowhere/at/all"]), &["/nowhere/at/all", "No such file"]);
    refused(&home, &home.run(&["import", "https://example.org/x.tar"]), &["curl"]);
}

#[test]
fn two_loads_of_one_image_both_succeed_and_store_once() {
    let image = parts("twice:latest", &[tar(&[("a", &noise(2_000_000, 1))]), tar(&[("b", b"2")])]);
    let home = Home::new();
    let path = home.folder.path().join("archive");
    fs::write(&path, image.docker_archive()).unwrap();
    let start = || {
        let mut command = home.hull(&["load", "-i", path.to_str().unwrap()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let loads: Vec<_> = (0..4).map(|_| start()).collect();
    for load in loads {
        let output = load.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "Loaded image: twice:latest\n");
    }
    assert_eq!(stored(home.folder.path()), (4, 2, 0));
    assert_eq!(home.ok(&["images", "-q", "--no-trunc"]), format!("{}\n", image.id()));
}

#[test]
fn a_load_that_is_killed_leaves_nothing_half_there() {
    let image =
        parts("killed:latest", &[tar(&[("a", &noise(3_000_000, 1))]), tar(&[("b", &noise(3_000_000, 2))])]);
    let archive = image.docker_archive();
    for signal in [libc::SIGKILL, libc::SIGINT, libc::SIGTERM] {
        let home = Home::new();
        // At first, in the middle of a layer, and when all but the end is there.
        for part in [100, archive.len() / 4, archive.len() * 3 / 4, archive.len() - 1500] {
            let mut child = home.hull(&["load"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(&archive[..part]).unwrap();
            if part > 1_000_000 {
                common::eventually("the load to write", || stored(home.folder.path()).2 > 0);
            }
            // SAFETY: a signal to a child that was not waited for yet.
            unsafe { libc::kill(child.id() as i32, signal) };
            assert!(!child.wait().unwrap().success());
            drop(stdin);
            assert_eq!(home.ok(&["images", "-q"]), "");
            assert_eq!(stored(home.folder.path()), (0, 0, 0), "after signal {signal} at byte {part}");
        }
        loads(&home, &pipe(&home, &archive), &image);
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    const TEST: &str = "a_full_disk_loses_nothing";
    let [fits, too_large] = [
        small("fits:latest"),
        parts("large", &[tar(&[("a", &noise(6_000_000, 1))]), tar(&[("b", &noise(6_000_000, 2))])]),
    ];
    let home = Home::new();
    let folder = home.folder.path();
    fs::write(folder.join("fits"), fits.docker_archive()).unwrap();
    fs::write(folder.join("large"), too_large.docker_archive()).unwrap();
    // A file system of 8 MiB in a mount namespace of its own needs no rights.
    let script = "mkdir data && mount -t tmpfs -o size=8m none data && \"$HULL\" load -i fits && \
        { \"$HULL\" load -i large; echo code $?; \"$HULL\" load <large; echo code $?; } && \
        find data/hull -type f | wc -l && \"$HULL\" images && \
        { head -c 9m /dev/zero >data/full 2>/dev/null; \"$HULL\" rmi fits && find data/hull/layers data/hull/blobs -type f | wc -l; }";
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .current_dir(folder)
        .env("HULL", common::hull_path())
        .env("XDG_DATA_HOME", folder.join("data"))
        .output();
    let output = match output {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            return common::skip(TEST, &format!("no mount namespace: {}", text(&output.stderr).trim()));
        }
        Err(error) => return common::skip(TEST, &format!("unshare: {error}")),
    };
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(said.matches("code 1\n").count(), 2, "{said}{errors}");
    assert_eq!(errors.matches("No space left on device").count(), 2, "{errors}");
    // Four blobs, two layers, the list of images and two locks: only the image that fits.
    assert!(said.contains("code 1\n9\n"), "{said}");
    assert!(said.contains("fits ") && !said.contains("large"), "{said}");
    // What frees a disk works when it is full.
    assert!(said.contains("Untagged: fits:latest\n") && said.ends_with("\n0\n"), "{said}{errors}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let home = Home::new();
    for i in 0..3 {
        let output = load(&home, &small(&format!("image{i}:latest")).docker_archive());
        assert!(output.status.success());
    }
    let mut child =
        home.hull(&["images", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success(), "{errors}");
    assert_eq!(errors, "");
}
