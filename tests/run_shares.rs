//! Folders and files of the host in containers.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use common::Home;

/// A folder to share, in the home of a test.
fn folder(home: &Home, name: &str) -> PathBuf {
    let path = home.folder.path().join(name);
    fs::create_dir(&path).expect("a folder");
    path
}

fn bind(path: &std::path::Path, rest: &str) -> String {
    format!("{}:{rest}", path.display())
}

#[test]
fn a_folder_is_read_and_written_from_both_sides() {
    let Some(home) = Home::with_busybox("a_folder_is_read_and_written_from_both_sides") else { return };
    let shared = folder(&home, "shared");
    fs::write(shared.join("file"), "from the host\n").unwrap();
    symlink("/etc/passwd", shared.join("link")).unwrap();
    let script = "cat /x/file && echo from the guest > /x/new && mkdir /x/d && mv /x/new /x/d/ && ln /x/d/new /x/again && \
                  chmod 640 /x/again && readlink /x/link && stat -c '%u:%g %a' /x/again && rm /x/file && ls /x";
    let printed = home.ok(&["run", "--rm", "-v", &bind(&shared, "/x"), "busybox", "sh", "-c", script]);
    assert_eq!(printed, "from the host\n/etc/passwd\n0:0 640\nagain\nd\nlink\n");
    let made = fs::metadata(shared.join("d/new")).unwrap();
    assert_eq!(fs::read_to_string(shared.join("again")).unwrap(), "from the guest\n");
    // Whoever runs hull owns what root in the container makes.
    assert_eq!((made.uid(), made.mode() & 0o7777), (rustix::process::geteuid().as_raw(), 0o640));
    assert!(!shared.join("file").exists());
    home.nothing_is_left("a shared folder");
}

#[test]
fn files_folders_within_each_other_and_read_only_ones() {
    let Some(home) = Home::with_busybox("files_folders_within_each_other_and_read_only_ones") else { return };
    let (outer, inner) = (folder(&home, "outer"), folder(&home, "inner"));
    fs::create_dir(outer.join("in")).unwrap();
    fs::write(inner.join("file"), "inner\n").unwrap();
    fs::write(home.folder.path().join("hosts"), "1.2.3.4 somewhere\n").unwrap();
    let script = "cat /x/in/file /etc/hosts; (echo no > /x/in/file) 2>&1; rm /x/in/file 2>&1; echo yes > /x/in/../new; \
                  grep -c ' ro,' /proc/self/mounts >/dev/null && mount | grep -o 'on /x/in type virtiofs (ro'";
    let printed = home.ok(&[
        "run",
        "--rm",
        // In this order, and yet one in the other.
        "-v",
        &bind(&inner, "/x/in:ro"),
        "--mount",
        &format!("type=bind,source={},target=/x", outer.display()),
        "-v",
        &bind(&home.folder.path().join("hosts"), "/etc/hosts:ro,z"),
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let expected = "inner\n1.2.3.4 somewhere\nsh: can't create /x/in/file: Read-only file system\n\
                    rm: can't remove '/x/in/file': Read-only file system\non /x/in type virtiofs (ro\n";
    assert_eq!(printed, expected);
    assert_eq!(fs::read_to_string(inner.join("file")).unwrap(), "inner\n");
    assert_eq!(fs::read_to_string(outer.join("new")).unwrap(), "yes\n");
    home.nothing_is_left("shares within shares");
}

#[test]
fn what_cannot_be_shared_is_refused_by_name() {
    let Some(home) = Home::with_busybox("what_cannot_be_shared_is_refused_by_name") else { return };
    let absent = home.folder.path().join("absent");
    let mount = format!("type=bind,source={},target=/x", absent.display());
    let error = home.fails(125, &["run", "--rm", "--mount", &mount, "busybox", "true"]);
    let expected = format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}",
        absent.display()
    );
    assert!(error.contains(&expected), "{error}");
    // With -v it is made, as Docker does.
    home.ok(&["run", "--rm", "-v", &bind(&absent, "/x"), "busybox", "touch", "/x/made"]);
    assert!(absent.join("made").exists());

    let socket = home.folder.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = home.fails(125, &["run", "--rm", "-v", &bind(&socket, "/x"), "busybox", "true"]);
    assert!(error.contains("it is a socket"), "{error}");
    for (option, part) in [
        ("/a:/", "destination can't be '/'"),
        ("/a:/x:rshared", "use rprivate"),
        ("/a:/proc", "it is the container's own"),
        ("/a:/x:ro,wrong", "invalid mode: wrong"),
    ] {
        let error = home.fails(125, &["run", "--rm", "-v", option, "busybox", "true"]);
        assert!(error.contains(part), "{option}: {error}");
    }
    let twice = bind(&absent, "/x");
    let error = home.fails(125, &["run", "--rm", "-v", &twice, "-v", &twice, "busybox", "true"]);
    assert!(error.contains("Duplicate mount point: /x"), "{error}");

    // A checkpoint would have to take it along.
    home.ok(&["run", "-d", "--name", "sharing", "-v", &twice, "busybox", "sleep", "1000"]);
    let error = home.fails(1, &["checkpoint", "create", "sharing", "one"]);
    assert!(error.contains("create it without -v and --mount"), "{error}");
    let error = home.fails(1, &["fork", "sharing"]);
    assert!(error.contains("create it without -v and --mount"), "{error}");
    assert_eq!(home.inspect("sharing")["Mounts"][0]["Destination"], "/x");
    home.ok(&["rm", "-f", "sharing"]);
    home.nothing_is_left("what could not be shared");
}

