//! Whether a share is a file system: the checks of pjdfstest and fsx that apply, as a program of our own that runs in a container.
//!
//! It is this test program itself, which is static, mounted into the container; the same checks run on the container's own disk.
//!
//! What a share does otherwise than a local file system, and why:
//! * owners of symbolic links are accepted and, for an ordinary user, not kept: there is nowhere on the host to keep them;
//! * attributes other than `user.` ones cannot be set: they mean something to the host;
//! * locks are the guest's own: a program on the host does not see them;
//! * a name may be longer or more than the host's file system has room for; then its error comes through.

mod common;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::{Home, soak};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

/// Names the folder in which [`inside`] works.
const PLACE: &str = "HULL_CONFORMANCE";

fn run(home: &Home, arguments: &[&str], folder: &str) {
    let program = std::env::current_exe().expect("this program");
    let program = format!("{}:/conformance:ro", program.display());
    let place = format!("{PLACE}={folder}");
    let rounds = format!("HULL_ROUNDS={}", if soak() { 20_000 } else { 60 });
    let mut all = vec!["run", "--rm", "-v", &program, "-e", &place, "-e", &rounds];
    all.extend(arguments);
    all.extend([
        "busybox",
        "/conformance",
        "--exact",
        "inside",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    let printed = home.ok(&all);
    assert!(printed.contains("test inside ... ok") || printed.contains("1 passed"), "{printed}");
}

#[test]
fn a_share_is_a_file_system() {
    let Some(home) = Home::with_busybox("a_share_is_a_file_system") else { return };
    let shared = home.folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    run(&home, &["-v", &format!("{}:/x:strict", shared.display())], "/x");
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 0, "it removes what it makes");
    home.nothing_is_left("a conformance test");
}

#[test]
fn the_checks_hold_for_a_containers_own_disk() {
    let Some(home) = Home::with_busybox("the_checks_hold_for_a_containers_own_disk") else { return };
    run(&home, &[], "/tmp");
}

/// Runs in a container, as root there.
#[test]
#[ignore = "is run in a container by the others"]
fn inside() {
    let place = PathBuf::from(std::env::var_os(PLACE).expect("a folder")).join("conformance");
    fs::create_dir(&place).unwrap();
    for (name, check) in CHECKS {
        let folder = place.join(name);
        fs::create_dir(&folder).unwrap();
        println!("{name}");
        check(&folder);
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::remove_dir(&place).unwrap();
}

type Check = fn(&Path);
const CHECKS: &[(&str, Check)] = &[
    ("names", names),
    ("modes", modes),
    ("owners", owners),
    ("links", links),
    ("renames", renames),
    ("removals", removals),
    ("kinds", kinds),
    ("times", times),
    ("access", access),
    ("opening", opening),
    ("sparse", sparse),
    ("attributes", attributes),
    ("unlinked", unlinked),
    ("listing", listing),
    ("locks", locks),
    ("exercise", exercise),
];

fn error<T>(result: std::io::Result<T>) -> Option<Errno> {
    result.err().map(|error| Errno::from_io_error(&error).expect("an error of the system"))
}

/// What happens in a process of another user.
fn as_user(uid: u32, act: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only calls `act`, which makes system calls, and ends; no other thread holds a lock it needs, for the test
    // runs alone.
    unsafe {
        match libc::fork() {
            0 => {
                libc::setgroups(0, std::ptr::null());
                let became = libc::setresgid(uid, uid, uid) == 0 && libc::setresuid(uid, uid, uid) == 0;
                libc::_exit(if became && act() { 0 } else { 1 });
            }
            child => {
                let mut status = 0;
                libc::waitpid(child, &raw mut status, 0);
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
        }
    }
}

fn names(folder: &Path) {
    let longest = "n".repeat(255);
    fs::write(folder.join(&longest), "x").unwrap();
    assert_eq!(fs::read(folder.join(&longest)).unwrap(), b"x");
    assert_eq!(error(fs::write(folder.join("n".repeat(256)), "x")), Some(Errno::NAMETOOLONG));
    assert_eq!(error(fs::metadata(folder.join("none"))), Some(Errno::NOENT));
    assert_eq!(error(fs::metadata(folder.join(&longest).join("none"))), Some(Errno::NOTDIR));
    assert_eq!(error(fs::create_dir(folder.join(&longest))), Some(Errno::EXIST));
    for name in [" ", "a\nb", "\u{fc}ml\u{e4}ut", "-", "...", "*", "user.hull.stat"] {
        fs::create_dir(folder.join(name)).unwrap();
        assert!(fs::metadata(folder.join(name)).unwrap().is_dir(), "{name:?}");
    }
    symlink("loop", folder.join("loop")).unwrap();
    assert_eq!(error(fs::metadata(folder.join("loop"))), Some(Errno::LOOP));
}

fn modes(folder: &Path) {
    let file = folder.join("file");
    fs::write(&file, "x").unwrap();
    for mode in [0o644, 0o600, 0o000, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o444] {
        fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode(), 0o100_000 | mode);
        // Root may all the same.
        fs::write(&file, "y").unwrap();
    }
    let directory = folder.join("d");
    fs::create_dir(&directory).unwrap();
    for mode in [0o755, 0o000, 0o1777, 0o2775, 0o500] {
        fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode(), 0o040_000 | mode);
        fs::write(directory.join("in"), "x").unwrap();
        fs::remove_file(directory.join("in")).unwrap();
    }
    // What is made gets the umask off.
    rustix::process::umask(Mode::from_raw_mode(0o027));
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o666).open(folder.join("masked"));
    assert_eq!(opened.unwrap().metadata().unwrap().mode(), 0o100_640);
    rustix::process::umask(Mode::from_raw_mode(0o022));
}

