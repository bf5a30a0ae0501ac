use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::owner::Ownership;
use super::*;
use crate::fs::wire::IN_HEADER;
use crate::test_driver::memory;

/// A guest's kernel, as far as a share sees of it, with one root or more.
pub(crate) struct Guest {
    pub(crate) share: Share,
    pub(crate) folder: TempDir,
    memory: Arc<Memory>,
    pub(crate) uid: u32,
}

pub(crate) const ROOT: u64 = ROOT_ID + 1;
pub(crate) const MAPPED: Policy =
    Policy { read_only: false, freshness: Freshness::Second, owners: Owners::Mapped { uid: 0, gid: 0 } };

/// Puts this thread where a share's threads are.
#[allow(unsafe_code)]
pub(crate) fn enter() {
    // SAFETY: nothing of this thread's depends on a working directory that it shares with others.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.unwrap();
    rustix::process::chdir("/proc/self/fd").unwrap();
    rustix::process::umask(Mode::empty());
}

pub(crate) fn open_root(path: &std::path::Path) -> OwnedFd {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self::with(MAPPED, Limits { places: 100, handles: 100 })
    }

    pub(crate) fn with(policy: Policy, limits: Limits) -> Self {
        enter();
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        let roots = vec![Root { place: open_root(&inside), policy }];
        let share = Share::new(roots, limits).unwrap();
        Self { share, folder, memory: memory(), uid: 0 }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("inside").join(name)
    }

    /// A request without data.
    pub(crate) fn ask(&self, opcode: u32, node: u64, arguments: &[u8]) -> Result<Vec<u8>> {
        let header = Header { opcode, unique: 1, node, uid: self.uid, gid: self.uid };
        let (mut data, mut room) = (Buffers::default(), Buffers::default());
        match self.share.carry_out(header, arguments, &self.memory, &mut data, &mut room)? {
            Outcome::Answer(answer) => Ok(answer.0),
            Outcome::Written(_) | Outcome::Silence => Ok(Vec::new()),
        }
    }

    pub(crate) fn lookup(&self, parent: u64, name: &str) -> Result<(u64, Vec<u8>)> {
        let answer = self.ask(opcode::LOOKUP, parent, &text(name))?;
        Ok((Arguments(&answer).u64()?, answer[40..].to_vec()))
    }

    pub(crate) fn make(&self, opcode: u32, parent: u64, arguments: Answer, name: &str) -> Result<u64> {
        let answer = self.ask(opcode, parent, &arguments.bytes(&text(name)).0)?;
        Arguments(&answer).u64()
    }

    pub(crate) fn make_directory(&self, parent: u64, name: &str) -> Result<u64> {
        self.make(opcode::MKDIR, parent, Answer::default().u32(0o755).u32(0), name)
    }

    /// Makes and opens a file; gives node and handle.
    pub(crate) fn create(&self, parent: u64, name: &str, mode: u32) -> Result<(u64, u64)> {
        let flags = (OFlags::RDWR | OFlags::CREATE).bits();
        let arguments = Answer::default().u32(flags).u32(mode).u32(0).u32(0).bytes(&text(name));
        let answer = self.ask(opcode::CREATE, parent, &arguments.0)?;
        Ok((Arguments(&answer).u64()?, Arguments(&answer[128..]).u64()?))
    }

    pub(crate) fn open(&self, node: u64, flags: OFlags) -> Result<u64> {
        let answer = self.ask(opcode::OPEN, node, &Answer::default().u32(flags.bits()).u32(0).0)?;
        Arguments(&answer).u64()
    }

    /// Mode, links, user and group.
    pub(crate) fn status(&self, node: u64) -> Result<[u32; 4]> {
        let answer = self.ask(opcode::GETATTR, node, &[0; 16])?;
        let mut rest = Arguments(&answer[16 + 60..]);
        Ok([rest.u32()?, rest.u32()?, rest.u32()?, rest.u32()?])
    }

    /// `setattr` of mode, user or group.
    pub(crate) fn change(&self, node: u64, mode: Option<u32>, owner: Option<(u32, u32)>) -> Result<()> {
        let valid = u32::from(mode.is_some()) | if owner.is_some() { 6 } else { 0 };
        let (uid, gid) = owner.unwrap_or_default();
        let answer = Answer::default()
            .u32(valid)
            .bytes(&[0; 64])
            .u32(mode.unwrap_or(0))
            .u32(0)
            .u32(uid)
            .u32(gid)
            .u32(0);
        self.ask(opcode::SETATTR, node, &answer.0).map(drop)
    }

    pub(crate) fn rename(&self, from: u64, name: &str, to: u64, new: &str) -> Result<()> {
        let arguments = Answer::default().u64(to).bytes(&text(name)).bytes(&text(new));
        self.ask(opcode::RENAME, from, &arguments.0).map(drop)
    }

    pub(crate) fn forget(&self, node: u64, count: u64) {
        self.ask(opcode::FORGET, node, &Answer::default().u64(count).0).unwrap();
    }

    pub(crate) fn unlink(&self, parent: u64, name: &str) -> Result<()> {
        self.ask(opcode::UNLINK, parent, &text(name)).map(drop)
    }

    /// The names in a directory.
    pub(crate) fn list(&self, node: u64, plus: bool, size: u32) -> Result<Vec<String>> {
        Ok(self.list_kinds(node, plus, size)?.into_iter().map(|(name, _)| name).collect())
    }

    /// The names in a directory, and what each is (`DT_*`).
    fn list_kinds(&self, node: u64, plus: bool, size: u32) -> Result<Vec<(String, u32)>> {
        let answer = self.ask(opcode::OPENDIR, node, &[0; 8])?;
        let handle = Arguments(&answer).u64()?;
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let arguments = Answer::default().u64(handle).u64(offset).u32(size).bytes(&[0; 20]);
            let opcode = if plus { opcode::READDIRPLUS } else { opcode::READDIR };
            let answer = self.ask(opcode, node, &arguments.0)?;
            assert!(answer.len() <= size as usize);
            let mut rest = Arguments(&answer);
            if answer.is_empty() {
                self.ask(opcode::RELEASEDIR, node, &Answer::default().u64(handle).bytes(&[0; 16]).0)?;
                return Ok(names);
            }
            while !rest.0.is_empty() {
                if plus {
                    rest.bytes(128)?;
                }
                let _ino = rest.u64()?;
                offset = rest.u64()?;
                let (length, kind) = (rest.u32()? as usize, rest.u32()?);
                names.push((String::from_utf8(rest.bytes(length)?.to_vec()).unwrap(), kind));
                rest.bytes((24 + length).next_multiple_of(8) - 24 - length)?;
            }
        }
    }
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

