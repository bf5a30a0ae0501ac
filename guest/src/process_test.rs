use hull_protocol::WindowSize;

use super::*;

fn process() -> Process {
    Process { args: vec!["sh".to_owned()], capabilities: 0xff, ..Process::default() }
}

fn user(uid: u32) -> User {
    User { uid, gid: uid, groups: vec![uid], home: "/home".to_owned() }
}

fn texts_of(process: &Process, uid: u32) -> Vec<String> {
    steps(process, &user(uid), true).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn root_with_defaults_needs_little() {
    assert_eq!(
        texts_of(&process(), 0),
        ["start a session", "drop capabilities", "set the groups", "execute sh"]
    );
}

#[test]
fn a_filter_comes_before_the_loss_of_the_right_to_install_it() {
    let filtered = Process { seccomp: vec![6 << 48], ..process() };
    let texts = texts_of(&filtered, 1000);
    let place = |what| texts.iter().position(|text| text.contains(what)).unwrap();
    assert!(place("seccomp") < place("become user"));
}

#[test]
fn with_no_new_privileges_a_filter_comes_last() {
    let filtered = Process { seccomp: vec![6 << 48], no_new_privileges: true, ..process() };
    let texts = texts_of(&filtered, 1000);
    let place = |what| texts.iter().position(|text| text.contains(what)).unwrap();
    assert!(place("no_new_privs") < place("become user") && place("become user") < place("seccomp"));
}

#[test]
fn a_terminal_is_given_to_its_user() {
    let process = Process { terminal: Some(WindowSize { columns: 80, rows: 24 }), ..process() };
    assert!(texts_of(&process, 1000).iter().any(|text| text.contains("give the terminal")));
    assert!(!texts_of(&process, 0).iter().any(|text| text.contains("give the terminal")));
}

#[test]
fn filters_are_unpacked() {
    let Ok(Some(Step::Filter(program))) = filter(&[0x0015_0203_c000_003e]) else { panic!() };
    assert_eq!(program, [Instruction { code: 0x15, jump_true: 2, jump_false: 3, operand: 0xc000_003e }]);
    assert!(filter(&[]).unwrap().is_none());
    assert!(filter(&vec![0; 4097]).is_err());
}

#[test]
fn what_cannot_be_a_process_is_refused() {
    assert!(check(&Process::default()).is_err());
    assert!(check(&Process { args: vec![String::new()], ..Process::default() }).is_err());
    assert!(check(&Process { cwd: "relative".to_owned(), ..process() }).is_err());
    assert!(steps(&Process { env: vec!["A=\0".to_owned()], ..process() }, &user(0), true).is_err());
}
