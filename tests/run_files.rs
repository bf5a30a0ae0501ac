//! A container's files from outside: `cp`, `diff`, `export`, `commit`, and `top`.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use common::Home;

/// Everything that there is to say of every file of a root, but for when it was changed.
const TREE: &str = "find / -xdev ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path /etc/hosts ! -path /etc/hostname \
                    ! -path /etc/resolv.conf ! -path '/bin/*' | sort | while read -r f; do stat -c '%n %F %a %u:%g %h %t:%T %N' \"$f\"; \
                    done; cat /w/file /etc/passwd | md5sum";

#[test]
fn files_are_copied_by_dockers_rules() {
    let Some(home) = Home::with_busybox("files_are_copied_by_dockers_rules") else { return };
    let here = home.folder.path().join("here");
    fs::create_dir_all(here.join("tree/in")).unwrap();
    fs::write(here.join("tree/in/file"), "from the host").unwrap();
    fs::write(here.join("file"), "a file").unwrap();
    fs::write(here.join("secret"), "secret").unwrap();
    symlink("tree", here.join("link")).unwrap();
    let path = |name: &str| here.join(name).to_str().unwrap().to_owned();
    let script = "mkdir -p /w/d; echo inside > /w/d/file; ln /w/d/file /w/d/other; ln -s ../../../../etc /w/out; ln -s d /w/l; \
                  ln -s /etc/absolute /w/new; echo ready; exec sleep 1000";
    let volume = "kept:/v";
    home.ok(&["run", "-d", "--name", "box", "-v", volume, "busybox", "sh", "-c", script]);
    common::eventually("the container", || home.ok(&["logs", "box"]) == "ready\n");
    let inside = |script: &str| home.ok(&["exec", "box", "sh", "-c", script]);

    // Into a directory that is there, as one that is not, and what is in one.
    home.ok(&["cp", &path("tree"), "box:/w/d"]);
    home.ok(&["cp", &path("tree"), "box:/as"]);
    home.ok(&["cp", &path("tree/."), "box:/w"]);
    home.ok(&["cp", &path("link"), "box:/w/was-link"]);
    home.ok(&["cp", "-L", &path("link"), "box:/w/followed"]);
    home.ok(&["cp", &path("file"), "box:/w/out/passed"]);
    home.ok(&["cp", &path("file"), "box:/w/new"]);
    home.ok(&["cp", &path("file"), "box:/v"]);
    let script = "cat /w/d/tree/in/file /as/in/file /w/in/file /w/followed/in/file; readlink /w/was-link; cat /etc/passed \
                  /etc/absolute; stat -c ' %u:%g' /w/d/tree";
    let host = "from the host".repeat(4);
    assert_eq!(inside(script), format!("{host}tree\na filea file 0:0\n"));
    let volume = home.folder.path().join("data/hull/volumes/kept/_data/file");
    assert_eq!(fs::read_to_string(volume).unwrap(), "a file");

    // And out again.
    home.ok(&["cp", "box:/w/d", &path("")]);
    home.ok(&["cp", "box:/w/d/file", &path("renamed")]);
    home.ok(&["cp", "box:/w/d/.", &path("content")]);
    home.ok(&["cp", "-L", "box:/w/l", &path("")]);
    home.ok(&["cp", "box:/w/out", &path("")]);
    for name in ["d/file", "d/other", "renamed", "content/file", "l/file"] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), "inside\n", "{name}");
    }
    assert_eq!(fs::read_link(path("out")).unwrap().to_str(), Some("../../../../etc"));
    // What was copied before does not lead what is copied now anywhere else.
    fs::create_dir(path("outside")).unwrap();
    inside("mkdir -p /w/h; ln -s ../outside /w/h/x");
    home.ok(&["cp", "box:/w/h", &path("")]);
    inside("rm /w/h/x; mkdir /w/h/x; echo planted > /w/h/x/file");
    let error = home.fails(1, &["cp", "box:/w/h", &path("")]);
    assert!(error.contains("cannot overwrite non-directory"), "{error}");
    assert_eq!(fs::read_dir(path("outside")).unwrap().count(), 0);

    // As archives.
    let archive = home.run(&["cp", "box:/w/d", "-"]).stdout;
    let mut copy = home.hull(&["cp", "-", "box:/v"]).stdin(Stdio::piped()).spawn().unwrap();
    copy.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(copy.wait().unwrap().success());
    assert_eq!(inside("cat /v/d/file; stat -c %h /v/d/other"), "inside\n2\n");

    // Links of links, either way.
    inside("cd /w; ln -s l two; echo end > d/end; ln -s d/end one; ln -s one three");
    home.ok(&["cp", "-L", "box:/w/three", &path("")]);
    assert_eq!(fs::read_to_string(path("three")).unwrap(), "end\n");
    home.ok(&["cp", &path("file"), "box:/w/two"]);
    assert_eq!(inside("readlink /w/two; cat /w/d/file"), "l\na file");
    // All of it, with volumes, and without what only the kernel has.
    home.ok(&["cp", "box:/", &path("all")]);
    assert_eq!(fs::read_to_string(path("all/v/file")).unwrap(), "a file");
    assert_eq!(fs::read_to_string(path("all/w/d/end")).unwrap(), "end\n");
    for name in ["all/proc", "all/sys", "all/dev"] {
        assert_eq!(fs::read_dir(path(name)).unwrap().count(), 0, "{name}");
    }

    for (from, to, text) in [
        ("box:/w/d/file", "/dev/null", "must be a directory or a regular file"),
        ("box:/absent", &*path(""), "Could not find the file /absent in container box"),
        (&*path("file"), "box:/absent/", "no such directory"),
        (&*path("file"), "box:/absent/file", "Could not find the file /absent in container box"),
        (&*path("tree"), "box:/etc/passwd", "cannot copy directory"),
        ("box:/w/d", &*path("file"), "cannot copy directory"),
        ("box:/w/d/file", &*path("absent/"), "no such directory"),
        ("-", "box:/etc/passwd", "destination \"box:/etc/passwd\" must be a directory"),
        ("box:/a", "box:/b", "copying between containers is not supported"),
        (&*path("file"), &*path("tree"), "must specify at least one container source"),
        (&*path("absent"), "box:/", "no such file or directory"),
        ("nobody:/x", &*path(""), "No such container: nobody"),
    ] {
        let error = home.fails(1, &["cp", from, to]);
        assert!(error.contains(text), "{from} {to}: {error}");
    }
    fs::create_dir_all(path("clash/file")).unwrap();
    let error = home.fails(1, &["cp", &path("clash/."), "box:/w/d"]);
    assert!(error.contains("cannot overwrite non-directory \"/w/d/file\" with directory"), "{error}");
    assert_eq!(fs::read_to_string(path("secret")).unwrap(), "secret");
    let top = home.ok(&["top", "box"]);
    assert!(top.starts_with("UID ") && top.contains("sleep 1000"), "{top}");
    assert_eq!(home.ok(&["top", "box", "-o", "pid,comm"]), "PID   COMM\n1     sleep\n");
    home.ok(&["rm", "-f", "box"]);
    // What is copied into one that will be removed at its end is there when it starts.
    home.ok(&["create", "--rm", "--name", "once", "busybox", "cat", "/into"]);
    home.ok(&["cp", &path("file"), "once:/into"]);
    assert_eq!(home.ok(&["start", "-a", "once"]), "a file");
    assert!(home.fails(1, &["top", "box"]).contains("No such container"));
    home.ok(&["volume", "rm", "kept"]);
    home.nothing_is_left("copied files");
}

