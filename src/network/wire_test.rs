use proptest::{collection::vec, prelude::*};

use super::*;

const MACS: (Mac, Mac) = ([2; 6], [4; 6]);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The sum that a receiver makes, which is 0 when all is right.
fn check(packet: &Packet<'_>) -> u16 {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let pseudo = u64::from(packet.protocol) + packet.payload.len() as u64;
    let pseudo = sum(sum(pseudo, &octets(packet.from)), &octets(packet.to));
    fold(sum(pseudo, packet.payload))
}

#[test]
fn a_datagram_says_what_was_said() {
    for (from, to) in [("10.0.0.1:53", "10.0.0.2:1234"), ("[fd00::1]:53", "[fd00::2]:1234")] {
        for payload in [&b""[..], b"x", b"an answer"] {
            let headers = Headers::udp(MACS, address(from), address(to), payload);
            let bytes = [headers.bytes(), payload].concat();
            let frame = Frame::parse(&bytes).unwrap();
            assert_eq!((frame.from, frame.to), MACS);
            let packet = Packet::parse(frame.kind, frame.payload).unwrap();
            assert_eq!((packet.from, packet.to), (address(from).ip(), address(to).ip()));
            assert_eq!(check(&packet), 0);
            let datagram = Datagram::parse(packet.payload).unwrap();
            assert_eq!((datagram.from, datagram.to, datagram.payload), (53, 1234, payload));
        }
    }
}

#[test]
fn a_header_of_ipv4_has_a_checksum_of_its_own() {
    let headers = Headers::udp(MACS, address("172.17.0.1:1"), address("172.17.0.2:2"), b"abc");
    assert_eq!(fold(sum(0, &headers.bytes()[ETHERNET..ETHERNET + 20])), 0);
}

#[test]
fn a_part_of_odd_length_is_summed_as_if_there_were_no_parts() {
    let headers = Headers::ip(MACS, address("1.1.1.1:1").ip(), address("2.2.2.2:1").ip(), TCP, 7);
    let whole = headers.checksum(b"abcdefg", &[]);
    for cut in 0..7 {
        assert_eq!(headers.checksum(&b"abcdefg"[..cut], &b"abcdefg"[cut..]), whole, "cut at {cut}");
    }
}

#[test]
fn fragments_are_none() {
    let mut bytes = Headers::udp(MACS, address("1.1.1.1:1"), address("2.2.2.2:2"), b"").bytes().to_vec();
    assert!(Packet::parse(IPV4, &bytes[ETHERNET..]).is_some());
    bytes[ETHERNET + 6] = 0x20;
    assert!(Packet::parse(IPV4, &bytes[ETHERNET..]).is_none());
}

#[test]
fn options_of_a_call_are_found() {
    let mut bytes = vec![0; 20];
    bytes[12] = 8 << 4;
    bytes[13] = Flags::SYN.0;
    bytes.extend([2, 4, 0x05, 0xb4, 1, 3, 3, 7, 4, 2, 0, 0]);
    let segment = Segment::parse(&bytes).unwrap();
    assert_eq!((segment.most, segment.scale, segment.length()), (Some(1460), Some(7), 1));
}

/// A packet of IPv6 with these bytes of the protocol behind its header.
fn six(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let ends = (address("[fd00::2]:1").ip(), address("[fd00::1]:1").ip());
    let mut bytes = Headers::ip(MACS, ends.0, ends.1, protocol, payload.len()).bytes()[ETHERNET..].to_vec();
    bytes.extend(payload);
    bytes
}

#[test]
fn extensions_are_passed_over_and_hide_nothing() {
    let mut solicitation = [0; 24];
    solicitation[0] = 135;
    solicitation[8..].copy_from_slice(&Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3).octets());
    let options = |next: u8, length: u8| {
        let mut bytes = vec![0; (usize::from(length) + 1) * 8];
        (bytes[0], bytes[1]) = (next, length);
        bytes
    };
    let chains = [
        (ICMP6, Vec::new()),
        (HOP_BY_HOP, options(ICMP6, 0)),
        (DESTINATION, [options(HOP_BY_HOP, 2), options(DESTINATION, 1), options(ICMP6, 0)].concat()),
    ];
    for (first, chain) in chains {
        let mut bytes = six(first, &[&chain[..], &solicitation].concat());
        bytes[7] = 255;
        let packet = Packet::parse(IPV6, &bytes).unwrap();
        assert_eq!((packet.protocol, packet.payload), (ICMP6, &solicitation[..]));
        assert!(Solicitation::parse(&packet).is_some());
        assert_eq!(Packet::quoted(&bytes).unwrap().payload, packet.payload);
        bytes[7] = 64;
        assert_eq!(Solicitation::parse(&Packet::parse(IPV6, &bytes).unwrap()), None, "from afar");
    }
    // Endless, cut off, with a route, or a fragment.
    assert!(Packet::parse(IPV6, &six(DESTINATION, &options(DESTINATION, 0).repeat(9))).is_none());
    assert!(Packet::parse(IPV6, &six(DESTINATION, &options(TCP, 200)[..800])).is_none());
    for refused in REFUSED {
        assert!(Packet::parse(IPV6, &six(refused, &options(TCP, 0))).is_none());
        assert!(Packet::parse(IPV6, &six(HOP_BY_HOP, &options(refused, 0))).is_none());
    }
}

#[test]
fn who_is_asked_for_says_so() {
    let target = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);
    let answer = Solicitation { target }.answer(MACS, address("[fd00::2]:1").ip(), false);
    let frame = Frame::parse(answer.bytes()).unwrap();
    let packet = Packet::parse(frame.kind, frame.payload).unwrap();
    assert_eq!((packet.from, packet.hops, packet.payload[0]), (target.into(), 255, 136));
    assert_eq!(packet.payload[24..], [&[2, 1], &MACS.0[..]].concat());
    // As in every sum that is right, nothing is missing.
    let pseudo = sum(u64::from(ICMP6) + 32, &frame.payload[8..40]);
    assert_eq!(fold(sum(pseudo, packet.payload)), 0);
}

proptest! {
    #[test]
    fn rubbish_is_parsed_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Arp::parse(&bytes);
        let _ = Segment::parse(&bytes);
        let _ = Datagram::parse(&bytes);
        if let Some(packet) = Packet::quoted(&bytes) {
            let _ = Solicitation::parse(&packet);
        }
        if let Some(frame) = Frame::parse(&bytes) {
            let _ = Packet::parse(frame.kind, frame.payload);
        }
        for kind in [IPV4, IPV6] {
            if let Some(packet) = Packet::parse(kind, &bytes) {
                let _ = Segment::parse(packet.payload);
                prop_assert!(packet.whole.len() <= bytes.len() && packet.payload.len() <= packet.whole.len());
                prop_assert!(!REFUSED.contains(&packet.protocol));
            }
        }
    }
}
