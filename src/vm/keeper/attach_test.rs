//! Changes of a container's networks, against networks and guests that do not do what they are told.

use std::{
    net::Ipv4Addr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use hull_protocol::AgentMessage;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::{
    super::tests::world::{PATIENCE, Plan, World},
    *,
};
use crate::{
    network::{
        client::Membership,
        control::{Bound, Join, Protocol},
    },
    vm::control::ClientMessage,
    vmm::{
        channel::{Channel, Received},
        control::VmmMessage,
    },
};

/// Too little to wait for nothing, and enough for everything else on a busy host.
const LITTLE: Duration = Duration::from_secs(3);

/// A network that the test plays.
struct Played {
    channel: Channel,
    lease: Lease,
}

fn played(name: &str, third: u8, ports: Vec<Publication>) -> (Played, Membership) {
    let (channel, theirs) = Channel::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    set_socket_timeout(&channel, Timeout::Recv, Some(PATIENCE)).unwrap();
    let bound = |port: &Publication| {
        let at = std::net::SocketAddr::new(port.address.unwrap(), port.ports.0);
        Bound { inside: port.inside, protocol: port.protocol, at }
    };
    let lease = Lease {
        address: Ipv4Addr::new(172, 30, third, 2),
        prefix: 24,
        gateway: Ipv4Addr::new(172, 30, third, 1),
        mac: [2, 0, 0, 0, 0, 2],
        v6: None,
        ports: ports.iter().map(bound).collect(),
        search: Vec::new(),
    };
    let frames = OwnedFd::from(UnixStream::pair().unwrap().0);
    let membership = Membership::played(name, Join { ports, ..Join::default() }, theirs, frames);
    (Played { channel, lease }, membership)
}

impl Played {
    fn takes_in(&self) {
        self.says(&Answer::Joined(self.lease.clone()));
    }

    fn says(&self, answer: &Answer) {
        self.channel.send(answer, None).unwrap();
    }

    /// Which ports it is to publish next, and which not any more.
    fn told(&self) -> Republish {
        loop {
            match self.channel.receive().unwrap() {
                Received::Message(Request::Publish, file) => return control::read(file.unwrap()).unwrap(),
                Received::Message(Request::Elsewhere { .. }, _) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The VM parts.
    fn is_left(&self) {
        while let Received::Message(Request::Elsewhere { .. }, _) = self.channel.receive().unwrap() {}
    }
}

fn port() -> Publication {
    let address = Some(Ipv4Addr::LOCALHOST.into());
    Publication { inside: 80, protocol: Protocol::Tcp, address, ports: (8080, 8080) }
}

/// A container that runs, in networks `one`, by which a port is reached, and `two`.
fn in_two(change: Duration) -> (World, Played, Played) {
    let (one, membership) = played("one", 1, vec![port()]);
    let mut plan = Plan { network: Some(membership), ..Plan::new() };
    plan.limits.change = change;
    one.takes_in();
    let mut world = plan.begin();
    world.started();
    let (two, membership) = played("two", 2, Vec::new());
    connect(&world, membership);
    two.takes_in();
    assert_eq!(guest_told(&mut world).len(), 2);
    world.say(&AgentMessage::Connected { error: None });
    assert_eq!(world.hear(), Some(KeeperMessage::Updated { warning: None }));
    assert!(world.notes.have("in two"));
    (world, one, two)
}

fn connect(world: &World, membership: Membership) {
    let network = membership.network().to_owned();
    world.notes.expect(membership);
    world.ask(&ClientMessage::Connect { network, aliases: Vec::new(), address: None });
}

fn disconnect(world: &World, network: &str) {
    world.ask(&ClientMessage::Disconnect { network: network.to_owned() });
}

fn guest_told(world: &mut World) -> Vec<hull_protocol::Network> {
    match world.told() {
        HostMessage::Networks { networks, .. } => networks,
        other => panic!("{other:?}"),
    }
}

fn refusal(world: &World) -> String {
    match world.hear() {
        Some(KeeperMessage::Refused { message }) => message,
        other => panic!("{other:?}"),
    }
}

fn end(mut world: World) {
    world.vmm_ends(None);
    world.outcome();
}

#[test]
fn a_guest_that_refuses_to_leave_a_network_has_left_it() {
    let (mut world, _one, two) = in_two(PATIENCE);
    disconnect(&world, "two");
    assert_eq!(guest_told(&mut world).len(), 1);
    world.say(&AgentMessage::Connected { error: Some("I stay".to_owned()) });
    two.is_left();
    assert_eq!(world.hear(), Some(KeeperMessage::Updated { warning: None }));
    assert!(world.notes.have("not in two"));
    end(world);
}

#[test]
fn a_guest_that_says_nothing_has_left_a_network_in_time() {
    let (mut world, _one, two) = in_two(LITTLE);
    disconnect(&world, "two");
    two.is_left();
    assert_eq!(world.hear(), Some(KeeperMessage::Updated { warning: None }));
    // It has not answered yet: that is not taken for the answer to what it is told next, which comes too late as well.
    let (three, membership) = played("three", 3, Vec::new());
    connect(&world, membership);
    three.takes_in();
    assert_eq!((guest_told(&mut world).len(), guest_told(&mut world).len()), (1, 2));
    world.say(&AgentMessage::Connected { error: None });
    assert!(refusal(&world).contains("its guest does not answer"));
    three.is_left();
    assert!(!world.notes.have("in three"));
    assert_eq!(guest_told(&mut world).len(), 1);
    end(world);
}

#[test]
fn a_guest_that_stands_still_leaves_a_network_at_once() {
    let (mut world, _one, two) = in_two(PATIENCE);
    world.ask(&ClientMessage::Pause);
    while !matches!(world.vmm.as_ref().unwrap().receive().unwrap(), Received::Message(ToVmm::Pause, _)) {}
    world.vmm.as_ref().unwrap().send(&VmmMessage::Paused { error: None }, None).unwrap();
    assert_eq!(world.hear(), Some(KeeperMessage::Paused));
    let (_three, membership) = played("three", 3, Vec::new());
    connect(&world, membership);
    assert!(refusal(&world).contains("is paused"));
    disconnect(&world, "two");
    two.is_left();
    assert_eq!(world.hear(), Some(KeeperMessage::Updated { warning: None }));
    assert_eq!(guest_told(&mut world).len(), 1);
    end(world);
}

#[test]
fn a_network_that_says_nothing_is_not_waited_for() {
    let (world, one, two) = in_two(LITTLE);
    let (three, membership) = played("three", 3, Vec::new());
    connect(&world, membership);
    three.is_left();
    assert!(refusal(&world).contains("process does not answer"));
    // Nor for its ports: it is looked for anew, and has them as they were.
    let wanted = Republish { add: Vec::new(), remove: vec![(80, Protocol::Tcp)] };
    let file = control::write(&wanted).unwrap();
    let front_end = world.front_end.as_ref().unwrap();
    front_end.send(&ClientMessage::Publish, Some(file.as_fd())).unwrap();
    assert_eq!(one.told(), wanted);
    one.is_left();
    assert!(refusal(&world).contains("lost its network"));
    drop(two);
    end(world);
}

#[test]
fn ports_that_the_next_network_does_not_take_are_warned_of() {
    let (mut world, one, two) = in_two(PATIENCE);
    disconnect(&world, "one");
    guest_told(&mut world);
    world.say(&AgentMessage::Connected { error: None });
    assert_eq!(one.told(), Republish { add: Vec::new(), remove: vec![(80, Protocol::Tcp)] });
    one.says(&Answer::Published { ports: Vec::new() });
    one.is_left();
    assert_eq!(two.told(), Republish { add: vec![port()], remove: Vec::new() });
    two.says(&Answer::Refused { message: "it is taken".to_owned() });
    match world.hear() {
        Some(KeeperMessage::Updated { warning: Some(warning) }) => assert!(warning.contains("it is taken")),
        other => panic!("{other:?}"),
    }
    assert!(world.notes.have("not in one"));
    end(world);
}

#[test]
fn ports_of_a_network_that_was_lost_are_the_next_ones() {
    let (mut world, one, two) = in_two(PATIENCE);
    disconnect(&world, "one");
    guest_told(&mut world);
    drop(one);
    world.say(&AgentMessage::Connected { error: None });
    assert_eq!(two.told(), Republish { add: vec![port()], remove: Vec::new() });
    let at = std::net::SocketAddr::new(port().address.unwrap(), 8080);
    let ports = vec![Bound { inside: 80, protocol: Protocol::Tcp, at }];
    two.says(&Answer::Published { ports });
    assert_eq!(world.hear(), Some(KeeperMessage::Updated { warning: None }));
    end(world);
}
