use super::*;

fn environment(path: &str) -> Vec<String> {
    vec!["HOME=/root".to_owned(), format!("PATH={path}")]
}

#[test]
fn a_command_with_a_slash_is_itself() {
    assert_eq!(candidates("./run", &environment("/bin")), ["./run"]);
    assert_eq!(candidates("/bin/sh", &[]), ["/bin/sh"]);
}

#[test]
fn others_are_looked_for_in_order() {
    assert_eq!(candidates("sh", &environment("/usr/bin:/bin/")), ["/usr/bin/sh", "/bin/sh"]);
    assert_eq!(candidates("sh", &environment("/a::b")), ["/a/sh", "./sh", "b/sh"]);
    assert_eq!(candidates("sh", &environment("/")), ["/sh"]);
}

#[test]
fn without_path_it_is_dockers() {
    assert_eq!(candidates("sh", &[]).len(), 6);
    assert_eq!(candidates("sh", &["PATHS=/x".to_owned()])[0], "/usr/local/sbin/sh");
}

#[test]
fn failures_have_dockers_words() {
    let say = |command, error, hint| {
        let Failure { kind, message } = failure(command, Fault { error, hint });
        (kind, message)
    };
    use FailureKind::{NotExecutable, NotFound};
    assert_eq!(
        say("foo", Errno::NOENT, Hint::None),
        (NotFound, "exec: \"foo\": executable file not found in $PATH".to_owned())
    );
    assert_eq!(
        say("/foo", Errno::NOENT, Hint::None),
        (NotFound, "exec: \"/foo\": stat /foo: no such file or directory".to_owned())
    );
    assert_eq!(
        say("/etc/passwd", Errno::ACCESS, Hint::None),
        (NotExecutable, "exec: \"/etc/passwd\": permission denied".to_owned())
    );
    assert_eq!(
        say("/etc", Errno::ACCESS, Hint::Directory),
        (NotExecutable, "exec: \"/etc\": is a directory".to_owned())
    );
    assert_eq!(
        say("/x", Errno::NOEXEC, Hint::None),
        (NotExecutable, "exec /x: exec format error".to_owned())
    );
    assert_eq!(
        say("/x.sh", Errno::NOENT, Hint::Interpreter),
        (NotFound, "exec /x.sh: no such file or directory".to_owned())
    );
}