#[test]
fn what_a_container_has_changed_becomes_an_image_of_the_same_tree() {
    let Some(home) = Home::with_busybox("what_a_container_has_changed_becomes_an_image_of_the_same_tree")
    else {
        return;
    };
    let script = "mkdir -p /w/deep/er; echo one > /w/file; ln /w/file /w/again; ln -s ../x /w/link; mknod /w/null c 1 3; \
                  mkfifo /w/fifo; chown 7:8 /w/file; chmod 4750 /w/deep; rm -rf /var; mkdir /var; echo two > /var/own; \
                  rm /etc/group; echo three >> /etc/passwd; echo no > /v/volume; echo ready; exec sleep 1000";
    home.ok(&["run", "-d", "--name", "box", "-v", "/v", "-e", "A=1", "busybox", "sh", "-c", script]);
    common::eventually("the container", || home.ok(&["logs", "box"]) == "ready\n");
    let changes = home.ok(&["diff", "box"]);
    for line in
        ["C /etc", "D /etc/group", "C /etc/passwd", "A /v", "C /var", "A /var/own", "D /var/tmp", "A /w/fifo"]
    {
        assert!(changes.lines().any(|it| it == line), "{line}: {changes}");
    }
    assert!(!changes.contains("/v/volume") && !changes.contains("/etc/hosts"), "{changes}");

    let id = home.ok(&[
        "commit",
        "-a",
        "me",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\", \"/w/file\"]",
        "-c",
        "ENV B=2",
        "box",
        "made:1",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    // What stood still goes on.
    let before = home.ok(&["exec", "box", "sh", "-c", TREE]);
    home.ok(&["rm", "-fv", "box"]);
    assert_eq!(home.ok(&["run", "--rm", "made:1"]), "one\n");
    let after = home.ok(&["run", "--rm", "made:1", "sh", "-c", TREE]);
    let without_volume =
        |tree: &str| tree.lines().filter(|it| !it.starts_with("/v ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without_volume(&after), without_volume(&before));
    let about: serde_json::Value = serde_json::from_str(&home.ok(&["image", "inspect", "made:1"])).unwrap();
    let env = about[0]["Config"]["Env"].to_string();
    assert!(env.contains("A=1") && env.contains("B=2"), "{env}");

    // Of one that was never started, too; nothing of it is shown as running.
    home.ok(&["create", "--name", "still", "made:1"]);
    home.ok(&["cp", home.folder.path().join("data/hull/images.json").to_str().unwrap(), "still:/w/file"]);
    assert_eq!(home.inspect("still")["State"]["Status"], "created");
    let exported = home.folder.path().join("root.tar");
    let exported = exported.to_str().unwrap();
    home.ok(&["export", "-o", exported, "still"]);
    let listed = std::process::Command::new("tar").args(["-tvf", exported]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    // The link was undone by what was copied over one of its names.
    for member in [" etc/passwd\n", " w/again\n", " w/file\n", " w/link -> ../x\n"] {
        assert!(listed.contains(member), "{member}: {listed}");
    }
    assert!(!listed.contains("etc/group"), "{listed}");
    let error = home.fails(1, &["export", "-o", "/dev/full", "still"]);
    assert!(error.contains("No space left on device"), "{error}");
    assert!(home.fails(1, &["commit", "-c", "RUN x", "still"]).contains("run is not a valid change command"));
    assert!(home.ok(&["start", "-a", "still"]).contains("\"images\""));
    let exit = home.inspect("still")["State"]["FinishedAt"].clone();
    assert!(home.ok(&["diff", "still"]).contains("C /w/file\n"));
    assert_eq!(home.inspect("still")["State"]["FinishedAt"], exit);
    home.ok(&["rm", "still"]);
    home.nothing_is_left("images of containers");
}
