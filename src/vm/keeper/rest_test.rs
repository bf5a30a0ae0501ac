//! Rests against everybody that a keeper has to do with.

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use hull_protocol::{
    AGENT_PORT, AgentMessage, ExitStatus, FIRST_STREAM_PORT, HostMessage, Renaming, VERSION,
};

use super::*;
use crate::{
    vm::control::{ClientMessage, KeeperMessage},
    vmm::{
        channel::Received,
        control::{KeeperMessage as ToVmm, VmmMessage},
    },
};

use super::tests::world::{PATIENCE, Plan, World};

/// What the VMM is told next.
fn vmm_told(world: &World) -> (ToVmm, Option<OwnedFd>) {
    match world.vmm.as_ref().unwrap().receive().unwrap() {
        Received::Message(message, descriptor) => (message, descriptor),
        other => panic!("{other:?}"),
    }
}

fn freeze(world: &World) {
    let file = tempfile::tempfile().unwrap();
    world.front_end.as_ref().unwrap().send(&ClientMessage::Freeze, Some(file.as_fd())).unwrap();
}

/// The guest, up to where the VM is to be written.
fn rests(world: &mut World, streams: [UnixStream; 3]) {
    assert_eq!(world.told(), HostMessage::Suspend);
    is_told_to_rest(world, streams);
}

fn is_told_to_rest(world: &mut World, [mut input, out, err]: [UnixStream; 3]) {
    drop((out, err));
    world.say(&AgentMessage::Suspending);
    let mut rest = Vec::new();
    input.read_to_end(&mut rest).unwrap();
    world.say(&AgentMessage::Resting);
}

fn written(world: &World, error: Option<String>) {
    let (message, file) = vmm_told(world);
    assert_eq!((message, file.is_some()), (ToVmm::Snapshot, true));
    world.vmm.as_ref().unwrap().send(&VmmMessage::Snapshot { error }, None).unwrap();
}

/// The agent is called, and says hello.
fn is_called(world: &mut World) {
    let (message, connection) = vmm_told(world);
    assert_eq!(message, ToVmm::Connect { port: AGENT_PORT });
    let agent = UnixStream::from(connection.unwrap());
    agent.set_nonblocking(false).unwrap();
    agent.set_read_timeout(Some(PATIENCE)).unwrap();
    world.agent = Some(agent);
    // Whatever arrived of the old connection is read.
    assert!(world.decoder.next::<HostMessage>().unwrap().is_none());
    world.say(&AgentMessage::Hello {
        version: VERSION,
        max_frame: 1 << 20,
        features: Vec::new(),
        kernel: String::new(),
        first_instruction_ns: 1,
        ready_ns: 1,
    });
    assert!(matches!(world.told(), HostMessage::Hello { .. }));
    assert!(matches!(world.told(), HostMessage::Wake { .. }));
}

/// The guest is back; gives its streams.
fn returns(world: &mut World) -> [UnixStream; 3] {
    is_called(world);
    let HostMessage::Reopen { process_id: PROCESS, stdio, renaming: None, networks: _ } = world.told() else {
        panic!()
    };
    let streams = [stdio.stdin, stdio.stdout, stdio.stderr].map(|port| world.connect(port.unwrap()));
    world.say(&AgentMessage::Reopened { process_id: PROCESS });
    streams
}

#[test]
fn a_container_rests_and_goes_on_with_its_streams() {
    let mut world = Plan::new().begin();
    let mut stdin = world.attach(Stream::Stdin);
    let mut stdout = world.attach(Stream::Stdout);
    let mut streams = world.started();
    stdin.write_all(b"in ").unwrap();
    let mut bytes = [0; 16];
    assert_eq!(streams[0].read(&mut bytes).unwrap(), 3);
    streams[1].write_all(b"before ").unwrap();
    freeze(&world);
    rests(&mut world, streams);
    written(&world, None);
    let told = world.front_end.as_ref().unwrap().receive().unwrap();
    assert!(matches!(told, Received::Message(KeeperMessage::Frozen, Some(_))), "{told:?}");
    // What is wanted of it meanwhile, it gets when it is back.
    world.ask(&ClientMessage::Signal { signal: 10 });
    stdin.write_all(b"later").unwrap();
    world.ask(&ClientMessage::Thaw);
    assert_eq!(vmm_told(&world).0, ToVmm::Resume);
    let mut streams = returns(&mut world);
    assert_eq!(world.hear(), Some(KeeperMessage::GoesOn));
    assert_eq!(world.told(), HostMessage::Signal { process_id: PROCESS, signal: 10 });
    assert_eq!(streams[0].read(&mut bytes).unwrap(), 5);
    streams[1].write_all(b"after").unwrap();
    drop(streams);
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before after");
    world.exit(ExitStatus::Code(4));
    assert_eq!(world.hear(), Some(KeeperMessage::Exited { code: 4, oom_killed: false, error: None }));
    let (outcome, notes) = world.stops();
    assert_eq!(outcome.ending.code(), 4);
    assert_eq!(notes, ["started", "signal 10", "ended 4"]);
}