fn owners(folder: &Path) {
    let (file, directory) = (folder.join("file"), folder.join("d"));
    fs::write(&file, "x").unwrap();
    fs::create_dir(&directory).unwrap();
    let own =
        |path: &Path, uid, gid| rustix::fs::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let of = |path: &Path| {
        let about = fs::symlink_metadata(path).unwrap();
        (about.uid(), about.gid())
    };
    for (uid, gid) in [(1, 2), (70, 70), (0, 0), (65534, 65534), (1000, 0)] {
        own(&file, uid, gid).unwrap();
        own(&directory, uid, gid).unwrap();
        assert_eq!((of(&file), of(&directory)), ((uid, gid), (uid, gid)));
    }
    // One alone.
    rustix::fs::chown(&file, None, Some(Gid::from_raw(5))).unwrap();
    assert_eq!(of(&file), (1000, 5));
    // Bits go with the old owner.
    fs::set_permissions(&file, PermissionsExt::from_mode(0o6755)).unwrap();
    own(&file, 3, 3).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o755);
    // And with the old content, where somebody else writes.
    fs::set_permissions(&file, PermissionsExt::from_mode(0o6777)).unwrap();
    assert!(as_user(55, || fs::OpenOptions::new().write(true).open(&file).unwrap().write_all(b"z").is_ok()));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o777);
    // A group goes on to what is made in its directory.
    own(&directory, 0, 44).unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o2775)).unwrap();
    fs::write(directory.join("file"), "").unwrap();
    fs::create_dir(directory.join("d")).unwrap();
    assert_eq!((of(&directory.join("file")).1, of(&directory.join("d")).1), (44, 44));
    assert_ne!(fs::metadata(directory.join("d")).unwrap().mode() & 0o2000, 0);
    symlink("file", folder.join("link")).unwrap();
    rustix::fs::chownat(
        CWD,
        folder.join("link"),
        Some(Uid::from_raw(9)),
        Some(Gid::from_raw(9)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    assert_eq!(of(&file), (3, 3));
}

fn links(folder: &Path) {
    let (file, link) = (folder.join("file"), folder.join("link"));
    fs::write(&file, "one").unwrap();
    fs::hard_link(&file, &link).unwrap();
    let [a, b] = [&file, &link].map(|path| fs::metadata(path).unwrap());
    assert_eq!((a.nlink(), a.ino()), (2, b.ino()));
    fs::write(&link, "two").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"two");
    assert_eq!(error(fs::hard_link(&file, &link)), Some(Errno::EXIST));
    assert_eq!(error(fs::hard_link(folder, folder.join("d"))), Some(Errno::PERM));
    fs::remove_file(&file).unwrap();
    assert_eq!(fs::metadata(&link).unwrap().nlink(), 1);
    symlink("link", folder.join("s")).unwrap();
    assert_eq!(fs::read_link(folder.join("s")).unwrap(), Path::new("link"));
    assert_eq!(fs::read(folder.join("s")).unwrap(), b"two");
    symlink("/nowhere/at/all", folder.join("dangling")).unwrap();
    assert_eq!(error(fs::read(folder.join("dangling"))), Some(Errno::NOENT));
    let long = "x/".repeat(2000);
    symlink(&long, folder.join("long")).unwrap();
    assert_eq!(fs::read_link(folder.join("long")).unwrap(), Path::new(&long));
    assert_eq!(fs::symlink_metadata(folder.join("long")).unwrap().len(), 4000);
}

