//! Frames as they come from a guest, through everything that `hull net` reads in them.
#![no_main]

use hull::network::wire::{Arp, Datagram, Frame, Packet, Segment, Solicitation};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(frame) = Frame::parse(bytes) else { return };
    let _ = frame.is_for_many();
    if let Some(arp) = Arp::parse(frame.payload) {
        let _ = arp.answer(frame.from);
    }
    let packets = [Packet::parse(frame.kind, frame.payload), Packet::quoted(frame.payload)];
    for packet in packets.into_iter().flatten() {
        if let Some(segment) = Segment::parse(packet.payload) {
            let _ = segment.length();
        }
        let _ = Datagram::parse(packet.payload);
        if let Some(asked) = Solicitation::parse(&packet) {
            let _ = asked.answer((frame.to, frame.from), packet.from, true);
        }
    }
});
