//! The guest's side is played by another TCP, smoltcp's, and the wire between loses, repeats and turns round what it is told to.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp,
    time::Instant as SmolInstant,
    wire::{HardwareAddress, IpAddress, IpCidr},
};

use super::*;
use crate::network::{
    server::Ends,
    tcp::connection::headers,
    wire::{ETHERNET, Packet},
};

const GUEST: &str = "172.17.0.2:5000";
const OTHER: &str = "10.0.0.1:80";
/// A turn of the world takes so long.
const TURN: Duration = Duration::from_millis(20);

/// The guest's card: packets without Ethernet headers.
struct Card {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
    mtu: usize,
}

struct Received(Vec<u8>);
struct Sent<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut bytes = vec![0; length];
        let result = f(&mut bytes);
        self.0.push(bytes);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _now: SmolInstant) -> Option<(Received, Sent<'_>)> {
        let bytes = self.incoming.pop_front()?;
        Some((Received(bytes), Sent(&mut self.outgoing)))
    }

    fn transmit(&mut self, _now: SmolInstant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// What the wire does to a packet, by the next number of a list.
#[derive(Debug, Clone)]
struct Mischief {
    numbers: Vec<u8>,
    next: usize,
}

impl Mischief {
    fn carry(&mut self, packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut carried: Vec<Vec<u8>> = Vec::new();
        for packet in packets {
            let number = self.numbers.get(self.next).copied().unwrap_or(255);
            self.next += 1;
            match number {
                0..16 => {}
                16..24 => carried.extend([packet.clone(), packet]),
                24..40 => carried.insert(carried.len().saturating_sub(2), packet),
                _ => carried.push(packet),
            }
        }
        carried
    }
}

/// A guest, a network and somebody in the world.
struct World {
    card: Card,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    flow: Option<Flow>,
    mischief: Mischief,
    now: Instant,
    turns: u32,
    /// What each side has still to say, and what it has heard.
    guest_says: VecDeque<u8>,
    guest_heard: Vec<u8>,
    other_says: VecDeque<u8>,
    other_heard: Vec<u8>,
    /// The other takes so much at once.
    appetite: usize,
    /// What may wait.
    allowance: usize,
    shut: bool,
    over: bool,
}

impl World {
    fn new(mtu: usize, buffer: usize, appetite: usize, numbers: Vec<u8>) -> Self {
        let mut card = Card { incoming: VecDeque::new(), outgoing: Vec::new(), mtu };
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut card, SmolInstant::ZERO);
        interface.update_ip_addrs(|all| {
            all.push(IpCidr::new(IpAddress::v4(172, 17, 0, 2), 16)).expect("room for an address");
        });
        interface.routes_mut().add_default_ipv4_route([172, 17, 0, 1].into()).expect("room for a route");
        let room = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(tcp::Socket::new(room(), room()));
        Self {
            card,
            interface,
            sockets,
            handle,
            flow: None,
            mischief: Mischief { numbers, next: 0 },
            now: Instant::now(),
            turns: 0,
            guest_says: VecDeque::new(),
            guest_heard: Vec::new(),
            other_says: VecDeque::new(),
            other_heard: Vec::new(),
            appetite,
            allowance: BUFFER,
            shut: false,
            over: false,
        }
    }

    fn ends() -> Ends {
        Ends { guest: GUEST.parse().expect("an address"), other: OTHER.parse().expect("an address") }
    }

    fn guest_calls(&mut self) {
        let other = (IpAddress::v4(10, 0, 0, 1), 80);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        socket.connect(self.interface.context(), other, 5000).expect("a call");
    }

    fn guest_is_called(&mut self) {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        socket.listen(5000).expect("to listen");
        self.flow = Some(Flow::calling(u32::MAX - 5));
    }

    fn turn(&mut self) {
        self.turns += 1;
        self.now += TURN;
        let smol_now = SmolInstant::from_millis(i64::from(self.turns) * TURN.as_millis() as i64);
        self.interface.poll(smol_now, &mut self.card, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        while socket.can_send() && !self.guest_says.is_empty() {
            let (bytes, _) = self.guest_says.as_slices();
            let count = socket.send_slice(bytes).expect("to send");
            self.guest_says.drain(..count);
        }
        if self.guest_says.is_empty() && socket.may_send() {
            socket.close();
        }
        while socket.can_recv() {
            let heard = &mut self.guest_heard;
            socket.recv(|bytes| (bytes.len(), heard.extend_from_slice(bytes))).expect("to receive");
        }
        self.interface.poll(smol_now, &mut self.card, &mut self.sockets);
        let sent = std::mem::take(&mut self.card.outgoing);
        for packet in self.mischief.carry(sent) {
            self.hear(&packet);
        }
        self.work();
    }

    fn hear(&mut self, packet: &[u8]) {
        let packet = Packet::parse(crate::network::wire::IPV4, packet).expect("a packet");
        let segment = Segment::parse(packet.payload).expect("a segment");
        let (now, appetite, heard) = (self.now, self.appetite, &mut self.other_heard);
        match &mut self.flow {
            None if segment.flags == Flags::SYN && !self.over => {
                let mut flow = Flow::called(u32::MAX - 5, &segment);
                flow.answer();
                self.flow = Some(flow);
            }
            None => {}
            Some(flow) => {
                let mut take = |bytes: &[u8]| {
                    let count = bytes.len().min(appetite);
                    heard.extend_from_slice(&bytes[..count]);
                    count
                };
                if flow.hear(&segment, now, &mut take) == Heard::Reset {
                    // It has waited in vain for a last acknowledgement, and is gone: nothing is lost by that.
                    let closed =
                        self.sockets.get::<tcp::Socket<'_>>(self.handle).state() == tcp::State::Closed;
                    let said = flow.is_finished() && flow.input().is_empty() && self.other_says.is_empty();
                    assert!(closed && said, "nobody resets it: {segment:?}");
                    (self.flow, self.over, self.shut) = (None, true, true);
                }
            }
        }
    }

    /// What a connection does between the flow and the socket of the host.
    fn work(&mut self) {
        let Some(flow) = &mut self.flow else { return };
        assert!(flow.expire(self.now), "nobody gives up");
        flow.allow(self.allowance);
        let (first, _) = flow.input().part(0, self.appetite);
        self.other_heard.extend_from_slice(first);
        let count = first.len();
        flow.input().consume(count);
        self.shut |= flow.is_finished() && flow.input().is_empty();
        if flow.is_open() {
            let room = flow.most_output().saturating_sub(flow.output().len());
            let count = room.min(self.other_says.len());
            let bytes: Vec<u8> = self.other_says.drain(..count).collect();
            flow.output().extend(&bytes);
            if self.other_says.is_empty() {
                flow.finish();
            }
        }
        let mut sent = Vec::new();
        let mut send = |out: Out<'_>| {
            let (first, second) = out.payload;
            let headers = headers(([2; 6], [4; 6]), Self::ends(), &out);
            sent.push([&headers.bytes()[ETHERNET..], first, second].concat());
            true
        };
        flow.speak(self.now, &mut send);
        if flow.is_over() {
            (self.flow, self.over) = (None, true);
        }
        let carried = self.mischief.carry(sent);
        self.card.incoming.extend(carried);
    }

    /// Until both have said all, and the guest knows that it has been heard.
    fn run(&mut self, turns: u32) {
        while self.turns < turns {
            self.turn();
            let state = self.sockets.get::<tcp::Socket<'_>>(self.handle).state();
            // In the latter two it has heard all, and lacks the last acknowledgement, in whose place it is sent a reset.
            let closed = matches!(
                state,
                tcp::State::Closed | tcp::State::TimeWait | tcp::State::LastAck | tcp::State::Closing
            );
            if self.over && closed {
                return;
            }
        }
        let state = self.sockets.get::<tcp::Socket<'_>>(self.handle).state();
        panic!("stuck: the guest is {state:?}, the flow {:?}", self.flow);
    }
}

