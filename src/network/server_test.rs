//! A network in a thread, and guests that the driver of `hull bench network` plays.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use tempfile::TempDir;

use super::*;
use crate::{
    bench::network::guest::{Guest, fill, wire},
    network::{
        control::{self, Answer, Join, Lease, Protocol, Publication, Request},
        rate,
    },
    vmm::channel::{Channel, Received},
};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub folder: TempDir,
    over: Arc<AtomicBool>,
    network: Option<JoinHandle<Left>>,
}

/// What a network has at its end.
pub struct Left {
    usage: Usage,
    timers: usize,
    conversations: usize,
}

impl World {
    pub fn new(change: impl FnOnce(&mut Network) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let door = folder::listen(folder.path()).unwrap();
        let config = Config {
            name: "test".to_owned(),
            id: "0".repeat(64),
            created: String::new(),
            subnet: "172.30.0.0/16".parse().unwrap(),
            subnet6: Some("fd12:3456:789a::/64".parse().unwrap()),
            labels: Default::default(),
        };
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let path = folder.path().to_owned();
        let network = thread::spawn(move || {
            let mut network = Network::new(&config, path, door).unwrap();
            change(&mut network);
            // What was on its way then is still seen to.
            let mut left = 20;
            while left > 0 {
                left -= u32::from(is_over.load(Ordering::Relaxed));
                network.turn(Some(Duration::from_millis(10))).unwrap();
            }
            Left {
                usage: network.usage,
                timers: network.flows.timers.len(),
                conversations: network.conversations.len(),
            }
        });
        Self { folder, over, network: Some(network) }
    }

    fn ask(&self, join: Join) -> Result<(Guest, Lease, Channel), String> {
        let channel = Channel::from(folder::connect(self.folder.path()).unwrap());
        let (near, far) = wire().unwrap();
        channel.send(&Request::Join(join), Some(far.as_fd())).unwrap();
        match channel.receive().unwrap() {
            Received::Message(Answer::Joined(lease), _) => {
                let guest = Guest::new(near, lease.mac, lease.address, address::mac(lease.gateway));
                Ok((guest, lease, channel))
            }
            Received::Message(Answer::Refused { message }, _) => Err(message),
            other => panic!("{other:?}"),
        }
    }

    fn join(&self, join: Join) -> (Guest, Lease, Channel) {
        self.ask(join).unwrap()
    }

    pub fn end(mut self) -> Left {
        self.over.store(true, Ordering::Relaxed);
        self.network.take().unwrap().join().unwrap()
    }
}

fn published(protocol: Protocol, address: Option<&str>) -> Join {
    let address = address.map(|address| address.parse().unwrap());
    Join { ports: vec![Publication { inside: 80, protocol, address, ports: (0, 0) }], ..Join::default() }
}

/// An address of this host that guests have a way to, if it has one.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let address = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr()).ok()?.ip();
    match address {
        IpAddr::V4(address) if address::reachable(address.into()) => Some(address),
        _ => None,
    }
}

/// Says back what it is told.
fn echo(address: Ipv4Addr) -> SocketAddrV4 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    let _ = stream.write_all(&bytes[..count]);
                }
            });
        }
    });
    SocketAddrV4::new(address, port)
}

/// Has a guest say so much and hear it again.
fn converses(guest: &mut Guest, with: SocketAddrV4, bytes: u64) -> bool {
    let name = guest.call(with, bytes, true);
    guest.until(PATIENCE, |guest| guest.connections[&name].is_over());
    let connection = guest.connections.remove(&name).unwrap();
    !connection.reset && !connection.wrong && connection.heard == bytes
}