#[test]
fn what_a_slow_front_end_has_yet_to_take_comes_before_what_is_new() {
    let mut world = Plan::new().begin();
    let mut stdout = world.attach(Stream::Stdout);
    let mut streams = world.started();
    // More than the pipe to the front end has room for, in connections that the guest has closed when it comes back.
    let before = [vec![b'a'; 150 << 10], vec![b'b'; 150 << 10]];
    for before in &before {
        streams[1].write_all(before).unwrap();
        freeze(&world);
        rests(&mut world, streams);
        written(&world, None);
        assert_eq!(world.hear(), Some(KeeperMessage::Frozen));
        world.ask(&ClientMessage::Thaw);
        assert_eq!(vmm_told(&world).0, ToVmm::Resume);
        streams = returns(&mut world);
        assert_eq!(world.hear(), Some(KeeperMessage::GoesOn));
    }
    streams[1].write_all(b"and then").unwrap();
    drop(streams);
    let mut received = Vec::new();
    stdout.read_to_end(&mut received).unwrap();
    assert_eq!(received, [before.concat(), b"and then".to_vec()].concat());
    world.exit(ExitStatus::Code(0));
    world.stops();
}

#[test]
fn whoever_leaves_a_vm_that_stands_still_lets_it_go_on() {
    for early in [true, false] {
        let mut world = Plan::new().begin();
        let streams = world.started();
        freeze(&world);
        if early {
            world.front_end = None;
        }
        rests(&mut world, streams);
        if early {
            // Nobody wants it any more: it is not even written. It may have been asked for before the keeper knew.
            let (message, _) = vmm_told(&world);
            if message == ToVmm::Snapshot {
                world.vmm.as_ref().unwrap().send(&VmmMessage::Snapshot { error: None }, None).unwrap();
                assert_eq!(vmm_told(&world).0, ToVmm::Resume);
                drop(returns(&mut world));
            } else {
                // As `returns`, but for the call, which has been heard.
                assert_eq!(message, ToVmm::Connect { port: AGENT_PORT });
                world.vmm_ends(None);
                world.outcome();
                continue;
            }
        } else {
            written(&world, None);
            assert_eq!(world.hear(), Some(KeeperMessage::Frozen));
            world.front_end = None;
            assert_eq!(vmm_told(&world).0, ToVmm::Resume);
            drop(returns(&mut world));
        }
        world.exit(ExitStatus::Code(0));
        assert_eq!(world.stops().0.ending.code(), 0);
    }
}

#[test]
fn a_vm_that_cannot_be_written_goes_on() {
    let mut world = Plan::new().begin();
    let streams = world.started();
    freeze(&world);
    freeze(&world);
    let Some(KeeperMessage::Refused { message }) = world.hear() else { panic!() };
    assert!(message.contains("another command"), "{message}");
    rests(&mut world, streams);
    written(&world, Some("the disk is full".to_owned()));
    assert_eq!(world.hear(), Some(KeeperMessage::Refused { message: "the disk is full".to_owned() }));
    // It is not this front end's to let go on, nor to end.
    world.ask(&ClientMessage::Halt);
    drop(returns(&mut world));
    assert_eq!(world.hear(), Some(KeeperMessage::GoesOn));
    world.exit(ExitStatus::Code(0));
    assert_eq!(world.stops().0.ending.code(), 0);
}

