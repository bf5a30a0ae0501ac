//! The end of a container whose data disk is wanted, or not any more.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use hull_protocol::{AgentMessage, ExitStatus, HostMessage};

use super::{
    tests::world::{Plan, World},
    *,
};
use crate::vm::control::ClientMessage;

fn kept() -> (Plan, tempfile::NamedTempFile) {
    let disk = tempfile::NamedTempFile::new().unwrap();
    let mut plan = Plan::new();
    plan.task.keep_disk = true;
    plan.task.data_disk = Some(disk.reopen().unwrap().into());
    (plan, disk)
}

fn exited(plan: Plan) -> World {
    let mut world = plan.begin();
    drop(world.started());
    world.exit(ExitStatus::Code(0));
    assert_eq!(world.told(), HostMessage::Shutdown);
    world
}

#[test]
fn a_disk_that_is_still_being_written_is_waited_for() {
    let (mut plan, disk) = kept();
    let limit = Duration::from_secs(1);
    plan.limits.shutdown = limit;
    let mut world = exited(plan);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                disk.as_file().set_modified(SystemTime::now()).unwrap();
                thread::sleep(Duration::from_millis(10));
            }
        });
        thread::sleep(limit * 5 / 2);
        world.say(&AgentMessage::Stopped { reason: "shutdown".to_owned() });
        over.store(true, Ordering::Relaxed);
    });
    let (outcome, _) = world.stops();
    assert_eq!(outcome.ending, Ending::Exited { code: 0, oom_killed: false, error: None });
}

#[test]
fn whoever_does_not_want_to_wait_for_the_disk_kills_again() {
    let (mut plan, _disk) = kept();
    plan.limits.shutdown = Duration::from_secs(1000);
    let world = exited(plan);
    world.ask(&ClientMessage::Signal { signal: KILL });
    let (outcome, _) = world.stops();
    let said = outcome.ending.error().unwrap();
    assert!(said.contains("killed before the writable layer was written"), "{said}");
}

#[test]
fn a_disk_that_nobody_wants_any_more_is_not_written() {
    for closing in [false, true] {
        let (mut plan, _disk) = kept();
        plan.limits.shutdown = Duration::from_secs(1000);
        let mut world = plan.begin();
        drop(world.started());
        if closing {
            world.exit(ExitStatus::Code(0));
            assert_eq!(world.told(), HostMessage::Shutdown);
        }
        world.ask(&ClientMessage::Discard);
        world.ask(&ClientMessage::Signal { signal: KILL });
        if !closing {
            assert_eq!(world.told(), HostMessage::Signal { process_id: PROCESS, signal: KILL });
            world.exit(ExitStatus::Signal(KILL));
        }
        let (outcome, _) = world.stops();
        assert_eq!(outcome.ending.error(), None);
    }
}
