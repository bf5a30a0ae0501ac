use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::reader::{Node, read};
use super::*;
use crate::image::tar::build::{Head, Tar};

fn image(archive: &[u8]) -> Result<Vec<u8>, Error> {
    let mut image = Cursor::new(Vec::new());
    let summary = write_from_tar(archive, &mut image)?;
    let image = image.into_inner();
    assert_eq!(summary.size, image.len() as u64);
    Ok(image)
}

fn tree(archive: &[u8]) -> BTreeMap<String, Node> {
    let nodes = read(&image(archive).unwrap());
    nodes.into_iter().map(|(path, node)| (String::from_utf8(path).unwrap(), node)).collect()
}

fn refused(archive: &[u8]) -> String {
    image(archive).map(drop).expect_err("an archive that makes no file system").to_string()
}

fn opaque(node: &Node) -> bool {
    node.xattrs.get(b"trusted.overlay.opaque".as_slice()).is_some_and(|value| value == b"y")
}

fn is_whiteout(node: &Node) -> bool {
    node.mode == 0o020000 && node.device == 0
}

#[test]
fn an_empty_archive_is_an_empty_root() {
    let tree = tree(&Tar::default().finish());
    assert_eq!(tree.len(), 1);
    assert_eq!((tree[""].mode, tree[""].nlink), (0o040755, 2));
}

#[test]
fn everything_about_a_file_survives() {
    let head = |kind, path| Head {
        kind,
        path,
        mode: 0o6755,
        uid: 70_000,
        gid: 5,
        mtime: 1_234_567_890,
        ..Head::default()
    };
    let acl: &[u8] = b"\x02\0\0\0anything";
    let archive = Tar::default()
        .pax(&[
            (b"mtime", b"-7.5"),
            (b"SCHILY.xattr.user.x", b"1\0"),
            (b"SCHILY.xattr.security.capability", b"c"),
        ])
        .member(&head(b'0', b"bin/tool"), b"data")
        .pax(&[
            (b"SCHILY.xattr.system.posix_acl_default", acl),
            (b"SCHILY.xattr.system.posix_acl_access", b"a"),
        ])
        .member(&head(b'5', b"bin/"), b"")
        .member(&Head { kind: b'3', device: (4095, 1_048_575), ..head(b'3', b"dev/c") }, b"")
        .member(&Head { kind: b'4', device: (7, 300), ..head(b'4', b"dev/b") }, b"")
        .member(&head(b'6', b"fifo"), b"")
        .symlink("link", "../../etc/passwd")
        .hard_link("again", "./bin/tool")
        .finish();
    let tree = tree(&archive);
    let tool = &tree["bin/tool"];
    assert_eq!(
        (tool.mode, tool.uid, tool.gid, tool.nlink, tool.time),
        (0o106755, 70_000, 5, 2, (-8, 500_000_000))
    );
    assert_eq!(tool.data, b"data");
    assert_eq!(tool.xattrs[b"user.x".as_slice()], b"1\0");
    assert_eq!(tool.xattrs[b"security.capability".as_slice()], b"c");
    assert_eq!(tree["again"].nid, tool.nid);
    assert_eq!((tree["bin"].mode, tree["bin"].nlink), (0o046755, 2));
    assert_eq!(tree["bin"].xattrs[b"system.posix_acl_default".as_slice()], acl);
    assert_eq!(tree["bin"].xattrs[b"system.posix_acl_access".as_slice()], b"a");
    assert_eq!((tree["dev/c"].mode, tree["dev/c"].device), (0o026755, 0xfff0_0000 | 0xfff << 8 | 0xff));
    assert_eq!(
        (tree["dev/b"].mode, tree["dev/b"].device),
        (0o066755, 300 & 0xff | 7 << 8 | (300 & !0xff) << 12)
    );
    assert_eq!(tree["fifo"].mode, 0o016755);
    assert_eq!(tree["link"].data, b"../../etc/passwd");
    assert_eq!(tree[""].nlink, 4);
}