#[test]
fn a_guest_that_only_calls_costs_little_and_keeps_nobody_from_anything() {
    let Some(address) = own_address() else { return };
    let echo = echo(address);
    let world = World::new(|_| {});
    let (mut bad, _, _bad) = world.join(Join::default());
    let (mut good, _, _good) = world.join(Join::default());
    for turn in 0..20 {
        for port in 0..1000u16 {
            bad.call_in_vain(10_000 + turn * 1000 + port, echo);
        }
        bad.until(PATIENCE, Guest::has_room);
        assert!(converses(&mut good, echo, 1000), "turn {turn}");
    }
    let network = world.end();
    assert!(network.usage.half_open <= 1024, "{:?}", network.usage);
    assert!(network.usage.flows <= 1024, "{:?}", network.usage);
    assert!(network.timers < 10_000, "{}", network.timers);
}

#[test]
fn one_guest_does_not_take_all_connections() {
    let Some(address) = own_address() else { return };
    let echo = echo(address);
    let world = World::new(|network| network.descriptors = 328);
    let (mut bad, _, _bad) = world.join(Join::default());
    let (mut good, _, _good) = world.join(Join::default());
    let names: Vec<_> = (0..300).map(|_| bad.call(echo, 0, false)).collect();
    let settled = |guest: &mut Guest| {
        names.iter().all(|name| guest.connections[name].open || guest.connections[name].reset)
    };
    assert!(bad.until(PATIENCE, settled));
    let open = names.iter().filter(|name| bad.connections[*name].open).count();
    assert!((90..=100).contains(&open), "{open} of 300 were opened");
    assert!(converses(&mut good, echo, 100_000));
    // What one gives back another call gets.
    for name in names {
        bad.say(name, 0, true);
    }
    assert!(bad.until(PATIENCE, |bad| bad.connections.values().all(|it| it.is_over())));
    bad.connections.clear();
    // The last of them may be over only when what was sent with it is read.
    assert!((0..10).any(|_| converses(&mut bad, echo, 100_000)));
    let network = world.end();
    assert_eq!((network.usage.half_open, network.usage.bytes), (0, 0));
}

#[test]
fn a_listener_rests_while_there_is_no_room() {
    let world = World::new(|network| network.descriptors = 128 + 5 + 40);
    let (mut guest, lease, _keeper) = world.join(published(Protocol::Tcp, Some("127.0.0.1")));
    guest.listens.push(80);
    let at = lease.ports[0].at;
    let mut streams: Vec<_> = (0..60).map(|_| TcpStream::connect(at).unwrap()).collect();
    let open = |guest: &Guest| guest.connections.values().filter(|it| it.open && !it.is_over()).count();
    assert!(guest.until(PATIENCE, |guest| open(guest) >= 15));
    guest.until(Duration::from_millis(300), |_| false);
    let most = open(&guest);
    assert!(most <= 25, "{most} are open");
    // Those that waited come when others go.
    let mut served = 0;
    while !streams.is_empty() {
        drop(streams.drain(..streams.len().min(10)));
        guest.until(PATIENCE, |guest| {
            let ended: Vec<_> = guest
                .connections
                .iter()
                .filter(|(_, it)| it.ended && !it.ends)
                .map(|(name, _)| *name)
                .collect();
            ended.into_iter().for_each(|name| guest.say(name, 0, true));
            let over = guest.connections.len();
            guest.connections.retain(|_, it| !it.is_over());
            served += over - guest.connections.len();
            open(guest) + streams.len() == 0 || served % 10 == 0 && served > 0
        });
    }
    assert!(
        guest.until(PATIENCE, |guest| {
            let ended: Vec<_> = guest.connections.keys().copied().collect();
            ended.into_iter().for_each(|name| guest.say(name, 0, true));
            let before = guest.connections.len();
            guest.connections.retain(|_, it| !it.is_over());
            served += before - guest.connections.len();
            served == 60
        }),
        "{served} of 60 were served"
    );
    world.end();
}

