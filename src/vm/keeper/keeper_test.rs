//! The keeper against everybody it has to do with.

use std::{
    fs::File,
    io::{Read, Write},
};

use hull_protocol::{
    AGENT_PORT, AgentMessage, ExitStatus, FIRST_STREAM_PORT, FailureKind, HostMessage, VERSION, WindowSize,
};

use super::*;
use crate::{
    vm::control::ClientMessage,
    vmm::{channel::Received, control::VmmMessage},
};

#[path = "world_test.rs"]
pub mod world;

use world::{PATIENCE, Plan};

fn error(outcome: &Outcome) -> &str {
    outcome.ending.error().unwrap_or_default()
}

#[test]
fn a_process_runs_and_its_exit_is_told_and_recorded() {
    let mut plan = Plan::new();
    plan.task.process.args = vec!["true".to_owned()];
    let mut world = plan.begin();
    let mut stdout = world.attach(Stream::Stdout);
    let mut stderr = world.attach(Stream::Stderr);
    let timing = VmmMessage::Running { started_ns: 2, first_run_ns: 3 };
    world.vmm.as_ref().unwrap().send(&timing, None).unwrap();
    let HostMessage::Run { process, .. } = world.boot() else { panic!() };
    assert_eq!(process.args, ["true"]);
    let [_, mut out, mut err] = [0, 1, 2].map(|stream| world.connect(FIRST_STREAM_PORT + stream));
    world.say(&AgentMessage::Started { process_id: PROCESS, pid: 1 });
    out.write_all(b"one\ntwo").unwrap();
    err.write_all(b"three").unwrap();
    drop((out, err));
    world.exit(ExitStatus::Code(3));
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\ntwothree");
    assert_eq!(world.hear(), Some(KeeperMessage::Started));
    assert_eq!(world.hear(), Some(KeeperMessage::Exited { code: 3, oom_killed: false, error: None }));
    world.asked_to_stop();
    world.vmm_ends(Some(ExitReason::Stopped));
    let Some(KeeperMessage::Gone { timings, error: None }) = world.hear() else { panic!() };
    assert_eq!(world.hear(), None);
    assert_eq!((timings.keeper_ns, timings.vmm_ns, timings.first_run_ns), (1, 2, 3));
    assert_eq!((timings.guest_first_instruction_ns, timings.guest_ready_ns), (5, 6));
    let order = [timings.hello_ns, timings.started_ns, timings.exited_ns, timings.gone_ns];
    assert!(order.is_sorted() && order[0] > 0, "{order:?}");
    let log = std::fs::read_to_string(world.log.path()).unwrap();
    assert_eq!(log.lines().count(), 3);
    assert_eq!(world.outcome().1, ["started", "ended 3"]);
}

#[test]
fn a_guest_gets_the_memory_it_wants_but_no_more_than_it_may_have() {
    let mut world = Plan::new().begin();
    let streams = world.started();
    for (wanted, given) in [(768 << 20, 256 << 20), (u64::MAX, 512 << 20), (0, 0)] {
        world.say(&AgentMessage::Memory { wanted });
        match world.vmm.as_ref().unwrap().receive().unwrap() {
            Received::Message(ToVmm::Memory { size }, _) => assert_eq!(size, given),
            other => panic!("{other:?} instead of memory"),
        }
    }
    drop(streams);
    world.exit(ExitStatus::Code(0));
    assert_eq!(world.stops().0.ending.code(), 0);
}

#[test]
fn a_data_disk_that_is_kept_is_written_before_the_end() {
    let mut plan = Plan::new();
    plan.task.keep_disk = true;
    let mut world = plan.begin();
    drop(world.started());
    world.exit(ExitStatus::Signal(15));
    assert_eq!(world.told(), HostMessage::Shutdown);
    world.say(&AgentMessage::Stopped { reason: "shutdown".to_owned() });
    let (outcome, _) = world.stops();
    assert_eq!(outcome.ending, Ending::Exited { code: 143, oom_killed: false, error: None });
}