#[test]
fn sizes_around_every_boundary_survive() {
    let sizes =
        [0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 65_535, 65_536, 262_143, 262_144, 262_145, 1_000_000];
    let content = |size: usize| (0..size).map(|i| (i % 251) as u8).collect::<Vec<_>>();
    let mut archive = Tar::default();
    for size in sizes {
        archive = archive.file(&format!("f{size}"), &content(size)).file(&format!("z{size}"), &vec![0; size]);
    }
    let tree = tree(&archive.finish());
    for size in sizes {
        assert_eq!(tree[&format!("f{size}")].data, content(size), "{size}");
        assert_eq!(tree[&format!("z{size}")].data, vec![0; size], "{size} zeros");
    }
}

#[test]
fn a_directory_of_thousands_is_in_order_around_its_dots() {
    let names = ["!", "-", "..!", "...", ".a", "..a", "A", "~", "\u{e9}"];
    let mut archive = Tar::default().directory("d/");
    for i in 0..5000 {
        archive = archive.file(&format!("d/{i}-{}", "n".repeat(i % 200)), b"x");
    }
    for name in names {
        archive = archive.file(&format!("d/{name}"), b"y");
    }
    // The reader checks the order.
    let tree = tree(&archive.finish());
    assert_eq!(tree.keys().filter(|path| path.starts_with("d/")).count(), 5000 + names.len());
}

#[test]
fn attributes_of_any_size_survive() {
    for size in [0, 1, 3, 2000, 3900, 4000, 4096, 20_000, 65_535] {
        let value = vec![b'v'; size];
        let archive = Tar::default()
            .pax(&[(b"SCHILY.xattr.user.big", &value), (b"SCHILY.xattr.nfs4.unknown", b"left out")])
            .file("small", b"inline")
            .pax(&[(b"SCHILY.xattr.user.big", &value)])
            .directory("d/")
            .file("d/x", b"")
            .finish();
        let tree = tree(&archive);
        for path in ["small", "d"] {
            assert_eq!(tree[path].xattrs, BTreeMap::from([(b"user.big".to_vec(), value.clone())]), "{size}");
        }
        assert_eq!(tree["small"].data, b"inline");
    }
}

#[test]
fn long_link_targets_survive() {
    for length in [1, 59, 4000, 4031, 4032, 4033, 4064, 4095] {
        let target = "t".repeat(length);
        let tree = tree(&Tar::default().symlink("link", &target).finish());
        assert_eq!(tree["link"].data, target.as_bytes(), "{length}");
    }
}

#[test]
fn whiteouts_become_overlayfs_s() {
    let archive = Tar::default()
        .file("dir/.wh.gone", b"")
        .file("dir/.wh.also", b"")
        .file("shut/.wh..wh..opq", b"")
        .file("shut/new", b"x")
        .directory("shut/")
        .file(".wh..wh.plnk/1.2", b"AUFS's own")
        .file(".wh..wh.aufs", b"")
        .finish();
    let tree = tree(&archive);
    assert!(is_whiteout(&tree["dir/gone"]) && is_whiteout(&tree["dir/also"]));
    assert_eq!(tree["dir/gone"].nid, tree["dir/also"].nid, "whiteouts share an inode");
    assert!(opaque(&tree["shut"]) && !opaque(&tree["dir"]));
    assert_eq!(tree.keys().filter(|path| path.contains("wh")).count(), 0);
}

#[test]
fn a_whiteout_speaks_of_lower_layers_only() {
    for whiteout_first in [true, false] {
        let mut archive = Tar::default();
        if whiteout_first {
            archive = archive.file(".wh.file", b"").file(".wh.dir", b"");
        }
        archive = archive.file("file", b"new").file("dir/new", b"new");
        if !whiteout_first {
            archive = archive.file(".wh.file", b"").file(".wh.dir", b"");
        }
        let tree = tree(&archive.finish());
        assert_eq!(tree["file"].data, b"new");
        assert!(opaque(&tree["dir"]), "the lower directory's content is hidden");
        assert_eq!(tree["dir/new"].data, b"new");
    }
}