fn renames(folder: &Path) {
    let path = |name: &str| folder.join(name);
    fs::write(path("a"), "a").unwrap();
    fs::write(path("b"), "b").unwrap();
    fs::rename(path("a"), path("b")).unwrap();
    assert_eq!(fs::read(path("b")).unwrap(), b"a");
    assert_eq!(error(fs::rename(path("a"), path("b"))), Some(Errno::NOENT));
    fs::create_dir_all(path("d/e")).unwrap();
    assert_eq!(error(fs::rename(path("d"), path("d/e/f"))), Some(Errno::INVAL));
    assert_eq!(error(fs::rename(path("b"), path("d"))), Some(Errno::ISDIR));
    assert_eq!(error(fs::rename(path("d"), path("b"))), Some(Errno::NOTDIR));
    fs::create_dir(path("full")).unwrap();
    fs::write(path("full/x"), "").unwrap();
    assert!(matches!(error(fs::rename(path("d"), path("full"))), Some(Errno::NOTEMPTY | Errno::EXIST)));
    // Everything that is known below goes along.
    fs::write(path("d/e/file"), "deep").unwrap();
    let open = fs::File::open(path("d/e/file")).unwrap();
    fs::rename(path("d"), path("full/d")).unwrap();
    assert_eq!(fs::read(path("full/d/e/file")).unwrap(), b"deep");
    assert_eq!(open.metadata().unwrap().ino(), fs::metadata(path("full/d/e/file")).unwrap().ino());
    let renameat =
        |from: &str, to: &str, flags| rustix::fs::renameat_with(CWD, path(from), CWD, path(to), flags);
    fs::write(path("c"), "c").unwrap();
    assert_eq!(renameat("b", "c", RenameFlags::NOREPLACE), Err(Errno::EXIST));
    renameat("b", "c", RenameFlags::EXCHANGE).unwrap();
    assert_eq!((fs::read(path("b")).unwrap(), fs::read(path("c")).unwrap()), (b"c".to_vec(), b"a".to_vec()));
    renameat("c", "full", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(path("c/d/e/file")).unwrap(), b"deep");
}

fn removals(folder: &Path) {
    let path = |name: &str| folder.join(name);
    fs::create_dir_all(path("d/e")).unwrap();
    fs::write(path("file"), "").unwrap();
    assert!(matches!(error(fs::remove_dir(path("d"))), Some(Errno::NOTEMPTY | Errno::EXIST)));
    assert_eq!(error(fs::remove_dir(path("file"))), Some(Errno::NOTDIR));
    assert_eq!(error(fs::remove_file(path("d"))), Some(Errno::ISDIR));
    assert_eq!(error(fs::remove_file(path("none"))), Some(Errno::NOENT));
    assert_eq!(fs::metadata(path("d")).unwrap().nlink(), 3);
    fs::remove_dir(path("d/e")).unwrap();
    assert_eq!(fs::metadata(path("d")).unwrap().nlink(), 2);
    fs::remove_dir(path("d")).unwrap();
    fs::remove_file(path("file")).unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

fn kinds(folder: &Path) {
    let make = |name: &str, kind, number| {
        rustix::fs::mknodat(CWD, folder.join(name), kind, Mode::from_raw_mode(0o640), number)
    };
    make("fifo", FileType::Fifo, 0).unwrap();
    make("socket", FileType::Socket, 0).unwrap();
    make("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)).unwrap();
    make("sda", FileType::BlockDevice, rustix::fs::makedev(8, 5)).unwrap();
    for (name, mode, number) in [
        ("fifo", 0o010_640, 0),
        ("socket", 0o140_640, 0),
        ("null", 0o020_640, 0x103),
        ("sda", 0o060_640, 0x805),
    ] {
        let about = fs::metadata(folder.join(name)).unwrap();
        assert_eq!((about.mode(), about.rdev()), (mode, number), "{name}");
        fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o600)).unwrap();
        rustix::fs::chown(folder.join(name), Some(Uid::from_raw(7)), None).unwrap();
        let about = fs::metadata(folder.join(name)).unwrap();
        assert_eq!((about.mode() & 0o7777, about.uid()), (0o600, 7), "{name}");
    }
    assert_eq!(make("fifo", FileType::Fifo, 0), Err(Errno::EXIST));
    // A pipe with a name works between processes of the guest.
    let path = folder.join("fifo");
    let writer = std::thread::spawn(move || fs::write(path, "through"));
    assert_eq!(fs::read(folder.join("fifo")).unwrap(), b"through");
    writer.join().unwrap().unwrap();
}