#[test]
fn a_disk_that_is_not_written_in_time_is_said_to_be_so() {
    for dies in [false, true] {
        let mut plan = Plan::new();
        plan.task.keep_disk = true;
        plan.limits.shutdown = if dies { PATIENCE } else { Duration::from_millis(50) };
        let mut world = plan.begin();
        drop(world.started());
        world.exit(ExitStatus::Code(0));
        assert_eq!(world.told(), HostMessage::Shutdown);
        if !dies {
            world.asked_to_stop();
        }
        world.vmm_ends(if dies { None } else { Some(ExitReason::Stopped) });
        assert_eq!(world.hear(), Some(KeeperMessage::Exited { code: 0, oom_killed: false, error: None }));
        let Some(KeeperMessage::Gone { error: told, .. }) = world.hear() else { panic!() };
        let outcome = world.outcome().0;
        assert_eq!(outcome.ending.code(), 0);
        assert!(error(&outcome).contains("writable layer was not written"), "{outcome:?}");
        // Whoever waits for it is told, too.
        assert_eq!(told.as_deref(), Some(error(&outcome)));
    }
}

#[test]
fn an_agent_that_says_nothing_is_given_up() {
    for stage in ["boot", "start"] {
        let mut plan = Plan::new();
        plan.limits.boot = Duration::from_millis(100);
        plan.limits.start = Duration::from_millis(100);
        let mut world = plan.begin();
        let mut console = world.console.take().unwrap();
        console.write_all(b"Kernel panic - not syncing\x1b[31m\r\n").unwrap();
        if stage == "start" {
            world.boot();
        }
        world.asked_to_stop();
        // The VMM does not obey: it is killed.
        let Some(KeeperMessage::Failed { code: 125, message }) = world.hear() else { panic!() };
        let expected =
            if stage == "boot" { "did not come up within 0.1 s" } else { "did not start the process" };
        assert!(message.contains(expected), "{message}");
        assert!(message.ends_with("Kernel panic - not syncing\u{fffd}[31m"), "{message}");
        assert_eq!(world.outcome().1, ["ended 125"]);
    }
}

#[test]
fn an_agent_that_sends_rubbish_or_too_much_is_given_up() {
    let rubbish: [(&[u8], &str); 3] = [
        (b"\x04\0\0\0rubb", "not a message of this protocol"),
        (b"\xff\xff\xff\x7f", "longer than"),
        (b"GET / HTTP/1.1\r\n\r\n", "longer than"),
    ];
    for (bytes, expected) in rubbish {
        for started in [false, true] {
            let mut world = Plan::new().begin();
            if started {
                drop(world.started());
            } else {
                world.agent = Some(world.connect(AGENT_PORT));
            }
            world.agent.as_mut().unwrap().write_all(bytes).unwrap();
            let (outcome, notes) = world.stops();
            assert!(error(&outcome).contains(expected), "{outcome:?}");
            assert_eq!(notes.last().unwrap(), "ended 125");
        }
    }
}

#[test]
fn an_agent_that_speaks_out_of_turn_is_given_up() {
    let exited = AgentMessage::Exited { process_id: PROCESS, status: ExitStatus::Code(0), oom_killed: false };
    let started = AgentMessage::Started { process_id: PROCESS, pid: 1 };
    for message in [exited, started.clone()] {
        let mut world = Plan::new().begin();
        world.agent = Some(world.connect(AGENT_PORT));
        world.say(&message);
        assert!(error(&world.stops().0).contains("broke its protocol"));
    }
    for message in [started, AgentMessage::Started { process_id: 9, pid: 1 }] {
        let mut world = Plan::new().begin();
        drop(world.started());
        world.say(&message);
        let (outcome, _) = world.stops();
        assert!(error(&outcome).contains("broke its protocol") && error(&outcome).len() < 300, "{outcome:?}");
    }
    let mut world = Plan::new().begin();
    world.agent = Some(world.connect(AGENT_PORT));
    let (version, max_frame) = (VERSION + 1, 1);
    world.say(&AgentMessage::Hello {
        version,
        max_frame,
        features: Vec::new(),
        kernel: String::new(),
        first_instruction_ns: 0,
        ready_ns: 0,
    });
    assert!(error(&world.stops().0).contains(&format!("speaks version {version}")));
}

#[test]
fn a_vm_that_ends_by_itself_is_told_apart() {
    let reasons = [
        (Some(ExitReason::Reset), None, "reset itself unannounced"),
        (Some(ExitReason::Reset), Some("reboot"), "the guest ended: reboot"),
        (Some(ExitReason::PowerOff), None, "powered itself off"),
        (Some(ExitReason::Crash { detail: "rip=1".to_owned() }), None, "crashed: rip=1"),
        (Some(ExitReason::Failed { detail: "KVM".to_owned() }), None, "VMM failed: KVM"),
        (None, None, "the VMM exited with code 0"),
    ];
    for (reason, announced, expected) in reasons {
        for stage in ["booting", "starting", "running"] {
            if announced.is_some() && stage == "booting" {
                continue;
            }
            let mut world = Plan::new().begin();
            match stage {
                "starting" => drop(world.boot()),
                "running" => drop(world.started()),
                _ => {}
            }
            if let Some(reason) = announced {
                world.say(&AgentMessage::Stopped { reason: reason.to_owned() });
            }
            world.vmm_ends(reason.clone());
            let (outcome, _) = world.outcome();
            assert!(error(&outcome).contains(expected), "{stage}: {outcome:?}");
            let broken = matches!(outcome.ending, Ending::Broken { code: 125, .. });
            assert_eq!(broken, stage == "running", "{outcome:?}");
        }
    }
}