#[test]
fn later_members_replace_earlier_ones() {
    let archive = Tar::default()
        .file("a", &[1; 9000])
        .file("a", b"second")
        .directory("b/")
        .file("b/c", b"lost")
        .file("b", b"now a file")
        .file("c", b"")
        .directory("c/")
        .file("c/d", b"x")
        .directory("e/")
        .file("e/f", b"kept")
        .member(&Head { kind: b'5', path: b"e", mode: 0o700, ..Head::default() }, b"")
        .finish();
    let tree = tree(&archive);
    assert_eq!(tree["a"].data, b"second");
    assert_eq!(tree["b"].data, b"now a file");
    assert!(!tree.contains_key("b/c"));
    assert_eq!(tree["c/d"].data, b"x");
    assert_eq!((tree["e"].mode, tree["e/f"].data.as_slice()), (0o040700, &b"kept"[..]));
}

#[test]
fn paths_are_cleaned_as_docker_does() {
    let archive = Tar::default()
        .file("/absolute", b"1")
        .file("./a//b/./c", b"2")
        .file("a/x/../d", b"3")
        .member(&Head { kind: b'5', path: b"./", mode: 0o1777, uid: 9, ..Head::default() }, b"")
        .finish();
    let tree = tree(&archive);
    assert_eq!(tree["absolute"].data, b"1");
    assert_eq!(tree["a/b/c"].data, b"2");
    assert_eq!(tree["a/d"].data, b"3");
    assert_eq!((tree[""].mode, tree[""].uid), (0o041777, 9));
    assert_eq!((tree["a"].mode, tree["a/b"].mode), (0o040755, 0o040755), "parents that are missing are made");
}

#[test]
fn what_an_archive_may_not_say_is_refused_by_name() {
    let tar = Tar::default;
    let cases = [
        (tar().file("../x", b""), vec!["\"../x\"", "leaves the root"]),
        (tar().file("a/../../x", b""), vec!["\"a/../../x\"", "leaves the root"]),
        (tar().file("/..", b""), vec!["leaves the root"]),
        (tar().hard_link("h", "nothing"), vec!["\"h\"", "hard link to \"nothing\"", "not in this layer"]),
        (tar().hard_link("h", "../../etc/shadow"), vec!["hard link to \"../../etc/shadow\"", "leaves"]),
        (tar().directory("d/").hard_link("h", "d"), vec!["\"h\"", "which is a directory"]),
        (tar().symlink("out", "/etc").hard_link("h", "out/passwd"), vec!["hard link to \"out/passwd\""]),
        (
            tar().symlink("out", "../..").file("out/x", b""),
            vec!["\"out/x\"", "below \"out\"", "no directory"],
        ),
        (tar().file("f", b"").file("f/x", b""), vec!["below \"f\""]),
        (tar().symlink("s", ""), vec!["\"s\"", "link to nothing"]),
        (tar().symlink("s", &"t".repeat(4096)), vec!["4095"]),
        (tar().file(".wh.", b""), vec!["whiteout of no name"]),
        (tar().file("a/.wh..", b""), vec!["whiteout of no name"]),
        (tar().file("a/.wh...", b""), vec!["whiteout of no name"]),
        (tar().file(&"n".repeat(256), b""), vec!["longer than 255"]),
        (tar().file(&format!("{}/x", "n".repeat(256)), b""), vec!["longer than 255"]),
        (tar().file(&"d/".repeat(3000), b""), vec!["2048 directories deep"]),
        (tar().file("./", b""), vec!["root of a file system can only be a directory"]),
        (
            tar().pax(&[(b"SCHILY.xattr.trusted.overlay.redirect", b"/etc")]).file("f", b""),
            vec!["\"f\"", "trusted.overlay.redirect"],
        ),
        (
            tar().pax(&[(b"SCHILY.xattr.trusted.overlay.opaque", b"y")]).directory("d"),
            vec!["\"d\"", "overlayfs"],
        ),
        (
            tar().member(&Head { kind: b'3', path: b"dev", device: (5000, 0), ..Head::default() }, b""),
            vec!["5000:0"],
        ),
        (tar().header(&Head { size: 5000, ..Head::default() }), vec!["cut short"]),
    ];
    for (archive, words) in cases {
        let message = refused(&archive.finish()[..]);
        for word in words {
            assert!(message.contains(word), "{message:?} does not say {word:?}");
        }
    }
}