fn pattern(count: usize, salt: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 31 + i / 253 * salt) as u8).collect()
}

fn exchange(mut world: World, guest: usize, other: usize, called: bool) {
    let (from_guest, from_other) = (pattern(guest, 3), pattern(other, 5));
    world.guest_says.extend(&from_guest);
    world.other_says.extend(&from_other);
    if called {
        world.guest_is_called()
    } else {
        world.guest_calls()
    }
    world.run(60_000);
    assert!(world.other_heard == from_guest, "{} of {guest} bytes of the guest's", world.other_heard.len());
    assert!(world.guest_heard == from_other, "{} of {other} bytes for the guest", world.guest_heard.len());
    assert!(world.shut, "the host is told of the end");
}

#[test]
fn large_segments_go_both_ways() {
    for called in [false, true] {
        exchange(World::new(65520, 300_000, usize::MAX, Vec::new()), 2_000_000, 3_000_000, called);
    }
}

#[test]
fn nothing_at_all_is_said() {
    for called in [false, true] {
        exchange(World::new(1500, 4000, usize::MAX, Vec::new()), 0, 0, called);
    }
}

#[test]
fn a_host_that_takes_little_holds_the_guest_up() {
    exchange(World::new(65520, 1 << 20, 10_000, Vec::new()), 3_000_000, 10, false);
}