#[test]
fn a_root_is_found_by_its_number_and_nothing_else_is() {
    let guest = Guest::new();
    assert_eq!(guest.lookup(ROOT_ID, "0").unwrap().0, ROOT);
    assert_eq!(guest.lookup(ROOT_ID, "1"), Err(Errno::NOENT));
    assert_eq!(guest.lookup(ROOT_ID, "x"), Err(Errno::NOENT));
    assert_eq!(guest.make_directory(ROOT_ID, "x"), Err(Errno::ROFS));
    assert_eq!(guest.list(ROOT_ID, true, 4096).unwrap(), ["0"]);
}

#[test]
fn no_name_leads_out_of_a_root() {
    let guest = Guest::new();
    symlink("../secret", guest.path("link")).unwrap();
    symlink("..", guest.path("up")).unwrap();
    for name in ["..", ".", "", "../secret", "a/../../secret", "/etc/passwd"] {
        assert_eq!(guest.lookup(ROOT, name).map(drop), Err(Errno::INVAL), "{name:?}");
        assert_eq!(guest.make_directory(ROOT, name), Err(Errno::INVAL), "{name:?}");
        assert_eq!(guest.create(ROOT, name, 0o644), Err(Errno::INVAL), "{name:?}");
        assert_eq!(guest.unlink(ROOT, name), Err(Errno::INVAL), "{name:?}");
        assert_eq!(guest.rename(ROOT, "link", ROOT, name), Err(Errno::INVAL), "{name:?}");
    }
    // A link is a link, never what it leads to.
    let (link, _) = guest.lookup(ROOT, "link").unwrap();
    assert_eq!(guest.status(link).unwrap()[0] & 0o170_000, 0o120_000);
    assert_eq!(guest.ask(opcode::READLINK, link, &[]).unwrap(), b"../secret");
    assert_eq!(guest.open(link, OFlags::RDONLY), Err(Errno::ACCESS));
    let (up, _) = guest.lookup(ROOT, "up").unwrap();
    assert!(guest.lookup(up, "secret").is_err());
    assert!(guest.list(up, false, 4096).is_err());
    assert_eq!(guest.create(ROOT, "link", 0o644), Err(Errno::ACCESS));
    assert_eq!(fs::read(guest.folder.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn what_is_no_file_on_the_host_is_not_opened() {
    let guest = Guest::new();
    rustix::fs::mknodat(CWD, guest.path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let (fifo, _) = guest.lookup(ROOT, "fifo").unwrap();
    // It would wait for a reader for ever.
    assert_eq!(guest.open(fifo, OFlags::WRONLY), Err(Errno::ACCESS));
    assert_eq!(guest.create(ROOT, "fifo", 0o644), Err(Errno::ACCESS));
}

#[test]
fn nothing_below_a_read_only_root_changes() {
    let guest = Guest::with(Policy { read_only: true, ..MAPPED }, Limits { places: 100, handles: 100 });
    fs::write(guest.path("file"), "as it was").unwrap();
    let (file, _) = guest.lookup(ROOT, "file").unwrap();
    assert_eq!(guest.open(file, OFlags::RDWR), Err(Errno::ROFS));
    assert_eq!(guest.open(file, OFlags::RDONLY | OFlags::TRUNC), Err(Errno::ROFS));
    assert!(guest.open(file, OFlags::RDONLY).is_ok());
    assert_eq!(guest.unlink(ROOT, "file"), Err(Errno::ROFS));
    assert_eq!(guest.create(ROOT, "new", 0o644), Err(Errno::ROFS));
    assert_eq!(guest.rename(ROOT, "file", ROOT, "new"), Err(Errno::ROFS));
    assert_eq!(guest.change(file, Some(0o600), None), Err(Errno::ROFS));
    let attribute = Answer::default().u32(1).u32(0).bytes(b"user.x\0v");
    assert_eq!(guest.ask(opcode::SETXATTR, file, &attribute.0), Err(Errno::ROFS));
    assert_eq!(fs::read(guest.path("file")).unwrap(), b"as it was");
}

#[test]
fn a_guest_that_knows_more_than_can_be_open_finds_everything_again() {
    let guest = Guest::with(MAPPED, Limits { places: 8, handles: 8 });
    let mut nodes = Vec::new();
    let mut parent = ROOT;
    for depth in 0..50 {
        parent = guest.make_directory(parent, &format!("d{depth}")).unwrap();
        nodes.push(parent);
    }
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(guest.status(*node).unwrap()[0], 0o40755, "{index}");
    }
    let (count, open, _) = guest.share.usage();
    assert_eq!(count, 51);
    assert!(open <= 8, "{open} are open");
    // One that the guest moved is found where it is; one that the host moved is stale.
    guest.rename(nodes[0], "d1", ROOT, "moved").unwrap();
    nodes.iter().for_each(|node| assert!(guest.status(*node).is_ok()));
    fs::rename(guest.path("moved"), guest.path("elsewhere")).unwrap();
    let deep: Vec<_> = (0..20).map(|n| guest.make_directory(ROOT, &format!("n{n}")).unwrap()).collect();
    deep.iter().chain(&deep).for_each(|node| assert!(guest.status(*node).is_ok()));
    assert_eq!(guest.status(nodes[30]), Err(Errno::STALE));
    // And something else in its place is not taken for it.
    fs::create_dir(guest.path("moved")).unwrap();
    assert_eq!(guest.status(nodes[1]), Err(Errno::STALE));
    let (found, _) = guest.lookup(ROOT, "elsewhere").unwrap();
    assert_eq!(found, nodes[1]);
    assert!(guest.status(nodes[30]).is_ok());
}

#[test]
fn what_is_unlinked_stays_while_it_is_known() {
    let guest = Guest::with(MAPPED, Limits { places: 4, handles: 8 });
    let (node, handle) = guest.create(ROOT, "file", 0o644).unwrap();
    guest.unlink(ROOT, "file").unwrap();
    for n in 0..20 {
        guest.make_directory(ROOT, &format!("n{n}")).unwrap();
    }
    assert_eq!(guest.status(node).unwrap()[1], 0);
    // A new file of that name is another, even if it has got the number.
    let (other, _) = guest.create(ROOT, "file", 0o644).unwrap();
    assert_ne!(node, other);
    guest.ask(opcode::RELEASE, node, &Answer::default().u64(handle).bytes(&[0; 16]).0).unwrap();
    guest.forget(node, 1);
    assert_eq!(guest.status(node), Err(Errno::STALE));
}

#[test]
fn a_guest_has_so_many_files_open_and_no_more() {
    let guest = Guest::with(MAPPED, Limits { places: 8, handles: 5 });
    let (node, handle) = guest.create(ROOT, "file", 0o644).unwrap();
    let opened = (0..100).map_while(|_| guest.open(node, OFlags::RDONLY).ok()).count();
    assert_eq!(opened, 4);
    assert_eq!(guest.open(node, OFlags::RDONLY), Err(Errno::NFILE));
    assert_eq!(guest.create(ROOT, "other", 0o644), Err(Errno::NFILE));
    guest.ask(opcode::RELEASE, node, &Answer::default().u64(handle).bytes(&[0; 16]).0).unwrap();
    assert!(guest.open(node, OFlags::RDONLY).is_ok());
}

#[test]
fn what_is_forgotten_is_gone_however_deep_it_was() {
    let guest = Guest::with(MAPPED, Limits { places: 8, handles: 8 });
    let mut nodes = Vec::new();
    let mut parent = ROOT;
    for _ in 0..3000 {
        parent = guest.make_directory(parent, "d").unwrap();
        nodes.push(parent);
    }
    // All but the last, which holds them all.
    for node in &nodes[..2999] {
        guest.forget(*node, 1);
    }
    assert_eq!(guest.share.usage().0, 3001);
    assert!(guest.status(parent).is_ok());
    guest.forget(parent, u64::MAX);
    assert_eq!(guest.share.usage().0, 1);
    guest.forget(ROOT, 1000);
    guest.forget(ROOT_ID, 1000);
    assert!(guest.status(ROOT).is_ok());
    // Not by the guest's path, which would be too long for one call.
    let mut command = std::process::Command::new("rm");
    assert!(command.args(["-rf", "d"]).current_dir(guest.path("")).status().unwrap().success());
}

#[test]
fn listings_are_whole_in_pieces_of_any_size() {
    let guest = Guest::new();
    let mut expected: Vec<String> = (0..300).map(|n| format!("{}-{n}", "x".repeat(n % 200))).collect();
    expected.iter().for_each(|name| fs::write(guest.path(name), "").unwrap());
    expected.extend([".".to_owned(), "..".to_owned()]);
    expected.sort();
    for (plus, size) in [(false, 300), (false, 4096), (false, 1 << 20), (true, 400), (true, 100_000)] {
        let mut names = guest.list(ROOT, plus, size).unwrap();
        names.sort();
        assert_eq!(names, expected, "{plus} {size}");
    }
}

#[test]
fn what_the_user_owns_is_roots_and_the_rest_is_written_down() {
    let guest = Guest::new();
    let me = rustix::process::geteuid().as_raw();
    let (node, _) = guest.create(ROOT, "file", 0o640).unwrap();
    assert_eq!(guest.status(node).unwrap(), [0o100_640, 1, 0, 0]);
    assert_eq!(rustix::fs::getxattr(guest.path("file"), owner::NAME, &mut [0; 64][..]), Err(Errno::NODATA));
    guest.change(node, None, Some((999, 998))).unwrap();
    guest.change(node, Some(0o6751), None).unwrap();
    assert_eq!(guest.status(node).unwrap(), [0o106_751, 1, 999, 998]);
    let host = fs::metadata(guest.path("file")).unwrap();
    assert_eq!((host.uid(), host.mode() & 0o7777), (me, 0o751));
    // What runs as its owner does not any more when the owner is another.
    guest.change(node, None, Some((5, 5))).unwrap();
    assert_eq!(guest.status(node).unwrap()[0], 0o100_751);
    // Given back, nothing is written down any more, and a change on the host is seen.
    guest.change(node, None, Some((0, 0))).unwrap();
    assert_eq!(rustix::fs::getxattr(guest.path("file"), owner::NAME, &mut [0; 64][..]), Err(Errno::NODATA));
    fs::set_permissions(guest.path("file"), PermissionsExt::from_mode(0o604)).unwrap();
    assert_eq!(guest.status(node).unwrap()[0], 0o100_604);
}

#[test]
fn what_another_user_makes_is_that_users_and_of_a_directorys_group() {
    let mut guest = Guest::new();
    guest.uid = 70;
    let (node, _) = guest.create(ROOT, "mine", 0o600).unwrap();
    assert_eq!(guest.status(node).unwrap(), [0o100_600, 1, 70, 70]);
    let directory = guest.make_directory(ROOT, "d").unwrap();
    guest.change(directory, None, Some((70, 50))).unwrap();
    guest.change(directory, Some(0o2775), None).unwrap();
    let (node, _) = guest.create(directory, "file", 0o600).unwrap();
    assert_eq!(guest.status(node).unwrap(), [0o100_600, 1, 70, 50]);
    let inner = guest.make_directory(directory, "inner").unwrap();
    assert_eq!(guest.status(inner).unwrap(), [0o42_755, 2, 70, 50]);
}

#[test]
fn devices_are_files_on_the_host_and_devices_in_the_guest() {
    let guest = Guest::new();
    let arguments = Answer::default().u32(0o060_640).u32(0x0801).u32(0).u32(0);
    let node = guest.make(opcode::MKNOD, ROOT, arguments, "sda1").unwrap();
    assert_eq!(guest.status(node).unwrap()[0], 0o060_640);
    assert!(fs::metadata(guest.path("sda1")).unwrap().is_file());
    assert_eq!(guest.lookup(ROOT, "sda1").unwrap().0, node);
    let fifo = guest.make(opcode::MKNOD, ROOT, Answer::default().u32(0o010_600).u32(0).u32(0).u32(0), "fifo");
    assert_eq!(guest.status(fifo.unwrap()).unwrap()[0], 0o010_600);
}

#[test]
fn a_listing_says_what_things_are_in_the_guest_or_nothing() {
    let guest = Guest::new();
    guest.make(opcode::MKNOD, ROOT, Answer::default().u32(0o010_600).u32(0).u32(0).u32(0), "fifo").unwrap();
    fs::write(guest.path("file"), "content").unwrap();
    let kind_of = |plus, name| {
        let all = guest.list_kinds(ROOT, plus, 4096).unwrap();
        all.into_iter().find(|(found, _)| found == name).unwrap().1
    };
    assert_eq!((kind_of(false, "file"), kind_of(true, "file")), (8, 8));
    assert_eq!((kind_of(false, "fifo"), kind_of(true, "fifo")), (0, 1));
}

#[test]
fn a_note_is_believed_as_far_as_a_share_could_have_made_it() {
    let guest = Guest::new();
    fs::write(guest.path("full"), "content").unwrap();
    fs::write(guest.path("empty"), "").unwrap();
    fs::create_dir(guest.path("directory")).unwrap();
    let kind_with = |name: &str, note: &str| {
        let path = guest.path(name);
        rustix::fs::setxattr(path, owner::NAME, note.as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
        let (node, _) = guest.lookup(ROOT, name).unwrap();
        guest.status(node).unwrap()[0] & 0o176_000
    };
    assert_eq!(kind_with("empty", "0:0:20000:259"), 0o020_000);
    for note in ["0:0:44000:0", "0:0:124000:0", "0:0:0:0", "0:0:174000:0"] {
        assert_eq!(kind_with("empty", note), 0o100_000, "{note}");
        assert_eq!(kind_with("full", note), 0o100_000, "{note}");
    }
    assert_eq!(kind_with("full", "0:0:60000:2049"), 0o100_000);
    assert_eq!(kind_with("full", "0:0:104000:0"), 0o104_000);
    assert_eq!(kind_with("directory", "0:0:20000:259"), 0o040_000);
}

#[test]
fn what_changes_a_files_content_takes_its_set_id_bits() {
    let guest = Guest::new();
    let (from, source) = guest.create(ROOT, "from", 0o644).unwrap();
    fs::write(guest.path("from"), "content").unwrap();
    let (node, handle) = guest.create(ROOT, "file", 0o755).unwrap();
    let arguments = [
        (opcode::FALLOCATE, node, Answer::default().u64(handle).u64(0).u64(10).u32(0).u32(0)),
        (
            opcode::COPY_FILE_RANGE,
            from,
            Answer::default().u64(source).u64(0).u64(node).u64(handle).u64(0).u64(7).u64(0),
        ),
    ];
    for (opcode, asked, arguments) in arguments {
        guest.change(node, Some(0o6755), None).unwrap();
        assert_eq!(guest.status(node).unwrap()[0], 0o106_755);
        guest.ask(opcode, asked, &arguments.0).unwrap();
        assert_eq!(guest.status(node).unwrap()[0], 0o100_755, "{opcode}");
    }
}

#[test]
fn what_was_put_in_the_place_of_something_new_is_given_to_nobody() {
    let guest = Guest::new();
    // As if somebody had been quick between the two calls that make a directory and look at it.
    let begun = change::now();
    fs::create_dir(guest.path("new")).unwrap();
    let found = guest.share.node(ROOT).unwrap();
    let header = Header { opcode: opcode::MKDIR, unique: 1, node: ROOT, uid: 5, gid: 5 };
    let request = Request { header, arguments: Arguments(&[]) };
    let owner = Ownership { uid: 5, gid: 5, mode: 0o040_755, rdev: 0 };
    let finish = |begun, mode| {
        guest.share.finish(&request, &found, b"new", Ownership { mode, ..owner }, begun).map(drop)
    };
    assert_eq!(finish((begun.0 + 100, 0), 0o040_755), Err(Errno::STALE));
    assert_eq!(finish(begun, 0o120_777), Err(Errno::STALE));
    assert!(guest.path("new").is_dir());
    assert_eq!(finish(begun, 0o040_755), Ok(()));
}

#[test]
fn root_of_the_guest_opens_what_has_no_permissions() {
    let guest = Guest::new();
    if rustix::process::geteuid().is_root() {
        return;
    }
    let (node, _) = guest.create(ROOT, "file", 0).unwrap();
    guest.change(node, None, Some((7, 7))).unwrap();
    assert!(guest.open(node, OFlags::RDWR).is_ok());
    let directory = guest.make_directory(ROOT, "d").unwrap();
    guest.change(directory, Some(0), None).unwrap();
    let (inner, _) = guest.create(directory, "file", 0o600).unwrap();
    assert_eq!(guest.lookup(directory, "file").unwrap().0, inner);
    guest.unlink(directory, "file").unwrap();
    assert_eq!(guest.status(node).unwrap(), [0o100_000, 1, 7, 7]);
    assert_eq!(fs::metadata(guest.path("file")).unwrap().mode() & 0o7777, 0);
    assert_eq!(fs::metadata(guest.path("d")).unwrap().mode() & 0o7777, 0);
}

#[test]
fn attributes_of_users_pass_and_ours_are_not_seen() {
    let guest = Guest::new();
    let (node, _) = guest.create(ROOT, "file", 0o600).unwrap();
    guest.change(node, None, Some((9, 9))).unwrap();
    let set = |name: &str, value: &[u8]| {
        let arguments = Answer::default().u32(value.len() as u32).u32(0).bytes(&text(name)).bytes(value);
        guest.ask(opcode::SETXATTR, node, &arguments.0)
    };
    let get = |name: &str, size| {
        guest.ask(opcode::GETXATTR, node, &Answer::default().u32(size).u32(0).bytes(&text(name)).0)
    };
    set("user.color", b"red").unwrap();
    assert_eq!(get("user.color", 100).unwrap(), b"red");
    assert_eq!(get("user.color", 2), Err(Errno::RANGE));
    assert_eq!(get("user.color", 0).unwrap()[..4], 3u32.to_le_bytes());
    for name in [owner::NAME, "security.capability", "trusted.overlay.opaque", "system.posix_acl_access"] {
        assert_eq!(set(name, b"x"), Err(Errno::OPNOTSUPP), "{name}");
        assert_eq!(get(name, 100), Err(Errno::NODATA), "{name}");
    }
    assert_eq!(
        guest.ask(opcode::LISTXATTR, node, &Answer::default().u32(100).u32(0).0).unwrap(),
        b"user.color\0"
    );
    guest.ask(opcode::REMOVEXATTR, node, &text("user.color")).unwrap();
    assert_eq!(get("user.color", 100), Err(Errno::NODATA));
    assert_eq!(guest.status(node).unwrap()[2], 9);
}

#[test]
fn the_kernel_is_told_what_there_is() {
    let guest = Guest::new();
    guest.make_directory(ROOT, "known").unwrap();
    let offered = u32::MAX;
    let answer =
        guest.ask(opcode::INIT, 0, &Answer::default().u32(7).u32(41).u32(1 << 17).u32(offered).0).unwrap();
    assert_eq!(answer.len(), 64);
    let mut fields = Arguments(&answer);
    assert_eq!([fields.u32(), fields.u32(), fields.u32()], [Ok(7), Ok(38), Ok(1 << 17)]);
    // Locks are the guest's own, and nothing is written later than it says.
    let flags = fields.u32().unwrap();
    assert_eq!(flags & (1 << 1 | 1 << 10 | 1 << 16), 0);
    assert_ne!(flags & init::DO_READDIRPLUS, 0);
    assert_eq!(guest.share.usage(), (1, 0, 0));
    assert_eq!(
        guest.ask(opcode::INIT, 0, &Answer::default().u32(7).u32(30).u32(0).u32(0).0),
        Err(Errno::PROTO)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Requests with anything in them are answered or refused, and reach nothing outside.
    #[test]
    fn requests_of_any_kind_do_no_harm(
        requests in proptest::collection::vec(
            (0..60u32, 0..8u64, proptest::collection::vec(prop_oneof![Just(0u8), Just(b'.'), Just(b'/'), 0..4u8, any::<u8>()], 0..120)),
            0..60,
        )
    ) {
        let guest = Guest::with(MAPPED, Limits { places: 4, handles: 4 });
        symlink("../secret", guest.path("a")).unwrap();
        for (opcode, node, arguments) in requests {
            let _ = guest.ask(opcode, node, &arguments);
        }
        let (_, open, handles) = guest.share.usage();
        prop_assert!(open <= 4 && handles <= 4);
        prop_assert_eq!(fs::read(guest.folder.path().join("secret")).unwrap(), b"secret");
        let mut names: Vec<_> = fs::read_dir(guest.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        prop_assert_eq!(names, ["inside", "secret"]);
    }
}

#[test]
fn a_header_is_read_as_it_is_written() {
    let mut bytes = [0; IN_HEADER];
    bytes[4] = 15;
    bytes[8] = 3;
    bytes[16] = 9;
    bytes[24] = 1;
    bytes[28] = 2;
    let header = Header { opcode: 15, unique: 3, node: 9, uid: 1, gid: 2 };
    assert_eq!(Header::parse(&bytes), header);
}
