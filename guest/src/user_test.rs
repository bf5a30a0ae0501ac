use proptest::prelude::*;

use super::*;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
# a comment\n\
\n\
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
web:x:33:34:web:/var/www:/bin/sh\n\
1234:x:5000:5001:a number for a name:/home/n:/bin/sh\n\
short:x:40:41\n\
broken:x:many:1::/:\n\
huge:x:4294967295:1::/:\n";

const GROUP: &[u8] = b"root:x:0:\n\
adm:x:4:daemon,web\n\
www:x:34:web\n\
audio:x:29: web ,other\n\
wheel:x:10:root\n";

fn found(wanted: &str) -> User {
    resolve(wanted, PASSWD, GROUP).unwrap()
}

fn refused(wanted: &str) -> String {
    let failure = resolve(wanted, PASSWD, GROUP).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid);
    failure.message
}

fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> User {
    User { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
}

#[test]
fn nothing_is_root() {
    assert_eq!(found(""), user(0, 0, &[0, 10], "/root"));
    assert_eq!(resolve("", b"", b"").unwrap(), user(0, 0, &[0], "/"));
}

#[test]
fn a_name_brings_its_groups() {
    assert_eq!(found("web"), user(33, 34, &[34, 4, 29], "/var/www"));
}

#[test]
fn a_number_brings_them_too_if_it_has_an_entry() {
    assert_eq!(found("33"), user(33, 34, &[34, 4, 29], "/var/www"));
    assert_eq!(found("777"), user(777, 0, &[0], "/"));
}

#[test]
fn a_number_is_never_a_name() {
    assert_eq!(found("1234"), user(1234, 0, &[0], "/"));
}

#[test]
fn a_group_replaces_them_all() {
    assert_eq!(found("web:adm"), user(33, 4, &[4], "/var/www"));
    assert_eq!(found("web:999"), user(33, 999, &[999], "/var/www"));
    assert_eq!(found("12:13"), user(12, 13, &[13], "/"));
    assert_eq!(found(":audio"), user(0, 29, &[29], "/root"));
}

#[test]
fn missing_fields_are_empty() {
    assert_eq!(found("short"), user(40, 41, &[41], "/"));
}

#[test]
fn the_unknown_is_named_in_dockers_words() {
    assert_eq!(refused("nobody"), "unable to find user nobody: no matching entries in passwd file");
    assert_eq!(refused("broken"), "unable to find user broken: no matching entries in passwd file");
    assert_eq!(refused("huge"), "unable to find user huge: no matching entries in passwd file");
    assert_eq!(refused("web:nogroup"), "unable to find group nogroup: no matching entries in group file");
    assert_eq!(refused("-1"), "uids and gids must be in range 0-2147483647");
    assert_eq!(refused("4294967296"), "uids and gids must be in range 0-2147483647");
    assert_eq!(refused("0:99999999999999999999"), "uids and gids must be in range 0-2147483647");
}

proptest! {
    #[test]
    fn rubbish_never_panics(wanted in ".{0,20}", passwd in proptest::collection::vec(any::<u8>(), 0..200), group in "[a-z0-9:,\n]{0,200}") {
        let _ = resolve(&wanted, &passwd, group.as_bytes());
    }
}

#[test]
fn further_groups_are_joined_once() {
    let group = b"audio:x:29:\nvideo:x:44:\n";
    let mut user = resolve("1000:44", b"", group).unwrap();
    user.join(&["audio".to_owned(), "44".to_owned(), "7".to_owned()], group).unwrap();
    assert_eq!(user.groups, [44, 29, 7]);
    assert!(
        user.join(&["nobody".to_owned()], group).unwrap_err().message.contains("unable to find group nobody")
    );
}