#[test]
fn an_agent_that_cannot_go_on_says_why() {
    let mut world = Plan::new().begin();
    world.boot();
    world.say(&AgentMessage::Fatal { message: "no \x1bdisk".to_owned() });
    assert!(error(&world.stops().0).contains("no \u{fffd}disk"));
}

#[test]
fn a_vmm_that_breaks_the_protocol_is_killed() {
    let world = Plan::new().begin();
    world.vmm.as_ref().unwrap().send(&"rubbish", None).unwrap();
    let (outcome, _) = world.outcome();
    assert!(error(&outcome).contains("VMM broke its protocol"), "{outcome:?}");
}

#[test]
fn a_command_that_cannot_be_executed_has_docker_s_code() {
    for (kind, code) in
        [(FailureKind::NotFound, 127), (FailureKind::NotExecutable, 126), (FailureKind::Invalid, 125)]
    {
        let mut world = Plan::new().begin();
        world.boot();
        world.say(&AgentMessage::Failed { process_id: PROCESS, kind, message: "exec: \"x\"".to_owned() });
        assert_eq!(world.hear(), Some(KeeperMessage::Failed { code, message: "exec: \"x\"".to_owned() }));
        let (outcome, notes) = world.stops();
        assert_eq!((outcome.ending.code(), notes), (code, vec![format!("ended {code}")]));
    }
}

#[test]
fn a_front_end_that_does_not_read_stops_the_writer_and_nothing_else() {
    let mut world = Plan::new().begin();
    let mut stdout = world.attach(Stream::Stdout);
    let [_stdin, out, mut err] = world.started();
    let data: Vec<u8> = (0..4u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = data.clone();
    let writer = std::thread::spawn(move || (&out).write_all(&sent));
    // The writer is stuck, and yet errors pass and signals too.
    err.write_all(b"still here").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read(world.log.path()).unwrap().windows(10).any(|part| part == b"still here") {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    world.ask(&ClientMessage::Signal { signal: 10 });
    assert_eq!(world.told(), HostMessage::Signal { process_id: PROCESS, signal: 10 });
    assert!(!writer.is_finished());
    assert!(std::fs::metadata(world.log.path()).unwrap().len() < 1 << 20);

    let mut received = vec![0; data.len()];
    stdout.read_exact(&mut received).unwrap();
    assert!(received == data);
    writer.join().unwrap().unwrap();
    drop(err);
    world.exit(ExitStatus::Code(0));
    assert_eq!(world.stops().0.ending.code(), 0);
}

#[test]
fn the_last_output_waits_for_a_slow_front_end() {
    let mut plan = Plan::new();
    plan.limits.drain = Duration::from_millis(700);
    let mut world = plan.begin();
    let mut stdout = world.attach(Stream::Stdout);
    let [_stdin, out, err] = world.started();
    let data = vec![7; 150_000];
    (&out).write_all(&data).unwrap();
    drop((out, err));
    world.exit(ExitStatus::Code(0));
    std::thread::sleep(Duration::from_millis(2000));
    let mut received = Vec::new();
    stdout.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), data.len());
    assert_eq!(error(&world.stops().0), "");
}

#[test]
fn input_reaches_the_process_and_ends_where_it_ends() {
    let mut world = Plan::new().begin();
    let mut stdin = world.attach(Stream::Stdin);
    let data: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = data.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let [mut input, out, err] = world.started();
    let mut received = Vec::new();
    input.read_to_end(&mut received).unwrap();
    assert!(received == data);
    writer.join().unwrap().unwrap();
    drop((out, err));
    world.exit(ExitStatus::Code(0));
    world.stops();
}

#[test]
fn input_that_nobody_reads_any_more_ends_its_front_end_s_pipe() {
    let mut world = Plan::new().begin();
    let mut stdin = world.attach(Stream::Stdin);
    let [input, out, err] = world.started();
    drop(input);
    let deadline = Instant::now() + PATIENCE;
    while stdin.write_all(b"x").is_ok() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop((out, err));
    world.vmm_ends(None);
    world.outcome();
}

