use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::bus::BusDevice;
use crate::test_driver::{Guest, out, room, settle, share};
use crate::transport::mmio::MmioTransport;

const MAC: MacAddress = [2, 0x42, 0xac, 17, 0, 2];

/// A guest whose card is connected to the stream.
fn connected(checksums: Checksums) -> (Guest, Arc<Mutex<Net>>, UnixStream) {
    let net = share(Net::new(MAC, 65520).unwrap());
    let guest = Guest::new(net.clone());
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    net.lock().unwrap().connect(0, Vec::new(), near.into(), checksums).unwrap();
    (guest, net, far)
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

fn received(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    match stream.read(&mut bytes) {
        Ok(length) => bytes.truncate(length),
        Err(_) => bytes.clear(),
    }
    bytes
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn says_what_it_is() {
    let (guest, net, stream) = connected(Checksums::Wanted);
    let config: [u8; 12] = guest.config(0);
    assert_eq!(config[..6], MAC);
    assert_eq!(config[6..], [1, 0, 1, 0, 0xf0, 0xff], "link up, one pair of queues, an MTU of 65520");
    drop(stream);
    settle(&net);
    assert_eq!(guest.interrupt() & 2, 2, "the configuration has changed");
    assert_eq!(guest.config::<1>(6), [0], "link down");
    assert!(!net.lock().unwrap().is_connected());
}

#[test]
fn a_frame_goes_out_behind_its_length() {
    let (mut guest, net, mut stream) = connected(Checksums::Wanted);
    let frame = pattern(1000);
    let (header, first, second) = (guest.put(&[0; 12]), guest.put(&frame[..300]), guest.put(&frame[300..]));
    guest.queues[1].add(&[out(header, 12), out(first, 300), out(second, 700)]);
    guest.kick(1);
    settle(&net);
    assert_eq!(received(&mut stream), framed(&frame));
    assert!(guest.queues[1].take_used().is_some());
}

#[test]
fn what_is_no_frame_goes_nowhere() {
    let (mut guest, net, mut stream) = connected(Checksums::Wanted);
    let segments = guest.put(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let outside = guest.put(&[1, 0, 0, 0, 0, 0, 100, 0, 0, 4, 0, 0]);
    let (plain, frame) = (guest.put(&[0; 12]), guest.put(&[5; 70_000]));
    guest.queues[1].add(&[out(plain, 3)]);
    guest.queues[1].add(&[out(plain, 12)]);
    guest.queues[1].add(&[out(plain, 12), out(frame, 13)]);
    guest.queues[1].add(&[out(plain, 12), out(frame, 70_000)]);
    guest.queues[1].add(&[out(segments, 12), out(frame, 100)]);
    guest.queues[1].add(&[out(outside, 12), out(frame, 600)]);
    guest.queues[1].add(&[room(frame, 100)]);
    guest.kick(1);
    settle(&net);
    assert!(received(&mut stream).is_empty());
    assert_eq!(std::iter::from_fn(|| guest.queues[1].take_used()).count(), 7);
}

#[test]
fn checksums_are_completed_where_they_are_wanted() {
    for checksums in [Checksums::Wanted, Checksums::Ignored] {
        for length in [60, 61, 9001] {
            let (mut guest, net, mut stream) = connected(checksums);
            let frame = pattern(length);
            // Behind 34 bytes of headers, at 16 of those of TCP.
            let header = guest.put(&[1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
            let address = guest.put(&frame);
            guest.queues[1].add(&[out(header, 12), out(address, 40), out(address + 40, length - 40)]);
            guest.kick(1);
            settle(&net);
            let mut expected = frame.clone();
            if checksums == Checksums::Wanted {
                // Pair by pair, as RFC 1071 has it.
                let mut total: u32 = 0;
                for pair in frame[34..].chunks(2) {
                    total += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
                    total = (total & 0xffff) + (total >> 16);
                }
                expected[50..52].copy_from_slice(&(!(total as u16)).to_be_bytes());
            }
            assert_eq!(received(&mut stream), framed(&expected));
        }
    }
}

#[test]
fn a_frame_comes_in_several_buffers() {
    let (mut guest, net, mut stream) = connected(Checksums::Wanted);
    let frame = pattern(3000);
    let buffers: Vec<u64> = (0..4).map(|_| guest.allocate(1024)).collect();
    for buffer in &buffers {
        guest.queues[0].add(&[room(*buffer, 1024)]);
    }
    guest.kick(0);
    // In two pieces, neither of which is a frame.
    let bytes = framed(&frame);
    stream.write_all(&bytes[..2]).unwrap();
    settle(&net);
    assert!(guest.queues[0].take_used().is_none());
    stream.write_all(&bytes[2..]).unwrap();
    settle(&net);
    let used: Vec<u32> =
        std::iter::from_fn(|| guest.queues[0].take_used()).map(|(_, length)| length).collect();
    assert_eq!(used, [1024, 1024, 964]);
    let all: Vec<u8> =
        buffers.iter().zip(&used).flat_map(|(buffer, length)| guest.get(*buffer, *length as usize)).collect();
    assert_eq!(all[..12], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0], "valid, in three buffers");
    assert_eq!(all[12..], frame);
    assert_eq!(guest.interrupt(), 1);
}

#[test]
fn frames_wait_for_buffers() {
    let (mut guest, net, mut stream) = connected(Checksums::Wanted);
    let frame = pattern(1500);
    stream.write_all(&framed(&frame)).unwrap();
    stream.write_all(&framed(&frame)).unwrap();
    let buffer = guest.allocate(8192);
    guest.queues[0].add(&[room(buffer, 1000)]);
    guest.kick(0);
    settle(&net);
    assert!(guest.queues[0].take_used().is_none(), "half a frame is none");
    guest.queues[0].add(&[room(buffer + 1000, 1000)]);
    assert!(guest.kick(0), "the device waits for buffers");
    settle(&net);
    assert_eq!(guest.queues[0].take_used().unwrap().1, 1000);
    assert_eq!(guest.queues[0].take_used().unwrap().1, 512);
    guest.queues[0].add(&[room(buffer + 2000, 4000)]);
    assert!(guest.kick(0));
    settle(&net);
    assert_eq!(guest.queues[0].take_used().unwrap().1, 1512);
    assert_eq!(guest.get(buffer + 2012, 1500), frame);
}

#[test]
fn a_network_that_does_not_read_holds_the_guest_up_and_loses_nothing() {
    let (mut guest, net, mut stream) = connected(Checksums::Wanted);
    let frame = pattern(60_000);
    let (header, address) = (guest.put(&[0; 12]), guest.put(&frame));
    for _ in 0..40 {
        guest.queues[1].add(&[out(header, 12), out(address, frame.len())]);
    }
    guest.kick(1);
    settle(&net);
    let taken = std::iter::from_fn(|| guest.queues[1].take_used()).count();
    assert!(taken < 40, "the socket takes 2.4 MB");
    let mut all = Vec::new();
    for _ in 0..1000 {
        all.extend(received(&mut stream));
        settle(&net);
    }
    assert!(all == framed(&frame).repeat(40), "{} bytes came, and not those", all.len());
}

#[test]
fn a_network_that_makes_no_sense_is_left() {
    let (guest, net, mut stream) = connected(Checksums::Wanted);
    stream.write_all(&[0xff; 100]).unwrap();
    settle(&net);
    assert!(!net.lock().unwrap().is_connected());
    assert_eq!(guest.config::<1>(6), [0]);
}

#[test]
fn goes_on_where_it_was_saved_with_the_address_that_it_had() {
    let (guest, net, stream) = connected(Checksums::Wanted);
    drop(stream);
    settle(&net);
    let states = guest.transport.pause();
    let other = share(Net::new([2; 6], 1500).unwrap());
    let transport = MmioTransport::new(other.clone(), guest.memory.clone()).unwrap();
    transport.restore(states).unwrap();
    transport.resume().unwrap();
    let mut config = [0; 12];
    transport.read(0x100, &mut config);
    assert_eq!(config[..7], [2, 0x42, 0xac, 17, 0, 2, 1], "its address, and the link up again");
    assert!(transport.interrupt_event().read().is_ok(), "of which the driver is told");
}

/// A frame of IPv4, or of ARP, from this address.
fn frame_from(kind: [u8; 2], address: [u8; 4]) -> Vec<u8> {
    let mut frame = pattern(60);
    frame[12..14].copy_from_slice(&kind);
    let at = if kind == [8, 0] { 26 } else { 28 };
    frame[at..at + 4].copy_from_slice(&address);
    frame
}

#[test]
fn a_frame_goes_to_the_network_of_its_senders_address() {
    let (mut guest, net, mut first) = connected(Checksums::Ignored);
    let (near, mut second) = UnixStream::pair().unwrap();
    second.set_nonblocking(true).unwrap();
    let (address, six) = ([172, 30, 0, 7], [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    let addresses = vec![IpAddr::from(address), IpAddr::from(six)];
    net.lock().unwrap().connect(1, addresses, near.into(), Checksums::Ignored).unwrap();
    let header = guest.put(&[0; 12]);
    let mut send = |frame: &[u8]| {
        let place = guest.put(frame);
        guest.queues[1].add(&[out(header, 12), out(place, frame.len())]);
        guest.kick(1);
        settle(&net);
        assert!(guest.queues[1].take_used().is_some());
        (received(&mut first), received(&mut second))
    };
    for kind in [[8, 0], [8, 6]] {
        let (own, other) = (frame_from(kind, address), frame_from(kind, [172, 17, 0, 2]));
        assert_eq!(send(&own), (Vec::new(), framed(&own)));
        assert_eq!(send(&other), (framed(&other), Vec::new()));
    }
    let mut own = pattern(60);
    own[12..14].copy_from_slice(&[0x86, 0xdd]);
    own[22..38].copy_from_slice(&six);
    assert_eq!(send(&own), (Vec::new(), framed(&own)));
    // What is from nobody, or is cut off before it says so, goes where all else does.
    let six = frame_from([0x86, 0xdd], address);
    assert_eq!(send(&six), (framed(&six), Vec::new()));
    let short = &frame_from([8, 0], address)[..20];
    assert_eq!(send(short), (framed(short), Vec::new()));

    net.lock().unwrap().disconnect(0);
    assert!(send(&six).1.is_empty(), "it goes nowhere now");
    let own = frame_from([8, 0], address);
    assert_eq!(send(&own).1, framed(&own));
    assert!(net.lock().unwrap().is_connected());
    net.lock().unwrap().disconnect(1);
    assert!(!net.lock().unwrap().is_connected());
}

#[test]
fn a_network_that_does_not_read_holds_others_up_for_a_while_only() {
    let (mut guest, net, mut first) = connected(Checksums::Ignored);
    let (near, mut second) = UnixStream::pair().unwrap();
    second.set_nonblocking(true).unwrap();
    let address = [172, 30, 0, 7];
    net.lock().unwrap().connect(1, vec![IpAddr::from(address)], near.into(), Checksums::Ignored).unwrap();
    let header = guest.put(&[0; 12]);
    let large = pattern(60_000);
    let (own, other) = (frame_from([8, 0], address), guest.put(&large));
    for _ in 0..40 {
        guest.queues[1].add(&[out(header, 12), out(other, large.len())]);
    }
    let place = guest.put(&own);
    guest.queues[1].add(&[out(header, 12), out(place, own.len())]);
    guest.kick(1);
    settle(&net);
    assert!(received(&mut second).is_empty(), "it waits for what was before it");
    let mut heard = Vec::new();
    for _ in 0..1000 {
        settle(&net);
        heard.extend(received(&mut second));
        if !heard.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(heard, framed(&own));
    // What was taken is whole, and what is sent from now on arrives.
    let mut all = Vec::new();
    for _ in 0..100 {
        all.extend(received(&mut first));
        settle(&net);
    }
    let frame = framed(&large);
    let count = all.len() / frame.len();
    assert!((1..40).contains(&count) && all == frame.repeat(count), "{count} frames in {} bytes", all.len());
    guest.queues[1].add(&[out(header, 12), out(other, large.len())]);
    guest.kick(1);
    settle(&net);
    assert_eq!(received(&mut first), frame);
}

#[test]
fn frames_of_all_networks_arrive() {
    let (mut guest, net, mut first) = connected(Checksums::Ignored);
    let (near, mut second) = UnixStream::pair().unwrap();
    net.lock()
        .unwrap()
        .connect(7, vec![IpAddr::from([10, 0, 0, 2])], near.into(), Checksums::Ignored)
        .unwrap();
    let places: Vec<_> = (0..2).map(|_| guest.put(&[0; 100])).collect();
    for place in &places {
        guest.queues[0].add(&[room(*place, 100)]);
    }
    guest.kick(0);
    settle(&net);
    first.write_all(&framed(&[1; 50])).unwrap();
    second.write_all(&framed(&[2; 60])).unwrap();
    settle(&net);
    let lengths: Vec<_> =
        std::iter::from_fn(|| guest.queues[0].take_used()).map(|(_, length)| length).collect();
    assert_eq!(lengths.iter().sum::<u32>(), 12 + 50 + 12 + 60);
}