#[test]
fn a_symlink_that_points_out_is_only_a_link() {
    let tree = tree(&Tar::default().symlink("out", "../../../../etc/shadow").finish());
    assert_eq!(tree["out"].data, b"../../../../etc/shadow");
}

#[test]
fn control_characters_of_names_do_not_reach_the_terminal() {
    let message = refused(&Tar::default().file("../\u{1b}[31m", b"").finish());
    assert!(!message.contains('\u{1b}'), "{message:?}");
}

#[test]
fn the_same_archive_gives_the_same_image() {
    let archive = Tar::default().file("a/b", &[1; 5000]).file(".wh.x", b"").symlink("s", "t").finish();
    assert_eq!(image(&archive).unwrap(), image(&archive).unwrap());
}

#[test]
fn most_inodes_are_compact() {
    let mut archive = Tar::default();
    for i in 0..1000 {
        archive =
            archive.member(&Head { path: format!("{i}").as_bytes(), mtime: 99, ..Head::default() }, b"");
    }
    let size = image(&archive.finish()).unwrap().len();
    assert!(size < 64 * 1000, "1000 empty files took {size} bytes");
}

#[test]
fn a_huge_sparse_file_costs_no_disk() {
    let head = Head { path: b"hole", ..Head::default() };
    let records: &[(&[u8], &[u8])] =
        &[(b"GNU.sparse.size", b"10737418240"), (b"GNU.sparse.map", b"5368709120,4")];
    let archive = Tar::default().pax(records).member(&head, b"here").finish();
    let mut image = tempfile::tempfile().unwrap();
    let summary = write_from_tar(archive.as_slice(), &mut image).unwrap();
    assert!(summary.size > 10 << 30);
    let metadata = image.metadata().unwrap();
    assert_eq!(metadata.len(), summary.size);
    assert!(metadata.blocks() * 512 < 1 << 20, "it takes {} KiB", metadata.blocks() / 2);
    let mut here = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&image, &mut here, 4096 + 5_368_709_120).unwrap();
    assert_eq!(&here, b"here");
}

#[test]
fn more_than_block_numbers_reach_is_refused() {
    let records: &[(&[u8], &[u8])] = &[(b"GNU.sparse.size", b"8796093022208"), (b"GNU.sparse.map", b"")];
    let mut archive = Tar::default();
    for name in ["a", "b", "c"] {
        archive = archive.pax(records).file(name, b"");
    }
    let message = write_from_tar(archive.finish().as_slice(), tempfile::tempfile().unwrap()).unwrap_err();
    assert!(matches!(message, Error::TooManyBlocks | Error::Write(_)), "{message:?}");
}

#[test]
fn a_tree_without_end_is_refused() {
    /// Member after member of long names.
    struct Endless(u64, Vec<u8>);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.1.is_empty() {
                self.0 += 1;
                let name = format!("{}{:x>230}", self.0, "");
                self.1 = Tar::default().file(&name, b"").unfinished();
            }
            let n = buffer.len().min(self.1.len());
            buffer[..n].copy_from_slice(&self.1[..n]);
            self.1.drain(..n);
            Ok(n)
        }
    }
    // The whole bound takes a minute; that it is counted is enough.
    let mut builder = Builder::new(Cursor::new(Vec::new())).unwrap();
    let mut archive = tar::Archive::new(Endless(0, Vec::new()));
    for _ in 0..1000 {
        let member = archive.next_member().unwrap().unwrap();
        builder.add(member, &mut archive).unwrap();
    }
    let each = builder.memory() / 1000;
    assert!((300..2000).contains(&each), "{each} bytes a member");
}