#[test]
fn a_connection_that_may_keep_little_loses_nothing() {
    for called in [false, true] {
        let mut world = World::new(65520, 300_000, 100, Vec::new());
        world.allowance = 9000;
        exchange(world, 200_000, 2_000_000, called);
    }
}

#[test]
fn a_guest_with_a_tiny_window_gets_all() {
    exchange(World::new(1500, 100, usize::MAX, Vec::new()), 1000, 5000, false);
}

/// A guest that has forgotten the connection answers what is sent again with a reset, of which the host's reader feels nothing.
#[test]
fn a_reset_after_all_is_said_loses_nothing() {
    let call = Segment {
        from: 1,
        to: 2,
        sequence: 1000,
        acknowledged: 0,
        flags: Flags::SYN,
        window: 1000,
        most: None,
        scale: None,
        payload: &[],
    };
    let now = Instant::now();
    let mut flow = Flow::called(7, &call);
    flow.answer();
    flow.finish();
    assert!(flow.speak(now, &mut |_| true));
    let hear = |flow: &mut Flow, sequence, acknowledged, flags, payload| {
        let segment = Segment { sequence, acknowledged, flags, payload, ..call };
        let heard = flow.hear(&segment, now, &mut |_| 0);
        flow.speak(now, &mut |_| true);
        heard
    };
    assert_eq!(hear(&mut flow, 1001, 8, Flags::ACK, b""), Heard::Well);
    assert_eq!(hear(&mut flow, 1001, 9, Flags::ACK.and(Flags::FIN), b"its last words"), Heard::Well);
    assert_eq!(hear(&mut flow, 1016, 0, Flags::RST, b""), Heard::Well);
    assert_eq!(flow.input().part(0, 100).0, b"its last words");
    flow.input().consume(14);
    assert!(flow.is_over());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_bad_wire_only_takes_longer(
        numbers in proptest::collection::vec(any::<u8>(), 0..400),
        sizes in (0..200_000usize, 0..200_000usize),
        mtu in prop_oneof![Just(576usize), Just(1500), Just(65520)],
        buffer in prop_oneof![Just(2000usize), Just(65_535), Just(400_000)],
        appetite in prop_oneof![Just(1000usize), Just(usize::MAX)],
        called in any::<bool>(),
    ) {
        exchange(World::new(mtu, buffer, appetite, numbers), sizes.0, sizes.1, called);
    }

    /// Whatever a guest sends, nothing panics and what waits is bounded.
    #[test]
    fn a_hostile_guest_gets_nowhere(
        segments in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<u8>(), any::<u16>(), 0..2000usize, any::<bool>()), 0..60),
        called in any::<bool>(),
    ) {
        let mut now = Instant::now();
        let call = Segment {
            from: 1, to: 2, sequence: 1000, acknowledged: 0, flags: Flags::SYN, window: 1000, most: Some(1), scale: Some(14), payload: &[],
        };
        let mut flow = if called { Flow::calling(7) } else { Flow::called(7, &call) };
        flow.answer();
        let payload = vec![7; 2000];
        for (sequence, acknowledged, flags, window, length, near) in segments {
            let (next, expected) = flow.reset_numbers();
            let segment = Segment {
                // Mostly what could be.
                sequence: if near { expected.wrapping_add(sequence % 3000).wrapping_sub(1500) } else { sequence },
                acknowledged: if near { next.wrapping_add(acknowledged % 3).wrapping_sub(1) } else { acknowledged },
                flags: Flags(flags), window, payload: &payload[..length], ..call
            };
            now += Duration::from_millis(u64::from(window));
            let _ = flow.hear(&segment, now, &mut |bytes: &[u8]| bytes.len() / 2);
            prop_assert!(flow.input().len() <= WINDOW);
            flow.output().extend(&payload[..length]);
            let mut count = 0;
            flow.speak(now, &mut |_| { count += 1; count < 5000 });
            prop_assert!(count < 5000);
            flow.expire(now);
        }
    }
}
