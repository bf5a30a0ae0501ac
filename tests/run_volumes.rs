//! Volumes: they outlive containers, begin with what the image has, and are not removed under anybody.

mod common;

use common::Home;

#[test]
fn a_volume_begins_with_what_the_image_has_and_outlives_containers() {
    let Some(home) = Home::with_busybox("a_volume_begins_with_what_the_image_has_and_outlives_containers")
    else {
        return;
    };
    let script = "cat /v/passwd | head -1; stat -c '%u:%g %a' /v/passwd /etc/passwd | uniq | wc -l; echo kept > /v/new; \
                  chown 70:70 /v/new; ls /v | grep -c lost+found";
    // Its place in the image is a folder with something in it.
    let image = home.ok(&["run", "--rm", "busybox", "sh", "-c", "ls /etc | grep -c ."]);
    let printed = home.ok(&["run", "--rm", "-v", "data:/etc", "busybox", "sh", "-c", "ls /etc | grep -c ."]);
    assert_eq!(printed, image);
    let printed = home.run(&["run", "--rm", "-v", "data:/v", "busybox", "sh", "-c", script]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.starts_with("root:") && printed.ends_with("\n1\n0\n"), "{printed}");
    // What is in it by now is not covered by the image's again.
    let script = "cat /etc/new; stat -c '%u:%g' /etc/new; rm /etc/passwd";
    assert_eq!(home.ok(&["run", "--rm", "-v", "data:/etc", "busybox", "sh", "-c", script]), "kept\n70:70\n");
    let script = "ls /etc/passwd 2>&1 | grep -c 'No such'";
    assert_eq!(home.ok(&["run", "--rm", "-v", "data:/etc", "busybox", "sh", "-c", script]), "1\n");
    let empty =
        home.ok(&["run", "--rm", "-v", "other:/etc:nocopy", "busybox", "sh", "-c", "ls /etc/passwd; true"]);
    assert_eq!(empty, "");
    assert_eq!(home.ok(&["volume", "ls", "-q"]), "data\nother\n");
    assert_eq!(home.ok(&["volume", "rm", "data", "other"]), "data\nother\n");
    home.nothing_is_left("volumes");
}

#[test]
fn a_volume_in_use_stays() {
    let Some(home) = Home::with_busybox("a_volume_in_use_stays") else { return };
    assert_eq!(home.ok(&["volume", "create", "--label", "a=b", "shared"]), "shared\n");
    let about: serde_json::Value = serde_json::from_str(&home.ok(&["volume", "inspect", "shared"])).unwrap();
    assert_eq!((&about[0]["Name"], &about[0]["Labels"]["a"]), (&"shared".into(), &"b".into()));
    home.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "-v",
        "shared:/x",
        "-v",
        "/anonymous",
        "busybox",
        "sleep",
        "1000",
    ]);
    // In another VM, and at the same time.
    let script = "echo hello > /x/from-two; ls -d /anonymous";
    let printed = home.ok(&["run", "--rm", "--volumes-from", "one", "busybox", "sh", "-c", script]);
    assert_eq!(printed, "/anonymous\n");
    let script = "(echo no > /x/no) 2>/dev/null; cat /x/from-two";
    let printed = home.ok(&["run", "--rm", "--volumes-from", "one:ro", "busybox", "sh", "-c", script]);
    assert_eq!(printed, "hello\n");
    let error = home.fails(1, &["volume", "rm", "shared"]);
    assert!(error.contains("remove shared: volume is in use - ["), "{error}");
    home.ok(&["stop", "-t", "0", "one"]);
    assert!(home.fails(1, &["volume", "rm", "shared"]).contains("volume is in use"));
    assert_eq!(home.ok(&["volume", "ls", "-q"]).lines().count(), 2);
    home.ok(&["rm", "-v", "one"]);
    assert_eq!(home.ok(&["volume", "ls", "-q"]), "shared\n");
    // One that nobody named goes with a container that is removed at its end.
    home.ok(&["run", "--rm", "-v", "/gone", "busybox", "touch", "/gone/file"]);
    home.await_quiet();
    assert_eq!(home.ok(&["volume", "ls", "-q"]), "shared\n");
    assert!(home.ok(&["volume", "prune", "-f"]).contains("Total reclaimed space: 0B"));
    assert!(home.ok(&["volume", "prune", "-af"]).contains("Deleted Volumes:\nshared\n"));
    assert!(home.fails(1, &["volume", "rm", "shared"]).contains("get shared: no such volume"));
    assert!(home.fails(125, &["run", "-v", "a/b:/x", "busybox"]).contains("includes invalid characters"));
    home.nothing_is_left("volumes in use");
}

#[test]
fn containers_that_start_at_once_with_one_new_volume_each_find_it_whole() {
    let Some(home) =
        Home::with_busybox("containers_that_start_at_once_with_one_new_volume_each_find_it_whole")
    else {
        return;
    };
    let count = "find /etc | wc -l; cat /etc/group | wc -c";
    let expected = home.ok(&["run", "--rm", "busybox", "sh", "-c", count]);
    let start = |_| home.hull(&["run", "--rm", "-v", "new:/etc", "busybox", "sh", "-c", count]);
    let started = (0..3).map(start).map(|mut it| it.stdout(std::process::Stdio::piped()).spawn().unwrap());
    for child in started.collect::<Vec<_>>() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
    // One whose filling was cut short is filled anew.
    home.await_quiet();
    let data = home.folder.path().join("data/hull/volumes/new/_data");
    for entry in std::fs::read_dir(&data).unwrap().skip(2) {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let mark = data.with_file_name(".unfilled");
    std::fs::write(&mark, "").unwrap();
    assert_eq!(home.ok(&["run", "--rm", "-v", "new:/etc", "busybox", "sh", "-c", count]), expected);
    assert!(!mark.exists());
    // One file with hundreds of names is one.
    let script = "stat -c %h /bin/busybox; du -s /bin | cut -f1";
    let printed = home.ok(&["run", "--rm", "-v", "links:/bin", "busybox", "sh", "-c", script]);
    let numbers: Vec<u64> = printed.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert!(numbers[0] > 100 && numbers[1] < 5000, "{printed}");
    home.ok(&["volume", "rm", "new", "links"]);
    home.nothing_is_left("a volume that several wanted to fill");
}