#[test]
fn a_container_ends_with_the_front_end_it_is_tied_to() {
    for leaves in [false, true] {
        let mut plan = Plan::new();
        plan.task.tied = true;
        let mut world = plan.begin();
        let streams = world.started();
        if leaves {
            world.ask(&ClientMessage::Detach);
        }
        world.front_end = None;
        drop(streams);
        if leaves {
            // It goes on: only its own end ends it.
            world.exit(ExitStatus::Code(0));
        }
        assert_eq!(world.stops().0.ending.code(), if leaves { 0 } else { 137 });
    }
}

#[test]
fn after_a_stop_a_reader_has_a_while_to_take_the_rest_and_not_for_ever() {
    // More than a pipe has room for.
    let data = vec![b'x'; 256 << 10];
    for reads in [true, false] {
        let mut plan = Plan::new();
        if reads {
            plan.limits.reader = PATIENCE;
        }
        let mut world = plan.begin();
        let mut stdout = world.attach(Stream::Stdout);
        let [_stdin, mut out, err] = world.started();
        let sent = data.clone();
        let writer = std::thread::spawn(move || out.write_all(&sent));
        world.ask(&ClientMessage::Stop { signal: None, timeout: None });
        assert_eq!(world.told(), HostMessage::Signal { process_id: PROCESS, signal: 15 });
        drop(err);
        world.exit(ExitStatus::Signal(15));
        if reads {
            let mut received = Vec::new();
            stdout.read_to_end(&mut received).unwrap();
            assert_eq!(received.len(), data.len());
        }
        assert_eq!(world.stops().0.ending.code(), 143);
        writer.join().unwrap().unwrap();
    }
}

#[test]
fn a_process_that_ignores_the_stop_signal_is_killed() {
    let mut world = Plan::new().begin();
    let streams = world.started();
    world.ask(&ClientMessage::Stop { signal: None, timeout: Some(0) });
    assert_eq!(world.told(), HostMessage::Signal { process_id: PROCESS, signal: 15 });
    assert_eq!(world.told(), HostMessage::Signal { process_id: PROCESS, signal: 9 });
    drop(streams);
    world.exit(ExitStatus::Signal(9));
    let (outcome, notes) = world.stops();
    assert_eq!(outcome.ending.code(), 137);
    assert_eq!(notes, ["started", "stopping", "signal 15", "signal 9", "ended 137"]);
}

#[test]
fn a_process_that_does_not_even_end_by_sigkill_loses_its_vm() {
    let mut world = Plan::new().begin();
    let _stdout = world.attach(Stream::Stdout);
    let streams = world.started();
    world.ask(&ClientMessage::Signal { signal: 9 });
    assert_eq!(world.told(), HostMessage::Signal { process_id: PROCESS, signal: 9 });
    world.asked_to_stop();
    drop(streams);
    world.vmm_ends(Some(ExitReason::Stopped));
    let (outcome, _) = world.outcome();
    assert_eq!(outcome.ending.code(), 137);
    assert!(error(&outcome).contains("did not end by SIGKILL"));
}

#[test]
fn a_signal_before_the_process_runs_ends_the_vm() {
    for stage in ["booting", "starting"] {
        let mut world = Plan::new().begin();
        if stage == "starting" {
            world.boot();
        }
        world.ask(&ClientMessage::Signal { signal: libc::SIGWINCH as u8 });
        world.ask(&ClientMessage::Signal { signal: 2 });
        let (outcome, _) = world.stops();
        assert!(matches!(outcome.ending, Ending::NotStarted { code: 130, .. }), "{outcome:?}");
    }
}

#[test]
fn the_terminal_s_size_is_known_before_and_changes_after_the_start() {
    let mut plan = Plan::new();
    plan.task.process.terminal = Some(WindowSize { columns: 80, rows: 24 });
    let mut world = plan.begin();
    let size = |columns| WindowSize { columns, rows: 50 };
    world.ask(&ClientMessage::Resize { size: size(100) });
    let HostMessage::Run { process, stdio, .. } = world.boot() else { panic!() };
    assert_eq!((process.terminal, stdio.stderr), (Some(size(100)), None));
    let output = world.connect(stdio.stdout.unwrap());
    world.say(&AgentMessage::Started { process_id: PROCESS, pid: 1 });
    world.ask(&ClientMessage::Resize { size: size(120) });
    assert_eq!(world.told(), HostMessage::Resize { process_id: PROCESS, size: size(120) });
    drop(output);
    world.exit(ExitStatus::Code(0));
    world.stops();
}