#[test]
fn the_checker_of_erofs_utils_is_content() {
    let mut archive = Tar::default().symlink("l", &"t".repeat(4095));
    for i in 0..300 {
        archive = archive
            .file(&format!("d{}/f{i}", i % 7), &vec![i as u8; i * 37])
            .file(&format!("d{}/.wh.w{i}", i % 5), b"");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    write_from_tar(archive.finish().as_slice(), file.as_file()).unwrap();
    match std::process::Command::new("fsck.erofs").arg(file.path()).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && !text.contains("<E>"), "{text}");
        }
        Err(error) => eprintln!("SKIPPED the_checker_of_erofs_utils_is_content: fsck.erofs: {error}"),
    }
}

/// A step of a random archive.
#[derive(Debug, Clone)]
enum Step {
    File(Vec<u8>, Vec<u8>, u16, u32),
    Directory(Vec<u8>, u16),
    Symlink(Vec<u8>, Vec<u8>),
    HardLink(Vec<u8>, Vec<u8>),
    Device(Vec<u8>, u32, u32),
    Whiteout(Vec<u8>, Vec<u8>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-d]".prop_map(String::into_bytes),
        1 => proptest::collection::vec(1u8..=255, 1..40).prop_map(|bytes| {
            bytes.into_iter().map(|b| if b == b'/' { b'_' } else { b }).collect()
        }),
    ]
    .prop_filter("dots", |name: &Vec<u8>| name != b"." && name != b".." && !name.starts_with(b".wh."))
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(name(), 1..4).prop_map(|names| names.join(&b'/'))
}

fn step() -> impl Strategy<Value = Step> {
    let data = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..2000),
        (0usize..20_000, any::<u8>()).prop_map(|(size, byte)| vec![byte; size])
    ];
    prop_oneof![
        4 => (path(), data, 0u16..0o10000, any::<u32>()).prop_map(|(p, d, m, u)| Step::File(p, d, m, u)),
        3 => (path(), 0u16..0o10000).prop_map(|(p, m)| Step::Directory(p, m)),
        2 => (path(), path()).prop_map(|(p, t)| Step::Symlink(p, t)),
        2 => (path(), path()).prop_map(|(p, t)| Step::HardLink(p, t)),
        1 => (path(), 0u32..4096, 0u32..1 << 20).prop_map(|(p, a, b)| Step::Device(p, a, b)),
        1 => (path(), name()).prop_map(|(p, n)| Step::Whiteout(p, n)),
    ]
}

/// What a path should be; hard links share the number.
type Model = BTreeMap<Vec<u8>, (usize, u16, Vec<u8>)>;

/// Does to the model what the step says; `None` if the step must be refused.
fn apply(model: &mut Model, next: &mut usize, step: &Step) -> Option<()> {
    let is_directory = |model: &Model, path: &[u8]| model.get(path).map(|node| node.1 & 0o170000 == 0o040000);
    let parents = |model: &mut Model, next: &mut usize, path: &[u8]| {
        for (at, _) in path.iter().enumerate().filter(|&(_, &b)| b == b'/') {
            match is_directory(model, &path[..at]) {
                Some(true) => {}
                Some(false) => return None,
                None => {
                    *next += 1;
                    model.insert(path[..at].to_vec(), (*next, 0o040755, Vec::new()));
                }
            }
        }
        Some(())
    };
    let put = |model: &mut Model, path: &[u8], node| {
        let below = [path, b"/"].concat();
        model.retain(|other, _| !other.starts_with(&below));
        model.insert(path.to_vec(), node);
    };
    *next += 1;
    let number = *next;
    match step {
        Step::File(path, data, mode, _) => {
            parents(model, next, path)?;
            put(model, path, (number, 0o100000 | mode, data.clone()));
        }
        Step::Directory(path, mode) => {
            parents(model, next, path)?;
            match is_directory(model, path) {
                Some(true) => model.get_mut(path).unwrap().1 = 0o040000 | mode,
                _ => put(model, path, (number, 0o040000 | mode, Vec::new())),
            }
        }
        Step::Symlink(path, target) => {
            parents(model, next, path)?;
            put(model, path, (number, 0o120777, target.clone()));
        }
        Step::HardLink(path, target) => {
            parents(model, next, path)?;
            let node = model.get(target).filter(|node| node.1 & 0o170000 != 0o040000)?.clone();
            put(model, path, node);
        }
        Step::Device(path, ..) => {
            parents(model, next, path)?;
            put(model, path, (number, 0o060600, Vec::new()));
        }
        Step::Whiteout(path, name) => parents(model, next, &[path.as_slice(), b"/", name].concat())?,
    }
    Some(())
}

