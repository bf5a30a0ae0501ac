use hull_protocol::{File, Mount, WindowSize};

use super::*;

fn user() -> User {
    User { uid: 0, gid: 0, groups: vec![0], home: "/root".to_owned() }
}

fn process() -> Process {
    Process { args: vec!["/bin/true".to_owned()], cwd: "/work".to_owned(), ..Process::default() }
}

fn texts(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

#[test]
fn ids_are_hexadecimal() {
    assert!(check_id("0123456789abcdef").is_ok());
    for id in ["", "../x", "a/b", "x", &"a".repeat(65)] {
        assert!(check_id(id).is_err(), "{id:?}");
    }
}

#[test]
fn nothing_is_resolved_in_the_container_before_the_agents_files_are_closed() {
    let request = Request {
        hostname: "box".to_owned(),
        files: vec![File { path: "/etc/hosts".to_owned(), content: "x".to_owned() }],
        mounts: vec![Mount { kind: "tmpfs".to_owned(), destination: "/t".to_owned(), ..Mount::default() }],
        masked_paths: vec!["/proc/kcore".to_owned(), "/secret".to_owned()],
        ..Request::default()
    };
    let steps = texts(&first_process(&request, &process(), &user()).unwrap());
    let place = |what| steps.iter().position(|step| step.contains(what)).unwrap();
    assert!(place("standard streams") < place("mount /dev"));
    assert!(place("new root") < place("/etc/hosts"));
    assert!(place("new root") < place("tmpfs on /t"));
    assert!(place("tmpfs on /t") < place("/etc/hosts"));
    assert!(place("hide /secret") < place("execute"));
    assert!(!steps.iter().any(|step| step.contains("kcore")), "that one is of the skeleton");
}

#[test]
fn a_read_only_root_becomes_so_after_everything_was_made_in_it() {
    let request = Request { read_only: true, ..Request::default() };
    let steps = texts(&first_process(&request, &process(), &user()).unwrap());
    let place = |what| steps.iter().position(|step| step.contains(what)).unwrap();
    assert!(place("working directory") < place("root read-only"));
    assert!(place("root read-only") < place("drop capabilities"));
}

#[test]
fn a_further_process_enters_first_and_makes_no_directory() {
    let process = Process { terminal: Some(WindowSize { columns: 80, rows: 24 }), ..process() };
    let steps = further_process(9, false, &process, &user()).unwrap();
    assert!(matches!(steps[0], Step::Enter { pidfd: 9, .. }));
    assert!(matches!(steps[1], Step::Terminal { columns: 80, rows: 24, .. }));
    assert!(matches!(steps[2], Step::Streams));
    assert!(steps.iter().any(|step| matches!(step, Step::WorkingDirectory { make: false, .. })));
}
