use super::*;
use crate::container::{Config, HostConfig};

fn description() -> Description {
    let config = Config {
        env: vec!["A=1".to_owned(), "B=2".to_owned()],
        cmd: Some(vec!["first".to_owned()]),
        user: "web".to_owned(),
        working_dir: "/srv".to_owned(),
        ..Config::default()
    };
    let host_config = HostConfig { init: true, ..HostConfig::default() };
    process::tests::description(config, host_config)
}

fn command(args: &[&str]) -> Command {
    Command { args: args.iter().map(|argument| (*argument).to_owned()).collect(), ..Command::default() }
}

#[test]
fn what_is_not_said_is_as_for_the_first_process() {
    let process = further(&description(), command(&["ls", "-l"])).unwrap();
    assert_eq!((process.user.as_str(), process.cwd.as_str(), process.init), ("web", "/srv", false));
    assert_eq!(process.args, ["ls", "-l"]);
    assert!(!process.seccomp.is_empty() && process.capabilities == hull_protocol::defaults::CAPABILITIES);
    assert!(process.env.contains(&"A=1".to_owned()) && process.terminal.is_none());
}

#[test]
fn what_is_said_counts() {
    let process = further(
        &description(),
        Command {
            env: vec!["B=3".to_owned(), "C=4".to_owned()],
            user: Some("0".to_owned()),
            working_dir: Some("/tmp".to_owned()),
            terminal: Some(TERMINAL),
            privileged: true,
            ..command(&["sh"])
        },
    );
    let process = process.unwrap();
    assert_eq!((process.user.as_str(), process.cwd.as_str()), ("0", "/tmp"));
    assert_eq!(process.capabilities, Capabilities::ALL.0);
    for variable in ["A=1", "B=3", "C=4", "TERM=xterm"] {
        assert!(process.env.contains(&variable.to_owned()), "{variable}");
    }
    assert!(!process.env.contains(&"B=2".to_owned()));
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(further(&description(), command(&[])).is_err());
    assert!(further(&description(), command(&[""])).is_err());
    let relative = Command { working_dir: Some("tmp".to_owned()), ..command(&["ls"]) };
    assert!(further(&description(), relative).unwrap_err().to_string().contains("absolute"));
}
