use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;

/// A directory of a test's own.
fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("hull-trash-{}-{name}", std::process::id()));
    fs::create_dir(&path).unwrap();
    path
}

fn emptied(path: &PathBuf) {
    let trash = fs::File::open(path).unwrap();
    empty_flat(trash.as_fd()).unwrap();
    assert_eq!(fs::read_dir(path).unwrap().count(), 0, "something is left in {}", path.display());
    fs::remove_dir(path).unwrap();
}

#[test]
fn whole_trees_go() {
    let path = scratch("trees");
    for layer in ["a", "b"] {
        let upper = path.join(layer).join("upper/usr/share");
        fs::create_dir_all(&upper).unwrap();
        // More than fits into what is read at a time.
        (0..1000).for_each(|number| fs::write(upper.join(format!("file-{number}")), "x").unwrap());
        std::os::unix::fs::symlink("/", upper.join("link")).unwrap();
        fs::create_dir_all(path.join(layer).join("work/work")).unwrap();
    }
    fs::write(path.join("stray"), "").unwrap();
    emptied(&path);
}

#[test]
fn depth_costs_no_descriptors_and_names_may_be_taken() {
    let path = scratch("deep");
    // Left from a time before: one that is full, and one that is not.
    fs::create_dir_all(path.join("1/full")).unwrap();
    fs::create_dir_all(path.join("2")).unwrap();
    let mut deep = path.join("layer");
    for _ in 0..300 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    emptied(&path);
}

#[test]
fn what_nobody_may_read_goes_where_the_rights_are_there() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let path = scratch("closed");
    fs::create_dir_all(path.join("a/work/work/x")).unwrap();
    fs::set_permissions(path.join("a/work/work"), fs::Permissions::from_mode(0o0)).unwrap();
    emptied(&path);
}

#[test]
fn removal_waits_for_quiet_but_not_for_ever() {
    let mut trash = Trash { waiting: vec![7, 8], since: 1000, going: Vec::new() };
    assert_eq!(trash.deadline(500), Some(1000 + QUIET_NS));
    assert_eq!(trash.deadline(2000), Some(2000 + QUIET_NS));
    assert_eq!(trash.deadline(1000 + PATIENCE_NS), Some(1000 + PATIENCE_NS));
    assert_eq!(trash.begin(), Some(7));
    assert!(trash.is_emptied_by(7) && !trash.is_emptied_by(8));
    trash.waiting.push(9);
    assert_eq!(trash.deadline(0), None, "one child at a time");
    assert_eq!(trash.end(), [7, 8]);
    assert!(trash.deadline(0).is_some());
}
