use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::{fd::AsFd, unix::net::UnixStream},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    network::{
        control::{Answer, Join, Lease, Request},
        server::tests::World,
        wire::{ETHERNET, Flags, Frame, Headers, IPV6, Mac, Segment},
    },
    vm::folder,
    vmm::channel::{Channel, Received},
};

/// A member that says what a test wants.
struct Raw {
    stream: UnixStream,
    lease: Lease,
    v6: NetworkV6,
    _keeper: Channel,
}

impl Raw {
    fn join(world: &World, join: Join) -> Self {
        let channel = Channel::from(folder::connect(world.folder.path()).unwrap());
        let (near, far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        channel.send(&Request::Join(join), Some(far.as_fd())).unwrap();
        let Received::Message(Answer::Joined(lease), _) = channel.receive().unwrap() else { panic!() };
        let v6 = lease.v6.unwrap();
        Self { stream: near, lease, v6, _keeper: channel }
    }

    fn send(&mut self, frame: &[u8]) {
        let framed = [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
        self.stream.write_all(&framed).unwrap();
    }

    /// Sends a packet to whoever has the Ethernet address, as from there.
    fn say(&mut self, ethernet: Mac, from: Ipv6Addr, to: Ipv6Addr, protocol: u8, payload: &[u8]) {
        let headers =
            Headers::ip((self.lease.mac, ethernet), from.into(), to.into(), protocol, payload.len());
        let mut frame = [headers.bytes(), payload].concat();
        frame[ETHERNET + 7] = 255;
        self.send(&frame);
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).unwrap();
        frame
    }
}

const ALL: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What a packet of ICMP says, and who says so.
fn icmp(frame: &[u8]) -> (IpAddr, Vec<u8>) {
    let frame = Frame::parse(frame).unwrap();
    let packet = Packet::parse(frame.kind, frame.payload).unwrap();
    assert_eq!(packet.protocol, ICMP6);
    (packet.from, packet.payload.to_vec())
}

fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat()
}

const ECHO: [u8; 12] = [128, 0, 0, 0, 1, 2, 3, 4, b'e', b'c', b'h', b'o'];

#[test]
fn neighbours_are_answered_for_and_none_speaks_for_another() {
    let world = World::new(|_| {});
    let (mut one, mut other) = (Raw::join(&world, Join::default()), Raw::join(&world, Join::default()));
    let (own, its, gateway) = (one.v6.address, other.v6.address, one.v6.gateway);
    assert_eq!(its.to_string(), "fd12:3456:789a::3");
    for (asked, mac, flags) in
        [(its, other.lease.mac, 0x60), (gateway, super::super::address::mac(one.lease.gateway), 0xe0)]
    {
        one.say(ALL, own, ALL_NODES, ICMP6, &solicitation(asked));
        let (from, answer) = icmp(&one.hear());
        assert_eq!((from, answer[0], answer[4]), (IpAddr::from(asked), 136, flags));
        assert_eq!((&answer[8..24], &answer[26..]), (&asked.octets()[..], &mac[..]));
    }
    // An advertisement of the other's address, of a router, a redirect; for all, for one, and behind an extension.
    for kind in [134, 136, 137] {
        let mut lie = [0; 40];
        lie[0] = kind;
        one.say(ALL, own, ALL_NODES, ICMP6, &lie);
        one.say(other.lease.mac, own, its, ICMP6, &lie);
        one.say(other.lease.mac, own, its, 60, &[&[ICMP6, 0, 0, 0, 0, 0, 0, 0][..], &lie].concat());
    }
    // What is from somebody else, or from nobody.
    for forged in [gateway, its, Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST] {
        one.say(other.lease.mac, forged, its, ICMP6, &ECHO);
    }
    one.say(other.lease.mac, own, its, ICMP6, &ECHO);
    let (from, said) = icmp(&other.hear());
    assert_eq!((from, &said[..]), (own.into(), &ECHO[..]), "and nothing before");
    one.say(ALL, own, ALL_NODES, ICMP6, &ECHO);
    assert_eq!(icmp(&other.hear()).1, ECHO);
    world.end();
}