#[test]
fn peers_with_the_same_port_are_told_apart() {
    let world = World::new(|_| {});
    let (mut guest, lease, _keeper) = world.join(published(Protocol::Udp, None));
    let port = lease.ports[0].at.port();
    let four = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = four.local_addr().unwrap().port();
    let Ok(six) = UdpSocket::bind(("::1", own)) else { return };
    let other = UdpSocket::bind(("127.0.0.2", own)).unwrap();
    let peers = [(&four, "127.0.0.1", "four"), (&six, "::1", "six"), (&other, "127.0.0.1", "other")];
    for (socket, to, name) in peers {
        socket.send_to(name.as_bytes(), (to, port)).unwrap();
    }
    assert!(guest.until(PATIENCE, |guest| guest.datagrams.len() == 3));
    for (to, from, said) in std::mem::take(&mut guest.datagrams) {
        let SocketAddr::V4(from) = from else { panic!("{from}") };
        guest.tell(to, from, &[b"to ", &*said].concat());
    }
    guest.turn(Duration::ZERO);
    for (socket, _, name) in peers {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer[..length]), format!("to {name}"));
    }
    world.end();
}

#[test]
fn a_guest_that_speaks_to_many_ends_its_own_conversations_only() {
    let Some(address) = own_address() else { return };
    let server = UdpSocket::bind((address, 0)).unwrap();
    let to = SocketAddrV4::new(address, server.local_addr().unwrap().port());
    let world = World::new(|_| {});
    let (mut bad, _, _bad) = world.join(Join::default());
    let (mut good, _, _good) = world.join(Join::default());
    good.tell(5000, to, b"good");
    let mut buffer = [0; 100];
    let (_, good_from) = server.recv_from(&mut buffer).unwrap();
    for port in 10_000..20_000 {
        bad.tell(port, to, b"bad");
    }
    bad.until(PATIENCE, Guest::has_room);
    assert!(bad.until(PATIENCE, |_| {
        // The others' answers are of no interest.
        server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        server.recv_from(&mut buffer).is_err()
    }));
    server.send_to(b"still there", good_from).unwrap();
    assert!(good.until(PATIENCE, |good| !good.datagrams.is_empty()));
    assert_eq!(good.datagrams[0].2, b"still there");
    let network = world.end();
    assert!(network.conversations <= 4096 / 2 + 1, "{}", network.conversations);
}

#[test]
fn a_card_that_somebody_chose_is_nobody_elses() {
    let world = World::new(|_| {});
    let third = address::mac(Ipv4Addr::new(172, 30, 0, 3));
    let (_a, first, _first) = world.join(Join { mac: Some(third), ..Join::default() });
    let (_b, second, _second) = world.join(Join::default());
    assert_eq!((first.address.octets()[3], second.address.octets()[3]), (2, 3));
    assert_ne!(second.mac, third);
    let refused = world.ask(Join { mac: Some(third), ..Join::default() }).err().unwrap();
    assert!(refused.contains("is the MAC address of another"), "{refused}");
    world.end();
}

#[test]
fn many_connections_come_through_a_published_port() {
    let world = World::new(|_| {});
    let (mut guest, lease, _keeper) = world.join(published(Protocol::Tcp, Some("127.0.0.1")));
    guest.listens.push(80);
    let at = lease.ports[0].at;
    let (at_once, in_turn) = (1000, 10_000);
    let clients = thread::spawn(move || {
        let serve = |mut stream: TcpStream| {
            let mut said = [0; 100];
            fill(&mut said, 0);
            stream.write_all(&said).unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            assert_eq!(heard, said);
        };
        let all: Vec<_> = (0..at_once).map(|_| TcpStream::connect(at).unwrap()).collect();
        all.into_iter().for_each(serve);
        for _ in 0..in_turn {
            serve(TcpStream::connect(at).unwrap());
        }
    });
    let mut served = 0;
    let mut most = 0;
    let all = guest.until(5 * PATIENCE, |guest| {
        most = most.max(guest.connections.len());
        let heard: Vec<_> = guest
            .connections
            .iter()
            .filter(|(_, it)| it.heard == 100 && !it.ends)
            .map(|(name, _)| *name)
            .collect();
        heard.into_iter().for_each(|name| guest.say(name, 100, true));
        let before = guest.connections.len();
        assert!(guest.connections.values().all(|it| !it.reset && !it.wrong));
        guest.connections.retain(|_, it| !it.is_over());
        served += before - guest.connections.len();
        served == at_once + in_turn
    });
    assert!(all, "{served} were served");
    clients.join().unwrap();
    assert!(most >= at_once, "{most} at once");
    let network = world.end();
    assert_eq!(network.usage, Usage::default());
}