#[test]
fn a_container_that_is_not_to_go_on_ends_as_if_it_was_killed() {
    let mut plan = Plan::new();
    plan.task.keep_disk = true;
    let mut world = plan.begin();
    let mut stdout = world.attach(Stream::Stdout);
    let mut streams = world.started();
    streams[1].write_all(b"the last").unwrap();
    freeze(&world);
    rests(&mut world, streams);
    written(&world, None);
    assert_eq!(world.hear(), Some(KeeperMessage::Frozen));
    world.ask(&ClientMessage::Halt);
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the last");
    assert_eq!(world.hear(), Some(KeeperMessage::Exited { code: 137, oom_killed: false, error: None }));
    assert_eq!(world.stops().0.ending, Ending::Exited { code: 137, oom_killed: false, error: None });
}

#[test]
fn a_process_that_ends_before_it_rests_has_ended_when_the_agent_is_back() {
    let mut world = Plan::new().begin();
    let streams = world.started();
    freeze(&world);
    assert_eq!(world.told(), HostMessage::Suspend);
    world.exit(ExitStatus::Code(6));
    is_told_to_rest(&mut world, streams);
    assert_eq!(world.hear(), Some(KeeperMessage::Refused { message: "it has ended".to_owned() }));
    is_called(&mut world);
    assert!(matches!(world.told(), HostMessage::Reopen { .. }));
    world.say(&AgentMessage::Reopened { process_id: PROCESS });
    assert_eq!(world.hear(), Some(KeeperMessage::GoesOn));
    assert_eq!(world.hear(), Some(KeeperMessage::Exited { code: 6, oom_killed: false, error: None }));
    assert_eq!(world.stops().0.ending.code(), 6);
}

#[test]
fn an_agent_that_does_not_come_back_is_given_up() {
    let mut plan = Plan::new();
    plan.limits.start = std::time::Duration::from_secs(2);
    let mut world = plan.begin();
    let streams = world.started();
    freeze(&world);
    rests(&mut world, streams);
    written(&world, None);
    assert_eq!(world.hear(), Some(KeeperMessage::Frozen));
    world.ask(&ClientMessage::Thaw);
    assert_eq!(vmm_told(&world).0, ToVmm::Resume);
    let (message, _silent) = vmm_told(&world);
    assert!(matches!(message, ToVmm::Connect { .. }));
    let (outcome, _) = world.stops();
    assert!(outcome.ending.error().unwrap().contains("did not come back"), "{outcome:?}");
    assert_eq!(outcome.ending.code(), 125);
}

#[test]
fn a_container_goes_on_from_a_checkpoint_under_its_own_name() {
    let mut plan = Plan::new();
    let renaming = Renaming { hostname: "b".to_owned(), files: Vec::new() };
    plan.task.origin = Origin::Checkpoint { renaming: Some(renaming.clone()) };
    let mut world = plan.begin();
    let running = VmmMessage::Running { started_ns: 2, first_run_ns: 3 };
    world.vmm.as_ref().unwrap().send(&running, None).unwrap();
    is_called(&mut world);
    let HostMessage::Reopen { renaming: told, .. } = world.told() else { panic!() };
    assert_eq!(told, Some(renaming));
    // The process had closed its errors, and reads no input.
    let mut out = world.connect(FIRST_STREAM_PORT + 1);
    world.say(&AgentMessage::Reopened { process_id: PROCESS });
    assert_eq!(world.hear(), Some(KeeperMessage::Started));
    out.write_all(b"on").unwrap();
    drop(out);
    world.exit(ExitStatus::Code(0));
    let log: File = world.log.reopen().unwrap();
    assert_eq!(world.stops().1, ["started", "ended 0"]);
    assert_eq!(std::io::read_to_string(log).unwrap().lines().count(), 1);
}

#[test]
fn an_agent_that_rests_unasked_or_says_it_is_back_is_given_up() {
    for message in
        [AgentMessage::Suspending, AgentMessage::Resting, AgentMessage::Reopened { process_id: PROCESS }]
    {
        let mut world = Plan::new().begin();
        drop(world.started());
        world.say(&message);
        let (outcome, _) = world.stops();
        assert!(outcome.ending.error().unwrap().contains("broke its protocol"), "{outcome:?}");
    }
    let mut world = Plan::new().begin();
    drop(world.started());
    freeze(&world);
    assert_eq!(world.told(), HostMessage::Suspend);
    // Without a word about inputs.
    world.say(&AgentMessage::Resting);
    let (outcome, _) = world.stops();
    assert!(outcome.ending.error().unwrap().contains("was not told to"), "{outcome:?}");
}