#[test]
fn the_gateway_answers_and_nobody_is_where_nobody_is() {
    let world = World::new(|_| {});
    let mut one = Raw::join(&world, Join::default());
    let (own, gateway) = (one.v6.address, one.v6.gateway);
    let router = super::super::address::mac(one.lease.gateway);
    one.say(router, own, gateway, ICMP6, &ECHO);
    let frame = one.hear();
    let (from, answer) = icmp(&frame);
    assert_eq!((from, answer[0], &answer[4..]), (gateway.into(), 129, &ECHO[4..]));
    let pseudo = crate::network::wire::sum(u64::from(ICMP6) + 12, &frame[ETHERNET + 8..ETHERNET + 40]);
    assert_eq!(crate::network::wire::fold(crate::network::wire::sum(pseudo, &answer)), 0);
    // A member that is not there, and an IPv4 address in disguise.
    for nobody in ["fd12:3456:789a::9", "fd12:3456:789a:0:1::", "::ffff:127.0.0.1", "::ffff:172.30.0.1"] {
        one.say(router, own, nobody.parse().unwrap(), TCP, &[0; 20]);
        let (from, answer) = icmp(&one.hear());
        assert_eq!((from, &answer[..2]), (gateway.into(), &[1, 3][..]), "{nobody}");
        assert_eq!(answer[8 + 8..8 + 24], own.octets(), "what it was about");
    }
    world.end();
}

/// A call to a port of somebody, and what is said to it.
fn call(one: &mut Raw, to: SocketAddr) -> Flags {
    let SocketAddr::V6(at) = to else { panic!() };
    let mut segment = [0; 20];
    segment[..2].copy_from_slice(&1000u16.to_be_bytes());
    segment[2..4].copy_from_slice(&at.port().to_be_bytes());
    (segment[12], segment[13]) = (5 << 4, Flags::SYN.0);
    let router = super::super::address::mac(one.lease.gateway);
    one.say(router, one.v6.address, *at.ip(), TCP, &segment);
    let frame = one.hear();
    let packet = Packet::parse(IPV6, &frame[ETHERNET..]).unwrap();
    Segment::parse(packet.payload)
        .filter(|_| packet.protocol == TCP)
        .map_or(Flags(0), |segment| segment.flags)
}

#[test]
fn the_hosts_loopback_is_reached_by_whom_it_was_opened_for() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    let world = World::new(|_| {});
    let mut closed = Raw::join(&world, Join::default());
    let mut open = Raw::join(&world, Join { host: true, ..Join::default() });
    let gateway = SocketAddr::new(open.v6.gateway.into(), port);
    let refused = Flags::RST.and(Flags::ACK);
    assert_eq!(call(&mut open, gateway), Flags::SYN.and(Flags::ACK));
    for nobody in ["::1", "::7f00:1", "fe80::1", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "2002:7f00:1::"] {
        let to = SocketAddr::new(nobody.parse().unwrap(), port);
        assert_eq!(call(&mut closed, to), refused, "{nobody}");
        assert_eq!(call(&mut open, to), refused, "{nobody}");
    }
    assert_ne!(call(&mut closed, gateway), Flags::SYN.and(Flags::ACK));
    world.end();
}

proptest! {
    /// Whatever stands in front of it, what is said between neighbours is known as that, or is no packet.
    #[test]
    fn nothing_hides_a_neighbour(
        kind in 133..=137u8,
        chain in vec((prop_oneof![Just(0u8), Just(60), Just(43), Just(44), Just(51), any::<u8>()], 0..3u8), 0..7),
        rest in vec(any::<u8>(), 0..40),
    ) {
        let mut payload = Vec::new();
        let mut nexts: Vec<u8> = chain.iter().map(|(next, _)| *next).collect();
        nexts.push(ICMP6);
        for ((_, length), next) in chain.iter().zip(&nexts[1..]) {
            payload.extend([*next, *length]);
            payload.resize(payload.len() + usize::from(*length) * 8 + 6, 0);
        }
        payload.push(kind);
        payload.extend(rest);
        let ends = (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        let headers = Headers::ip(([0; 6], [0; 6]), ends.0, ends.1, nexts[0], payload.len());
        let bytes = [&headers.bytes()[ETHERNET..], &payload].concat();
        if let Some(packet) = Packet::parse(IPV6, &bytes) {
            // Where all that is in front can be passed over, by the guest as by us.
            let passable = nexts[..nexts.len() - 1].iter().all(|next| [0, 60].contains(next));
            prop_assert!(!passable || is_of_the_link(&packet));
        }
    }
}