/// Whether a guest is heard by a server. That it is not shows by waiting.
fn reaches(guest: &mut Guest, to: SocketAddrV4, expected: bool) -> bool {
    let name = guest.call(to, 1, true);
    let patience = if expected { PATIENCE } else { Duration::from_secs(1) };
    guest.until(patience, |guest| guest.connections[&name].open || guest.connections[&name].reset);
    guest.connections.remove(&name).is_some_and(|connection| connection.open)
}

#[test]
fn a_guest_calls_only_whom_it_may() {
    let Some(address) = own_address() else { return };
    let echo = echo(address);
    let world = World::new(|_| {});
    let rules = |text: &str| Some(crate::network::egress::parse(text).unwrap());
    for (egress, expected) in [
        (None, true),
        (rules("deny"), false),
        (rules("allow=203.0.113.0/24,example.com"), false),
        (rules(&format!("allow={address}")), true),
    ] {
        let (mut guest, lease, _keeper) = world.join(Join { egress, ..Join::default() });
        assert_eq!(reaches(&mut guest, echo, expected), expected);
        // By its other name, too.
        assert_eq!(reaches(&mut guest, SocketAddrV4::new(lease.gateway, echo.port()), expected), expected);
    }
    world.end();
}

#[test]
fn the_hosts_loopback_is_reached_by_whom_it_was_opened_for() {
    let inner = echo(Ipv4Addr::LOCALHOST);
    let world = World::new(|_| {});
    for host in [false, true] {
        let (mut guest, lease, _keeper) = world.join(Join { host, ..Join::default() });
        assert_eq!(reaches(&mut guest, SocketAddrV4::new(lease.gateway, inner.port()), host), host);
        assert!(!reaches(&mut guest, inner, false), "by its own address never");
    }
    world.end();
}