fn write_step(archive: Tar, step: &Step) -> Tar {
    match step {
        Step::File(path, data, mode, uid) => {
            archive.member(&Head { path, mode: (*mode).into(), uid: (*uid).into(), ..Head::default() }, data)
        }
        Step::Directory(path, mode) => {
            archive.member(&Head { kind: b'5', path, mode: (*mode).into(), ..Head::default() }, b"")
        }
        Step::Symlink(path, link) => {
            archive.member(&Head { kind: b'2', path, link, mode: 0o777, ..Head::default() }, b"")
        }
        Step::HardLink(path, link) => {
            archive.member(&Head { kind: b'1', path, link, ..Head::default() }, b"")
        }
        Step::Device(path, major, minor) => archive.member(
            &Head { kind: b'4', path, mode: 0o600, device: (*major, *minor), ..Head::default() },
            b"",
        ),
        Step::Whiteout(path, name) => archive
            .member(&Head { path: &[path.as_slice(), b"/.wh.", name].concat(), ..Head::default() }, b""),
    }
}

proptest! {
    #[test]
    fn random_trees_survive(steps in proptest::collection::vec(step(), 0..60)) {
        let (mut model, mut next) = (Model::new(), 0);
        let mut archive = Tar::default();
        let mut refused = false;
        for step in &steps {
            archive = write_step(archive, step);
            if apply(&mut model, &mut next, step).is_none() {
                refused = true;
                break;
            }
        }
        let result = image(&archive.finish());
        prop_assert_eq!(result.is_err(), refused, "{:?}", result.err());
        if refused {
            return Ok(());
        }
        let mut nodes = read(&result.unwrap());
        nodes.remove(b"".as_slice());
        nodes.retain(|path, node| model.contains_key(path) || !is_whiteout(node));
        prop_assert_eq!(nodes.keys().collect::<Vec<_>>(), model.keys().collect::<Vec<_>>());
        let mut links: BTreeMap<usize, (u64, u32)> = BTreeMap::new();
        for (path, (number, mode, data)) in &model {
            let node = &nodes[path];
            prop_assert_eq!(node.mode, *mode, "{:?}", path);
            if mode & 0o170000 != 0o040000 {
                prop_assert_eq!(&node.data, data);
                let entry = links.entry(*number).or_insert((node.nid, 0));
                prop_assert_eq!(entry.0, node.nid, "hard links are one inode");
                entry.1 += 1;
            }
        }
        for (path, (number, mode, _)) in &model {
            let expected = match mode & 0o170000 {
                0o040000 => {
                    let below = [path.as_slice(), b"/"].concat();
                    let child = |(other, node): &(&Vec<u8>, &(usize, u16, Vec<u8>))| {
                        other.starts_with(&below) && !other[below.len()..].contains(&b'/') && node.1 & 0o170000 == 0o040000
                    };
                    2 + model.iter().filter(child).count() as u32
                }
                _ => links[number].1,
            };
            prop_assert_eq!(nodes[path].nlink, expected, "links of {:?}", path);
        }
    }

    #[test]
    fn damaged_layers_are_survived(at: usize, byte: u8) {
        let mut archive = Tar::default().file("a/b", &[1; 3000]).symlink("s", "t").hard_link("h", "a/b").file(".wh.x", b"").finish();
        let at = at % archive.len();
        archive[at] = byte;
        if let Ok(image) = image(&archive) {
            read(&image);
        }
    }
}