#[test]
fn connections_that_nobody_waits_for_are_closed() {
    let mut world = Plan::new().begin();
    let early = world.connect(FIRST_STREAM_PORT);
    let unknown = world.connect(22);
    for mut connection in [early, unknown] {
        assert_eq!(connection.read(&mut [0; 1]).unwrap(), 0);
    }
    let streams = world.started();
    for port in [AGENT_PORT, FIRST_STREAM_PORT, FIRST_STREAM_PORT + 1, FIRST_STREAM_PORT + 3, u32::MAX] {
        assert_eq!(world.connect(port).read(&mut [0; 1]).unwrap(), 0);
    }
    drop(streams);
    world.exit(ExitStatus::Code(0));
    world.stops();
}

#[test]
fn a_front_end_that_sends_rubbish_is_dropped_and_the_container_goes_on() {
    let mut world = Plan::new().begin();
    let streams = world.started();
    world.front_end.as_ref().unwrap().send(&"rubbish", None).unwrap();
    assert_eq!(world.hear(), None);
    drop(streams);
    world.exit(ExitStatus::Code(0));
    assert_eq!(world.stops().0.ending.code(), 0);
}

#[test]
fn a_log_that_cannot_be_written_costs_no_output() {
    let mut plan = Plan::new();
    plan.log = Some(File::options().write(true).open("/dev/full").unwrap());
    let mut world = plan.begin();
    let mut stdout = world.attach(Stream::Stdout);
    let [_stdin, out, err] = world.started();
    (&out).write_all(b"output").unwrap();
    drop((out, err));
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text, "output");
    world.exit(ExitStatus::Code(0));
    let (outcome, _) = world.stops();
    assert!(error(&outcome).contains("log could not be written"), "{outcome:?}");
}

#[test]
fn a_flooded_console_is_bounded() {
    let mut world = Plan::new().begin();
    let mut console = world.console.take().unwrap();
    for line in 0..20_000 {
        writeln!(console, "line {line}").unwrap();
    }
    drop(console);
    drop(world.started());
    world.vmm_ends(None);
    let (outcome, _) = world.outcome();
    assert!(outcome.console.len() <= 8 << 10 && outcome.console.ends_with("line 19999\n"));
}

#[test]
fn a_pause_ends_by_a_signal_at_the_latest() {
    let mut world = Plan::new().begin();
    let vmm_told = |world: &world::World| -> ToVmm {
        match world.vmm.as_ref().unwrap().receive().unwrap() {
            Received::Message(message, _) => message,
            other => panic!("{other:?}"),
        }
    };
    let stands_still = |world: &world::World| {
        world.vmm.as_ref().unwrap().send(&VmmMessage::Paused { error: None }, None).unwrap();
    };
    let refused = |world: &world::World, why: &str| {
        assert_eq!(world.hear(), Some(KeeperMessage::Refused { message: why.to_owned() }));
    };
    let streams = world.started();
    world.ask(&ClientMessage::Unpause);
    refused(&world, "is not paused");
    world.ask(&ClientMessage::Pause);
    assert_eq!(vmm_told(&world), ToVmm::Pause);
    stands_still(&world);
    assert_eq!(world.hear(), Some(KeeperMessage::Paused));
    world.ask(&ClientMessage::Pause);
    refused(&world, "is already paused");
    world.ask(&ClientMessage::Unpause);
    assert_eq!(vmm_told(&world), ToVmm::Resume);
    assert_eq!(world.hear(), Some(KeeperMessage::GoesOn));
    world.ask(&ClientMessage::Pause);
    assert_eq!(vmm_told(&world), ToVmm::Pause);
    stands_still(&world);
    assert_eq!(world.hear(), Some(KeeperMessage::Paused));
    world.ask(&ClientMessage::Signal { signal: 10 });
    assert_eq!(vmm_told(&world), ToVmm::Resume);
    assert_eq!(world.told(), HostMessage::Signal { process_id: PROCESS, signal: 10 });
    // The process ends before the VM stands still.
    world.ask(&ClientMessage::Pause);
    assert_eq!(vmm_told(&world), ToVmm::Pause);
    world.exit(ExitStatus::Code(0));
    assert_eq!(vmm_told(&world), ToVmm::Resume);
    refused(&world, "was let go on at once");
    stands_still(&world);
    drop(streams);
    let (_, notes) = world.stops();
    assert_eq!(notes, ["started", "paused", "goes on", "paused", "goes on", "signal 10", "ended 0"]);
}