/// What a network answers next.
fn answer(keeper: &Channel) -> Answer {
    match keeper.receive().unwrap() {
        Received::Message(answer, _) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ports_are_added_and_removed() {
    let world = World::new(|_| {});
    let join = published(Protocol::Tcp, Some("127.0.0.1"));
    let (_guest, lease, keeper) = world.join(join.clone());
    let first = lease.ports[0];
    let say = |wanted: &control::Republish| {
        let file = control::write(wanted).unwrap();
        keeper.send(&Request::Publish, Some(file.as_fd())).unwrap();
        answer(&keeper)
    };
    let more = Publication { inside: 81, ..join.ports[0].clone() };
    let Answer::Published { ports } = say(&control::Republish { add: vec![more.clone()], remove: vec![] })
    else {
        panic!()
    };
    assert_eq!((ports.len(), ports[0], ports[1].inside), (2, first, 81));
    // One of two is taken: all is as before.
    let taken = Publication { ports: (ports[1].at.port(), ports[1].at.port()), inside: 82, ..more.clone() };
    let wanted = control::Republish {
        add: vec![Publication { inside: 83, ..more }, taken.clone()],
        remove: vec![(80, Protocol::Tcp)],
    };
    let Answer::Refused { message } = say(&wanted) else { panic!() };
    assert!(message.contains("already in use"), "{message}");
    assert!(TcpStream::connect(first.at).is_ok());
    // Where one was removed another is added at once.
    let there = Publication { ports: (first.at.port(), first.at.port()), inside: 84, ..taken.clone() };
    let wanted = control::Republish { add: vec![there.clone()], remove: vec![(80, Protocol::Tcp)] };
    let Answer::Published { ports } = say(&wanted) else { panic!() };
    assert_eq!(ports.iter().map(|port| port.inside).collect::<Vec<_>>(), [81, 84]);
    let back = Publication { inside: 80, ..there };
    let wanted = control::Republish { add: vec![back], remove: vec![(84, Protocol::Tcp)] };
    let Answer::Published { ports } = say(&wanted) else { panic!() };
    assert_eq!((ports.len(), ports[1]), (2, first));
    let all = vec![(80, Protocol::Tcp), (81, Protocol::Udp)];
    let Answer::Published { ports } = say(&control::Republish { add: vec![], remove: all }) else { panic!() };
    assert_eq!(ports.iter().map(|port| port.inside).collect::<Vec<_>>(), [81]);
    assert!(TcpStream::connect(first.at).is_err());
    assert!(TcpStream::connect(ports[0].at).is_ok());
    world.end();
}

#[test]
fn an_ethernet_address_is_shared_by_who_has_it_elsewhere() {
    let world = World::new(|_| {});
    let (_first, lease, _keeper) = world.join(Join::default());
    let same = Join { mac: Some(lease.mac), ..Join::default() };
    assert!(world.ask(same.clone()).is_err_and(|message| message.contains("is the MAC address of another")));
    let (_second, other, _other_keeper) = world.join(Join { shares_card: true, ..same });
    assert_eq!(other.mac, lease.mac);
    assert_ne!(other.address, lease.address);
    world.end();
}

#[test]
fn names_are_written_down_while_somebody_elsewhere_may_ask() {
    let world = World::new(|_| {});
    let named = |name: &str| Join { names: vec![name.to_owned()], ..Join::default() };
    let (_first, _, keeper) = world.join(named("first"));
    let path = world.folder.path().join("names.json");
    let until = |what: &str, done: &dyn Fn(Option<String>) -> bool| {
        let end = Instant::now() + PATIENCE;
        while !done(std::fs::read_to_string(&path).ok()) {
            assert!(Instant::now() < end, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    };
    assert!(!path.exists());
    keeper.send(&Request::Elsewhere { networks: vec!["other".to_owned()] }, None).unwrap();
    until("a name", &|text| text.is_some_and(|text| text.contains("first")));
    let (_second, _, second) = world.join(named("second"));
    until("two names", &|text| text.is_some_and(|text| text.contains("second")));
    drop(second);
    until("one name", &|text| text.is_some_and(|text| !text.contains("second")));
    keeper.send(&Request::Elsewhere { networks: vec![] }, None).unwrap();
    until("no names", &|text| text.is_none());
    world.end();
}

#[test]
fn a_member_speaks_and_is_spoken_to_no_faster_than_it_may() {
    let Some(address) = own_address() else { return };
    let world = World::new(|_| {});
    let rate = rate::Rate { out: Some(1 << 20), into: Some(1 << 20) };
    let (mut slow, _, _slow) = world.join(Join { rate: Some(rate), ..Join::default() });
    let (mut fast, _, _fast) = world.join(Join::default());
    let with = echo(address);
    let begin = Instant::now();
    // What goes and what comes do so at once; a twentieth of a second may be had in advance, and a frame.
    let least = Duration::from_millis(850);
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            assert!(converses(&mut slow, with, 4 << 20));
            begin.elapsed()
        });
        // Nobody else waits for that.
        assert!(converses(&mut fast, with, 4 << 20));
        let fast = begin.elapsed();
        let slow = slow.join().unwrap();
        assert!(slow >= 3 * Duration::from_secs(1) + least, "{slow:?}");
        assert!(fast < slow / 2, "{fast:?} while the other takes {slow:?}");
    });
    world.end();
}
