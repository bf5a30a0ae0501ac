//! What hull makes of a tar archive against what the system's tar makes of it, as the host's kernel shows both.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, lgetxattr, llistxattr};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

/// Everything that is known of a path.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    device: u64,
    time: (i64, i64),
    /// Of a file; that of a directory is the file system's own.
    size: u64,
    content: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All paths below a folder.
fn survey(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for child in fs::read_dir(&folder).unwrap().map(|child| child.unwrap().path()) {
            let metadata = child.symlink_metadata().unwrap();
            let kind = metadata.file_type();
            let content = if kind.is_file() && metadata.size() > 1 << 30 {
                // To read all of a huge hole takes a minute and says no more.
                let mut ends = vec![0; 8192];
                let file = File::open(&child).unwrap();
                file.read_exact_at(&mut ends[..4096], 0).unwrap();
                file.read_exact_at(&mut ends[4096..], metadata.size() - 4096).unwrap();
                ends
            } else if kind.is_file() {
                let mut hasher = Sha256::new();
                std::io::copy(&mut File::open(&child).unwrap(), &mut hasher_writer(&mut hasher)).unwrap();
                hasher.finalize().to_vec()
            } else if kind.is_symlink() {
                fs::read_link(&child).unwrap().as_os_str().as_bytes().to_vec()
            } else {
                Vec::new()
            };
            if kind.is_dir() {
                folders.push(child.clone());
            }
            let entry = Entry {
                mode: metadata.mode(),
                owner: (metadata.uid(), metadata.gid()),
                links: metadata.nlink(),
                device: metadata.rdev(),
                time: (metadata.mtime(), metadata.mtime_nsec()),
                size: if kind.is_dir() { 0 } else { metadata.size() },
                content,
                xattrs: xattrs(&child),
            };
            entries.insert(child.strip_prefix(root).unwrap().to_owned(), entry);
        }
    }
    entries
}

fn hasher_writer(hasher: &mut Sha256) -> impl std::io::Write + '_ {
    struct Writer<'a>(&'a mut Sha256);
    impl std::io::Write for Writer<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    Writer(hasher)
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..length].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
        found.insert(name.to_vec(), value[..length].to_vec());
    }
    found
}

/// A mounted image; unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(image: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("mount")
            .args(["-t", "erofs", "-o", "loop,ro"])
            .arg(image)
            .arg(folder.path())
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(Mounted(folder)),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// hull's image of an archive.
fn make(archive: &Path, image: &Path) {
    let status = Command::new(common::hull_path())
        .args(["internal", "mkerofs"])
        .stdin(File::open(archive).unwrap())
        .stdout(File::create(image).unwrap())
        .status();
    assert!(status.unwrap().success());
    if let Ok(output) = Command::new("fsck.erofs").arg(image).output() {
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("<E>"), "fsck.erofs: {said}");
    }
}

