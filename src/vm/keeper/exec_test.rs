//! Further processes, against everybody that a keeper has to do with.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
};

use hull_protocol::{AgentMessage, ExitStatus, FailureKind, HostMessage, MAX_FRAME, Process, Tool};

use super::*;
use crate::vm::{
    control::{ClientMessage, ExecNews, KeeperMessage, Stream},
    keeper::tests::world::{Plan, World},
};

fn process(argument: &str) -> File {
    file(&Process { args: vec![argument.to_owned()], ..Process::default() })
}

fn file(process: &Process) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&serde_json::to_vec(process).unwrap()).unwrap();
    file
}

fn prepare(world: &World, file: &File) {
    let message = ClientMessage::Exec { stdin: true, detached: false };
    world.front_end.as_ref().unwrap().send(&message, Some(file.as_fd())).unwrap();
}

fn heard(world: &World) -> ExecNews {
    match world.hear() {
        Some(KeeperMessage::Exec { news }) => news,
        other => panic!("{other:?}"),
    }
}

/// The agent starts what it is told to; gives its streams.
fn starts(world: &mut World, wanted: ProcessId) -> [UnixStream; 3] {
    let HostMessage::Exec { process_id, first: PROCESS, stdio, .. } = world.told() else { panic!() };
    assert_eq!(process_id, wanted);
    let streams = [stdio.stdin, stdio.stdout, stdio.stderr].map(|port| world.connect(port.unwrap()));
    world.say(&AgentMessage::Started { process_id, pid: 7 });
    assert_eq!(heard(world), ExecNews::Started);
    streams
}

#[test]
fn a_process_has_its_own_streams_and_end() {
    let mut world = Plan::new().begin();
    let mut of_container = world.attach(Stream::Stdout);
    let [_input, mut output, errors] = world.started();
    prepare(&world, &process("ls"));
    let mut stdin = world.attach(Stream::Stdin);
    let mut stdout = world.attach(Stream::Stdout);
    world.ask(&ClientMessage::Begin);
    let mut streams = starts(&mut world, 2);
    stdin.write_all(b"in").unwrap();
    drop(stdin);
    let mut text = String::new();
    streams[0].read_to_string(&mut text).unwrap();
    assert_eq!(text, "in");
    streams[1].write_all(b"of the second").unwrap();
    output.write_all(b"of the first").unwrap();
    world.say(&AgentMessage::Exited { process_id: 2, status: ExitStatus::Code(3), oom_killed: false });
    drop(streams);
    assert_eq!(heard(&world), ExecNews::Exited { code: 3 });
    text.clear();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text, "of the second");
    drop((output, errors));
    world.exit(ExitStatus::Code(0));
    text.clear();
    of_container.read_to_string(&mut text).unwrap();
    assert_eq!(text, "of the first");
    let log = std::fs::read_to_string(world.log.path()).unwrap();
    assert!(log.contains("of the first") && !log.contains("of the second"), "{log}");
    let (outcome, notes) = world.stops();
    assert_eq!((outcome.ending.code(), notes), (0, vec!["started".to_owned(), "ended 0".to_owned()]));
}

#[test]
fn the_end_of_the_container_is_its_end() {
    let mut world = Plan::new().begin();
    let first = world.started();
    prepare(&world, &process("sleep"));
    world.ask(&ClientMessage::Begin);
    let streams = starts(&mut world, 2);
    drop(first);
    world.exit(ExitStatus::Code(0));
    // What it has printed by then comes first.
    drop(streams);
    assert_eq!(heard(&world), ExecNews::Exited { code: 137 });
    world.stops();
}

#[test]
fn a_front_end_that_does_not_read_keeps_no_container_from_its_end() {
    let mut plan = Plan::new();
    plan.limits.drain = std::time::Duration::from_millis(300);
    let mut world = plan.begin();
    let first = world.started();
    prepare(&world, &process("yes"));
    let _unread = world.attach(Stream::Stdout);
    world.ask(&ClientMessage::Begin);
    let mut streams = starts(&mut world, 2);
    streams[1].set_nonblocking(true).unwrap();
    while streams[1].write(&[b'y'; 4096]).is_ok() {}
    drop(first);
    world.exit(ExitStatus::Code(0));
    assert_eq!(heard(&world), ExecNews::Exited { code: 137 });
    world.stops();
}

#[test]
fn a_tool_is_told_that_nobody_reads_and_another_process_is_not() {
    for tool in [Some(Tool::Inside), None] {
        let mut world = Plan::new().begin();
        let first = world.started();
        prepare(&world, &file(&Process { args: vec!["cat".to_owned()], tool, ..Process::default() }));
        let stdout = world.attach(Stream::Stdout);
        world.ask(&ClientMessage::Begin);
        let mut streams = starts(&mut world, 2);
        streams[1].write_all(b"one").unwrap();
        drop(stdout);
        if tool.is_some() {
            assert_eq!(streams[1].read(&mut [0]).unwrap(), 0);
        } else {
            streams[1].set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
            assert_eq!(streams[1].read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        }
        drop((streams, first));
        world.say(&AgentMessage::Exited { process_id: 2, status: ExitStatus::Code(1), oom_killed: false });
        assert_eq!(heard(&world), ExecNews::Exited { code: 1 });
        world.exit(ExitStatus::Code(0));
        world.stops();
    }
}

#[test]
fn what_cannot_be_started_is_told() {
    let mut world = Plan::new().begin();
    let _streams = world.started();
    let [long, rubbish] = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    long.set_len(u64::from(MAX_FRAME) + 1).unwrap();
    for file in [long, rubbish] {
        prepare(&world, &file);
        assert!(matches!(heard(&world), ExecNews::Refused { .. }));
        // This is not for the container.
        let mut stdout = world.attach(Stream::Stdout);
        assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
    }
    // As long as a process may be, which with what is said around it is too long.
    let room = u64::from(MAX_FRAME) - process("").metadata().unwrap().len();
    prepare(&world, &process(&"x".repeat(room as usize)));
    world.ask(&ClientMessage::Begin);
    assert!(matches!(heard(&world), ExecNews::Failed { code: 126, .. }));

    for (kind, wanted) in [(FailureKind::NotFound, 127), (FailureKind::Invalid, 126)] {
        prepare(&world, &process("ls"));
        world.ask(&ClientMessage::Begin);
        // A second time is once too often.
        world.ask(&ClientMessage::Begin);
        let HostMessage::Exec { process_id, .. } = world.told() else { panic!() };
        world.say(&AgentMessage::Failed { process_id, kind, message: "no\u{1b}pe".to_owned() });
        assert_eq!(heard(&world), ExecNews::Failed { code: wanted, message: "no\u{fffd}pe".to_owned() });
    }
    // Of one that nobody asked for.
    world.say(&AgentMessage::Started { process_id: 99, pid: 1 });
    let (outcome, _) = world.stops();
    assert!(outcome.ending.error().unwrap().contains("broke its protocol"), "{outcome:?}");
}

#[test]
fn a_front_end_that_leaves_leaves_its_process() {
    let mut world = Plan::new().begin();
    let first = world.started();
    prepare(&world, &process("sleep"));
    world.ask(&ClientMessage::Begin);
    let mut streams = starts(&mut world, 2);
    world.front_end = None;
    // More than any socket holds: it is read, by nobody.
    streams[1].write_all(&vec![0; 1 << 20]).unwrap();
    drop((first, streams));
    world.exit(ExitStatus::Code(0));
    world.stops();
}