#[test]
fn owners_in_the_guest_are_kept() {
    let Some(home) = Home::with_busybox("owners_in_the_guest_are_kept") else { return };
    let shared = folder(&home, "shared");
    let volume = bind(&shared, "/x");
    // As postgres does: root gives the folder away, the other user works in it.
    let script = "chown 70:70 /x && chmod 700 /x && mkdir /x/data && chown 70:70 /x/data && mknod /x/null c 1 3 && \
                  chmod 4755 /x/data/.. && stat -c '%u %g %a' /x";
    assert_eq!(home.ok(&["run", "--rm", "-v", &volume, "busybox", "sh", "-c", script]), "70 70 4755\n");
    let script =
        "id -u; echo mine > /x/data/file && stat -c '%u %g %F' /x/data/file /x/null; cat /x/data/file";
    let printed = home.ok(&["run", "--rm", "-u", "70:70", "-v", &volume, "busybox", "sh", "-c", script]);
    assert_eq!(printed, "70\n70 70 regular file\n0 0 character special file\nmine\n");
    let me = rustix::process::geteuid();
    let owner = fs::metadata(shared.join("data/file")).unwrap().uid();
    assert_eq!(owner, if me.is_root() { 70 } else { me.as_raw() });
    assert!(fs::metadata(shared.join("null")).unwrap().is_file());
    let mapped = format!("type=bind,source={},target=/x,uid=1000,gid=1001", shared.display());
    fs::write(shared.join("hosts"), "").unwrap();
    let printed = home.ok(&["run", "--rm", "--mount", &mapped, "busybox", "stat", "-c", "%u %g", "/x/hosts"]);
    assert_eq!(printed, "1000 1001\n");
    home.nothing_is_left("owners");
}

#[test]
fn what_has_no_permissions_is_read_and_never_has_others() {
    let Some(home) = Home::with_busybox("what_has_no_permissions_is_read_and_never_has_others") else {
        return;
    };
    let shared = folder(&home, "shared");
    let file = shared.join("file");
    fs::write(&file, "closed\n").unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let about = |path: &PathBuf| {
        let about = fs::metadata(path).unwrap();
        (about.ctime(), about.ctime_nsec(), about.mode() & 0o7777)
    };
    let before = about(&file);
    let printed = home.ok(&["run", "--rm", "-v", &bind(&shared, "/x"), "busybox", "cat", "/x/file"]);
    assert_eq!(printed, "closed\n");
    // A change of its mode, were it for a moment, would show.
    assert_eq!(about(&file), before);
    home.nothing_is_left("a file without permissions");
}