fn times(folder: &Path) {
    let file = folder.join("file");
    fs::write(&file, "x").unwrap();
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let set = |last_access, last_modification| {
        let times = Timestamps { last_access, last_modification };
        rustix::fs::utimensat(CWD, &file, &times, AtFlags::empty()).unwrap();
        fs::metadata(&file).unwrap()
    };
    let about = set(time(1_000_000_000, 123_456_789), time(2_000_000_000, 987_654_321));
    assert_eq!((about.atime(), about.atime_nsec()), (1_000_000_000, 123_456_789));
    assert_eq!((about.mtime(), about.mtime_nsec()), (2_000_000_000, 987_654_321));
    let omit = time(0, 0x3fff_fffe);
    assert_eq!(set(time(5, 0), omit).mtime(), 2_000_000_000);
    let before = about.ctime();
    fs::write(&file, "yy").unwrap();
    let about = fs::metadata(&file).unwrap();
    assert!(about.mtime() != 2_000_000_000 && about.ctime() >= before && about.len() == 2);
}

fn access(folder: &Path) {
    let path = |name: &str| folder.join(name);
    fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(path("secret"), "x").unwrap();
    fs::set_permissions(path("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(as_user(33, || error(fs::read(path("secret"))) == Some(Errno::ACCESS)));
    assert!(as_user(33, || error(fs::write(path("new"), "")) == Some(Errno::ACCESS)));
    assert!(as_user(33, || error(fs::remove_file(path("secret"))) == Some(Errno::ACCESS)));
    let chmod = |name: &str| fs::set_permissions(path(name), PermissionsExt::from_mode(0o777));
    assert!(as_user(33, || error(chmod("secret")) == Some(Errno::PERM)));
    rustix::fs::chown(path("secret"), Some(Uid::from_raw(33)), None).unwrap();
    assert!(as_user(33, || fs::read(path("secret")).is_ok() && chmod("secret").is_ok()));
    // In a directory for everybody each removes only what is theirs.
    fs::create_dir(path("tmp")).unwrap();
    fs::set_permissions(path("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    assert!(as_user(33, || fs::write(path("tmp/mine"), "").is_ok()));
    assert_eq!(fs::metadata(path("tmp/mine")).unwrap().uid(), 33);
    assert!(as_user(34, || error(fs::remove_file(path("tmp/mine"))) == Some(Errno::PERM)));
    assert!(as_user(34, || fs::write(path("tmp/other"), "").is_ok()));
    assert!(as_user(33, || fs::remove_file(path("tmp/mine")).is_ok()));
    fs::create_dir(path("closed")).unwrap();
    fs::write(path("closed/in"), "").unwrap();
    fs::set_permissions(path("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    assert!(as_user(33, || error(fs::metadata(path("closed/in"))) == Some(Errno::ACCESS)));
}

fn opening(folder: &Path) {
    let file = folder.join("file");
    let open = |flags| rustix::fs::open(&file, flags, Mode::from_raw_mode(0o644));
    open(OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY).unwrap();
    assert_eq!(open(OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY).err(), Some(Errno::EXIST));
    assert_eq!(open(OFlags::DIRECTORY | OFlags::RDONLY).err(), Some(Errno::NOTDIR));
    assert_eq!(rustix::fs::open(folder, OFlags::WRONLY, Mode::empty()).err(), Some(Errno::ISDIR));
    symlink("file", folder.join("link")).unwrap();
    let nofollow = OFlags::RDONLY | OFlags::NOFOLLOW;
    assert_eq!(rustix::fs::open(folder.join("link"), nofollow, Mode::empty()).err(), Some(Errno::LOOP));
    fs::write(&file, "0123456789").unwrap();
    drop(open(OFlags::WRONLY | OFlags::TRUNC).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().len(), 0);
    // Both append, each behind what the other wrote.
    let mut writers = [0, 1].map(|_| fs::OpenOptions::new().append(true).open(&file).unwrap());
    for round in 0..6 {
        writers[round % 2].write_all(&[b'a' + round as u8]).unwrap();
    }
    assert_eq!(fs::read(&file).unwrap(), b"abcdef");
    // Past the page cache.
    let direct = open(OFlags::RDWR | OFlags::DIRECT).map(fs::File::from).unwrap();
    let mut page = vec![0u8; 3 * 4096];
    let start = page.as_ptr().align_offset(4096);
    page[start..start + 4096].fill(b'd');
    direct.write_all_at(&page[start..start + 4096], 4096).unwrap();
    page.fill(0);
    direct.read_exact_at(&mut page[start..start + 4096], 4096).unwrap();
    assert!(page[start..start + 4096].iter().all(|byte| *byte == b'd'));
    assert_eq!(fs::metadata(&file).unwrap().len(), 8192);
    rustix::fs::fsync(&direct).unwrap();
    rustix::fs::fdatasync(&direct).unwrap();
    let mut seek = open(OFlags::RDONLY).map(fs::File::from).unwrap();
    assert_eq!(seek.seek(SeekFrom::End(-4096)).unwrap(), 4096);
    let mut byte = [0];
    seek.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"d");
}

fn sparse(folder: &Path) {
    let file = fs::File::options().read(true).write(true).create_new(true).open(folder.join("file")).unwrap();
    file.write_all_at(b"end", 10 << 20).unwrap();
    let about = file.metadata().unwrap();
    assert_eq!(about.len(), (10 << 20) + 3);
    assert!(about.blocks() * 512 < 1 << 20, "{} blocks", about.blocks());
    let seek = |to| rustix::fs::seek(&file, to);
    assert_eq!(seek(rustix::fs::SeekFrom::Data(0)), Ok(10 << 20));
    assert_eq!(seek(rustix::fs::SeekFrom::Hole(0)), Ok(0));
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).unwrap();
    assert!(file.metadata().unwrap().blocks() * 512 >= 1 << 20);
    file.write_all_at(&[7; 8192], 0).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 0, 4096).unwrap();
    let mut bytes = [1; 8192];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..4096].iter().all(|byte| *byte == 0) && bytes[4096..].iter().all(|byte| *byte == 7));
    file.set_len(5000).unwrap();
    file.set_len(6000).unwrap();
    file.read_exact_at(&mut bytes[..6000], 0).unwrap();
    assert_eq!((bytes[4999], bytes[5000]), (7, 0));
    let copy = fs::File::create(folder.join("copy")).unwrap();
    let (mut from, mut to) = (4096, 100);
    let count = rustix::fs::copy_file_range(&file, Some(&mut from), &copy, Some(&mut to), 904);
    assert_eq!(count, Ok(904));
    assert_eq!(fs::read(folder.join("copy")).unwrap()[100..], [7; 904]);
    let fs = rustix::fs::statvfs(folder).unwrap();
    assert!(fs.f_blocks > 0 && fs.f_namemax >= 255);
}

fn attributes(folder: &Path) {
    let file = folder.join("file");
    fs::write(&file, "").unwrap();
    let set = rustix::fs::setxattr::<&PathBuf, &str>;
    let read = |name: &str| {
        let mut value = vec![0; 4096];
        rustix::fs::getxattr(&file, name, &mut value[..]).map(|length| value[..length].to_vec())
    };
    set(&file, "user.one", b"1", XattrFlags::CREATE).unwrap();
    assert_eq!(set(&file, "user.one", b"1", XattrFlags::CREATE), Err(Errno::EXIST));
    set(&file, "user.one", &[b'v'; 2000], XattrFlags::REPLACE).unwrap();
    assert_eq!(read("user.one").unwrap(), [b'v'; 2000]);
    assert_eq!(read("user.none"), Err(Errno::NODATA));
    set(&file, "user.two", b"", XattrFlags::empty()).unwrap();
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(&file, &mut names[..]).unwrap();
    let mut names: Vec<_> =
        names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")).collect();
    names.sort();
    assert_eq!(names, [&b"user.one"[..], b"user.two"]);
    rustix::fs::removexattr(&file, "user.one").unwrap();
    assert_eq!(read("user.one"), Err(Errno::NODATA));
}

fn unlinked(folder: &Path) {
    let file = folder.join("file");
    let mut open = fs::File::options().read(true).write(true).create_new(true).open(&file).unwrap();
    open.write_all(b"still here").unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, "another").unwrap();
    open.write_all(b"!").unwrap();
    let mut text = String::new();
    open.rewind().unwrap();
    open.read_to_string(&mut text).unwrap();
    assert_eq!((&*text, open.metadata().unwrap().nlink()), ("still here!", 0));
    open.set_len(3).unwrap();
    assert_eq!(open.metadata().unwrap().len(), 3);
    assert_eq!(fs::read(&file).unwrap(), b"another");
}

