use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::pack::{self, Packer};
use crate::tar::build::{Head, Tar};

fn target(path: &std::path::Path) -> Target {
    let root = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    Target { root, below: Vec::new(), links: ResolveFlags::BENEATH }
}

fn head<'a>(kind: u8, path: &'a [u8], link: &'a [u8]) -> Head<'a> {
    Head { kind, path, link, ..Head::default() }
}

#[test]
fn nothing_is_made_outside_of_the_destination() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    symlink("..", inside.join("up")).unwrap();
    symlink(folder.path(), inside.join("absolute")).unwrap();
    let attempts: [&[Head<'_>]; 7] = [
        &[head(b'0', b"../new", b"")],
        &[head(b'0', b"a/../../new", b"")],
        &[head(b'0', b"up/new", b"")],
        &[head(b'0', b"absolute/new", b"")],
        &[head(b'2', b"mine", b".."), head(b'0', b"mine/new", b"")],
        &[head(b'1', b"new", b"../secret")],
        &[head(b'1', b"new", b"up/secret")],
    ];
    for members in attempts {
        let mut tar = Tar::default();
        for member in members {
            tar = tar.member(member, b"");
        }
        let bytes = tar.finish();
        assert!(unpack(&bytes[..], &target(&inside), &Options::default()).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(fs::metadata(folder.path().join("secret")).unwrap().nlink(), 1);
    }
    // An absolute path is one below the destination.
    let tar = Tar::default().member(&head(b'0', b"/a/new", b""), b"");
    unpack(&tar.finish()[..], &target(&inside), &Options::default()).unwrap();
    assert!(inside.join("a/new").is_file());
}

#[test]
fn what_was_packed_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir_all(from.join("d/closed")).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("d/file"), "content").unwrap();
    fs::write(from.join("d/closed/inner"), vec![7; 300_000]).unwrap();
    fs::hard_link(from.join("d/file"), from.join("d/other")).unwrap();
    symlink("../elsewhere//x", from.join("d/link")).unwrap();
    fs::set_permissions(from.join("d/file"), PermissionsExt::from_mode(0o4751)).unwrap();
    fs::set_permissions(from.join("d/closed"), PermissionsExt::from_mode(0o555)).unwrap();
    let mut packer = Packer::new(Vec::new(), pack::Options::default());
    let root = openat(CWD, &from, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    packer.add(root.as_fd(), c"d", b"d").unwrap();
    let bytes = packer.finish().unwrap();
    let rename = Some((b"d".to_vec(), b"e".to_vec()));
    let options = Options { rename, ..Options::default() };
    assert_eq!(unpack(&bytes[..], &target(&to), &options).unwrap().bytes, 300_007);
    let about = |name: &str| fs::metadata(to.join("e").join(name)).unwrap();
    assert_eq!(fs::read(to.join("e/closed/inner")).unwrap(), vec![7; 300_000]);
    assert_eq!(about("closed").mode() & 0o7777, 0o555);
    // What a guest made must not run as whoever copied it.
    assert_eq!(about("file").mode() & 0o7777, 0o751);
    assert_eq!((about("file").ino(), about("file").nlink()), (about("other").ino(), 2));
    assert_eq!(fs::read_link(to.join("e/link")).unwrap(), std::path::Path::new("../elsewhere//x"));
    let time = |path: std::path::PathBuf| fs::symlink_metadata(path).unwrap().modified().unwrap();
    assert_eq!(time(to.join("e/closed")), time(from.join("d/closed")));
    fs::set_permissions(from.join("d/closed"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(to.join("e/closed"), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn directories_and_files_do_not_replace_each_other() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("f"), "").unwrap();
    for (kind, path) in [(b'0', b"d"), (b'5', b"f")] {
        let tar = Tar::default().member(&head(kind, path, b""), b"");
        let error = unpack(&tar.finish()[..], &target(folder.path()), &Options::default()).unwrap_err();
        assert!(error.to_string().contains("cannot overwrite"), "{error}");
    }
    let tar = Tar::default().member(&Head { device: (1, 3), ..head(b'3', b"null", b"") }, b"");
    assert!(unpack(&tar.finish()[..], &target(folder.path()), &Options::default()).is_err());
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("private")).unwrap();
    fs::write(root.join("private/keys"), "mine").unwrap();
    let attempts: [&[Head<'_>]; 8] = [
        &[head(b'0', b"other", b"")],
        &[head(b'0', b"private/keys", b"")],
        &[head(b'0', b"//private/keys", b"")],
        &[head(b'0', b"asked/../private/keys", b"")],
        &[head(b'0', b"", b"")],
        &[head(b'1', b"asked", b"private/keys")],
        &[head(b'2', b"asked", b"private"), head(b'0', b"asked/keys", b"")],
        &[
            head(b'5', b"asked", b""),
            head(b'2', b"asked/up", b"../private"),
            head(b'0', b"asked/up/keys", b""),
        ],
    ];
    let links = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let target = Target { links, ..target(root) };
    for (members, new) in attempts.iter().flat_map(|members| [(members, "asked"), (members, "new")]) {
        let tar = members.iter().fold(Tar::default(), |tar, member| tar.member(member, b""));
        let rename = Some((b"asked".to_vec(), new.into()));
        let options = Options { rename, ..Options::default() };
        unpack(&tar.finish()[..], &target, &options).unwrap_err();
        let names = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.filter(|name| name != new).eq(["private"]));
        assert_eq!(fs::read_to_string(root.join("private/keys")).unwrap(), "mine");
        assert_eq!(fs::metadata(root.join("private/keys")).unwrap().nlink(), 1);
        let _ = fs::remove_dir_all(root.join(new)).or_else(|_| fs::remove_file(root.join(new)));
    }
    let tar = Tar::default().member(&head(b'0', b".//asked", b""), b"").finish();
    let options = Options { rename: Some((b"asked".to_vec(), b"new".to_vec())), ..Options::default() };
    unpack(&tar[..], &target, &options).unwrap();
    assert!(root.join("new").is_file() && !root.join("asked").exists());
}
