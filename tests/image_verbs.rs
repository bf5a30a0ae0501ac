//! `hull images`, `tag`, `rmi` and `image inspect`.

mod common;
mod images;

use std::fs;

use common::Home;
use images::{Parts, parts, small, stored, tar};
use serde_json::Value;

fn load(home: &Home, image: &Parts) {
    let path = home.folder.path().join("archive");
    fs::write(&path, image.docker_archive()).unwrap();
    home.ok(&["load", "-i", path.to_str().unwrap()]);
}

#[test]
fn the_table_is_docker_s() {
    let home = Home::new();
    assert_eq!(
        home.ok(&["images"]).split_whitespace().collect::<Vec<_>>(),
        ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    );
    let image = small("registry.example:5000/some/name:tag");
    load(&home, &image);
    let table = home.ok(&["images"]);
    let lines: Vec<&str> = table.lines().collect();
    let column = |name: &str| lines[0].find(name).unwrap();
    assert!(lines[1].starts_with("registry.example:5000/some/name "));
    assert!(lines[1][column("TAG")..].starts_with("tag "));
    assert!(lines[1][column("IMAGE ID")..].starts_with(&image.id()[7..19]));
    assert!(lines[1][column("CREATED")..].contains(" ago "));
    assert!(lines[1][column("SIZE")..].ends_with("kB"), "{table}");
    assert!(home.ok(&["images", "--digests"]).contains("DIGEST"));
    assert!(home.ok(&["image", "ls", "--no-trunc"]).contains(&image.id()));
    assert_eq!(home.ok(&["images", "-q"]).trim(), &image.id()[7..19]);
}

#[test]
fn images_are_filtered_by_name() {
    let home = Home::new();
    for name in ["a:1", "a:2", "b:1"] {
        load(&home, &small(name));
    }
    let count = |arguments: &[&str]| home.ok(arguments).lines().count() - 1;
    assert_eq!(count(&["images"]), 3);
    assert_eq!(count(&["images", "a"]), 2);
    assert_eq!(count(&["images", "a:2"]), 1);
    assert_eq!(count(&["images", "c"]), 0);
    let json: Value = serde_json::from_str(&home.ok(&["images", "--json", "b"])).unwrap();
    assert_eq!((&json[0]["Repository"], &json[0]["Tag"]), (&"b".into(), &"1".into()));
    assert!(home.fails(1, &["images", "NOT A NAME"]).contains("invalid reference format"));
}

#[test]
fn the_tree_shows_shared_layers() {
    let home = Home::new();
    let base = tar(&[("base", &[7; 100_000])]);
    load(&home, &parts("base:latest", std::slice::from_ref(&base)));
    load(&home, &parts("one:latest", &[base.clone(), tar(&[("one", b"1")])]));
    load(&home, &parts("two:latest", &[base, tar(&[("two", b"2")])]));
    let tree = home.ok(&["images", "--tree"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert_eq!(lines.len(), 3, "{tree}");
    assert!(lines[0].starts_with("└─") && lines[0].contains("shared by 3 images: base:latest"), "{tree}");
    assert!(lines[1].starts_with("  ├─") && lines[2].starts_with("  └─"), "{tree}");
    assert!(tree.contains(": one:latest") && tree.contains(": two:latest"), "{tree}");
    assert_eq!(stored(home.folder.path()).1, 3, "three layers are stored");
}

#[test]
fn names_come_and_go() {
    let home = Home::new();
    let image = small("first:latest");
    load(&home, &image);
    home.ok(&["tag", "first", "registry.example/second:v2"]);
    home.ok(&["image", "tag", &image.id()[7..19], "third"]);
    assert_eq!(home.ok(&["rmi", "first"]), "Untagged: first:latest\n");
    let message = home.fails(1, &["rmi", &image.id()[7..19]]);
    assert!(message.contains("multiple repositories"), "{message}");
    let gone = home.ok(&["image", "rm", "-f", &image.id()[7..19]]);
    assert!(
        gone.contains("Untagged: registry.example/second:v2\n")
            && gone.contains(&format!("Deleted: {}\n", image.id()))
    );
    assert_eq!(stored(home.folder.path()), (0, 0, 0));
    assert!(home.fails(1, &["rmi", "first"]).contains("No such image: first"));
    assert_eq!(home.ok(&["rmi", "-f", "first"]), "");
    assert!(home.fails(1, &["tag", "first", "x"]).contains("No such image: first"));
    load(&home, &image);
    assert!(home.fails(1, &["tag", "first", "Not A Name"]).contains("invalid reference format"));
    let digest = format!("x@{}", image.id());
    assert!(home.fails(1, &["tag", "first", &digest]).contains("not a digest"));
}

#[test]
fn inspect_has_docker_s_fields() {
    let home = Home::new();
    let image = small("some/name:tag");
    load(&home, &image);
    let json: Value = serde_json::from_str(&home.ok(&["image", "inspect", "some/name:tag"])).unwrap();
    let json = &json[0];
    assert_eq!(json["Id"], Value::from(image.id()));
    assert_eq!(json["RepoTags"], serde_json::json!(["some/name:tag"]));
    assert_eq!(json["Config"], image.config["config"]);
    assert_eq!(json["RootFS"]["Layers"], image.config["rootfs"]["diff_ids"]);
    assert_eq!((&json["Architecture"], &json["Os"]), (&"amd64".into(), &"linux".into()));
    assert_eq!(json["Created"], Value::from("2024-05-06T07:08:09Z"));
    assert!(json["Size"].as_u64().unwrap() > 0);

    let output = home.run(&["image", "inspect", "some/name:tag", "absent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("No such image: absent"));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1, "what is there is shown");
}