fn listing(folder: &Path) {
    let expected: Vec<String> = (0..150).map(|n| format!("{n:03}-{}", "l".repeat(n))).collect();
    expected.iter().for_each(|name| drop(fs::File::create(folder.join(name)).unwrap()));
    let list = || {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(list(), expected);
    // What is removed while it is listed does not hide the rest.
    for entry in fs::read_dir(folder).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(list().is_empty());
}

fn locks(folder: &Path) {
    let open = || {
        fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("file"))
            .unwrap()
    };
    let (one, other) = (open(), open());
    let flock = |file: &fs::File, how| rustix::fs::flock(file, how);
    flock(&one, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let busy = flock(&other, rustix::fs::FlockOperation::NonBlockingLockShared);
    assert_eq!(busy, Err(Errno::WOULDBLOCK));
    flock(&one, rustix::fs::FlockOperation::Unlock).unwrap();
    flock(&other, rustix::fs::FlockOperation::NonBlockingLockShared).unwrap();
}

/// Random operations on a file whose content is known: what fsx does.
fn exercise(folder: &Path) {
    const MOST: usize = 256 << 10;
    let rounds: u32 = std::env::var("HULL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let path = folder.join("file");
    let mut file = fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let (mut model, mut state): (Vec<u8>, u64) = (Vec::new(), 0x2545_f491_4f6c_dd1d);
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for round in 0..rounds {
        let (at, length, byte) = (random(MOST), 1 + random(20_000), random(256) as u8);
        let what = random(10);
        let said = format!("round {round}: {what} at {at}, {length} bytes");
        match what {
            0 | 1 => {
                let data = vec![byte; length];
                file.write_all_at(&data, at as u64).expect(&said);
                model.resize(model.len().max(at + length), 0);
                model[at..at + length].copy_from_slice(&data);
            }
            2 => {
                file.set_len(at as u64).expect(&said);
                model.resize(at, 0);
            }
            3 => {
                let length = length.min(MOST);
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&file, punch, at as u64, length as u64).expect(&said);
                let end = model.len().min(at + length);
                if at < end {
                    model[at..end].fill(0);
                }
            }
            4 | 5 if !model.is_empty() => {
                written_through_a_mapping(file.as_fd().try_clone_to_owned().unwrap(), &mut model, at, byte)
            }
            6 if model.len() > 1 => {
                let from = random(model.len());
                let length = length.min(model.len() - from);
                let to = model.len() + at % 4096;
                let (mut source, mut target) = (from as u64, to as u64);
                let mut left = length;
                while left > 0 {
                    let count =
                        rustix::fs::copy_file_range(&file, Some(&mut source), &file, Some(&mut target), left);
                    left -= count.expect(&said);
                }
                model.resize(to + length, 0);
                model.copy_within(from..from + length, to);
                model.truncate(2 * MOST);
                file.set_len(model.len() as u64).expect(&said);
            }
            7 => file = fs::File::options().read(true).write(true).open(&path).expect(&said),
            8 => {
                let mut mapped = vec![0; length];
                let count = file.read_at(&mut mapped, at as u64).expect(&said);
                let expected = model.get(at..model.len().min(at + length)).unwrap_or_default();
                assert!(mapped[..count] == *expected, "{said}");
            }
            _ => rustix::fs::fdatasync(&file).expect(&said),
        }
        assert_eq!(file.metadata().expect(&said).len(), model.len() as u64, "{said}");
        if round % 10 == 0 {
            assert!(fs::read(&path).expect(&said) == model, "{said}: other content");
        }
    }
    assert!(fs::read(&path).unwrap() == model, "other content at the end");
}

/// Changes some bytes by a shared mapping, and sees them there as they are in the model.
fn written_through_a_mapping(file: OwnedFd, model: &mut [u8], at: usize, byte: u8) {
    use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
    let length = model.len();
    let at = at % length;
    let end = (at + 5000).min(length);
    // SAFETY: a mapping of our own, of which only bytes of the file are touched, and which ends here.
    unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let map = mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, &file, 0).unwrap();
        let bytes = std::slice::from_raw_parts_mut(map.cast::<u8>(), length);
        assert!(bytes[at..end] == model[at..end], "a mapping shows other content");
        bytes[at..end].fill(byte);
        model[at..end].fill(byte);
        msync(map, length, MsyncFlags::SYNC).unwrap();
        munmap(map, length).unwrap();
    }
}