/// Whether both ways give the same; `None` if the test cannot run here.
fn compare(test: &str, archive: &Path, folder: &Path) -> Option<()> {
    let image = folder.join("image.erofs");
    make(archive, &image);
    if !geteuid().is_root() {
        common::skip(test, "mounting a file system needs root; fsck.erofs was content");
        return None;
    }
    let unpacked = folder.join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar")
        .args([
            "--extract",
            "--numeric-owner",
            "--same-owner",
            "--preserve-permissions",
            "--xattrs",
            "--xattrs-include=*",
        ])
        .args(["--acls", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(&unpacked)
        .output()
        .unwrap();
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    let mounted = match Mounted::new(&image) {
        Ok(mounted) => mounted,
        Err(error) => {
            common::skip(test, &format!("this kernel does not mount it: {error}"));
            return None;
        }
    };
    let (ours, theirs) = (survey(mounted.0.path()), survey(&unpacked));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (path, entry) in &theirs {
        assert_eq!(&ours[path], entry, "{path:?}");
    }
    Some(())
}

#[test]
fn a_debian_root_is_the_same_either_way() {
    const TEST: &str = "a_debian_root_is_the_same_either_way";
    let Some(image) = common::need_image(TEST, "debian") else { return };
    let folder = tempfile::tempdir().unwrap();
    let layer = folder.path().join("layer.tar");
    let status = Command::new("tar")
        .args(["-xO", "0.tar", "-f"])
        .arg(image)
        .stdout(File::create(&layer).unwrap())
        .status();
    assert!(status.unwrap().success());
    compare(TEST, &layer, folder.path());
}

#[test]
fn everything_a_file_system_has_is_the_same_either_way() {
    const TEST: &str = "everything_a_file_system_has_is_the_same_either_way";
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let sizes = [0u64, 1, 1023, 1024, 1025, 4095, 4096, 4097, 70_000, 262_144, 5_000_000];
    for size in sizes {
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7 % 253) as u8).collect();
        fs::write(root.join(format!("size{size}")), bytes).unwrap();
    }
    let huge = File::create(root.join("huge")).unwrap();
    huge.set_len(5 << 30).unwrap();
    huge.write_all_at(b"far away", (5 << 30) - 100).unwrap();
    fs::create_dir_all(root.join("many/deep/er")).unwrap();
    for i in 0..2000 {
        fs::write(root.join(format!("many/a rather long name of a file, number {i}")), b"x").unwrap();
    }
    for name in [&b"-"[..], b"!", b"..!", b"...", b"\xff\xfe", b"new\nline", &[b'n'; 255]] {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    for length in [1, 60, 1000, 4000, 4032, 4064, 4095] {
        symlink("t".repeat(length), root.join(format!("link{length}"))).unwrap();
    }
    fs::hard_link(root.join("size4097"), root.join("many/again")).unwrap();
    fs::hard_link(root.join("link60"), root.join("many/deep/link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    set_times(&root);
    if geteuid().is_root() {
        for (name, kind, major, minor) in
            [("null", 'c', 1, 3), ("high", 'c', 4095, 1_048_575), ("disk", 'b', 259, 300)]
        {
            let status = Command::new("mknod")
                .arg(root.join(name))
                .args([kind.to_string(), major.to_string(), minor.to_string()])
                .status();
            assert!(status.unwrap().success());
        }
        for (name, uid, gid) in
            [("size1", 65_535, 65_535), ("size1023", 65_536, 5), ("many", 4_000_000_000, 7)]
        {
            std::os::unix::fs::lchown(root.join(name), Some(uid), Some(gid)).unwrap();
        }
        set(&root.join("size1"), "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        set(&root.join("size1024"), "trusted.anything", &[7; 3000]);
        let acl = |arguments: &[&str]| Command::new("setfacl").args(arguments).current_dir(&root).status();
        assert!(
            acl(&["-m", "u:1234:rw", "size4095"]).is_ok()
                && acl(&["-d", "-m", "g:99:r", "many/deep"]).is_ok()
        );
    }
    set(&root.join("size0"), "user.empty", b"");
    set(&root.join("size4096"), "user.bytes", b"\0\xff\n=");
    set(&root.join("many/deep"), "user.on.a.directory", &[1; 1000]);
    // An ordinary user's tar cannot read what nobody may read.
    let unreadable = if rustix::process::geteuid().is_root() { 0 } else { 0o400 };
    // Modes last: a change of owner takes set-id bits away.
    for (name, mode) in [
        ("size70000", 0o4755),
        ("size1", 0o2711),
        ("many/deep/er", 0o1777),
        ("many", 0o750),
        ("size0", unreadable),
    ] {
        fs::set_permissions(root.join(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    for (i, format) in [&["--format=pax"][..], &["--format=pax", "--sparse"], &["--format=gnu", "--sparse"]]
        .iter()
        .enumerate()
    {
        let archive = folder.path().join("archive.tar");
        let mut tar = Command::new("tar");
        tar.args(["--create", "--numeric-owner", "--sort=name"]).args(*format);
        if i < 2 {
            tar.args(["--xattrs", "--xattrs-include=*", "--acls"]);
        }
        if i == 0 {
            // 5 GiB of zeros would be 5 GiB of archive.
            tar.arg("--exclude=./huge");
        }
        let output = tar.arg("--file").arg(&archive).arg("--directory").arg(&root).arg(".").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let work = folder.path().join(i.to_string());
        fs::create_dir(&work).unwrap();
        if compare(TEST, &archive, &work).is_none() {
            return;
        }
        fs::remove_dir_all(&work).unwrap();
    }
}

fn set(path: &Path, name: &str, value: &[u8]) {
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::lsetxattr(path, name, value, flags) {
        // A temporary file system may have no attributes of users.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Times of every kind: before 1970, with nanoseconds, beyond 2038.
fn set_times(root: &Path) {
    use std::time::{Duration, SystemTime};
    let epoch = SystemTime::UNIX_EPOCH;
    let times = [
        ("size1", epoch - Duration::new(1000, 250_000_000)),
        ("size1023", epoch + Duration::new(1_234_567_890, 123_456_789)),
        ("size1024", epoch + Duration::from_secs(5_000_000_000)),
    ];
    for (name, time) in times {
        File::options().write(true).open(root.join(name)).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn an_image_reaches_a_pipe_too() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive.tar");
    fs::write(folder.path().join("file"), b"content").unwrap();
    let status =
        Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(folder.path()).arg("file").status();
    assert!(status.unwrap().success());
    let image = folder.path().join("image");
    make(&archive, &image);
    let output = Command::new(common::hull_path())
        .args(["internal", "mkerofs"])
        .stdin(File::open(&archive).unwrap())
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.stdout, fs::read(image).unwrap());
}
