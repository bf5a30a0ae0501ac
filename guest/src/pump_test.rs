use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    io::{read, write},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
};

use super::*;

fn sockets() -> (OwnedFd, OwnedFd) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    fcntl_setfl(&ours, OFlags::NONBLOCK).unwrap();
    (ours, theirs)
}

/// There is no more to come. A child that another test has just made has all descriptors until it is executed, and so another end of
/// what was closed here.
fn ends(pump: &mut Pump) {
    let end = Instant::now() + Duration::from_secs(30);
    while pump.run() != Waiting::Nothing {
        assert!(Instant::now() < end, "the end was not noticed");
        thread::yield_now();
    }
}

#[test]
fn output_reaches_the_socket_to_its_last_byte() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (ours, theirs) = sockets();
    let mut pump = Pump::from_pipe(reader, ours);
    write(&writer, b"hello").unwrap();
    assert_eq!(pump.run(), Waiting::Source);
    assert!(pump.has_moved() && !pump.has_moved());
    write(&writer, b" world").unwrap();
    drop(writer);
    assert_eq!(pump.run(), Waiting::Source);
    ends(&mut pump);
    drop(pump);
    let mut bytes = [0; 32];
    let count = read(&theirs, &mut bytes).unwrap();
    assert_eq!(&bytes[..count], b"hello world");
    assert_eq!(read(&theirs, &mut bytes), Ok(0));
}

#[test]
fn a_host_that_does_not_read_stops_the_writer_and_loses_nothing() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    let (ours, theirs) = sockets();
    fcntl_setfl(&theirs, OFlags::NONBLOCK).unwrap();
    let mut pump = Pump::from_pipe(reader, ours);
    let mut sent = 0usize;
    let mut blocked = 0;
    while blocked < 3 {
        let piece: Vec<u8> = (0..5000).map(|n| ((sent + n) % 251) as u8).collect();
        match write(&writer, &piece) {
            Ok(count) => sent += count,
            Err(Errno::AGAIN) if pump.run() == Waiting::Sink => blocked += 1,
            Err(error) => assert_eq!(error, Errno::AGAIN),
        }
    }
    drop(writer);
    let mut received = 0usize;
    let mut bytes = vec![0; 70_000];
    loop {
        match read(&theirs, &mut bytes) {
            Ok(0) => break,
            Ok(count) => {
                assert!(bytes[..count].iter().enumerate().all(|(n, b)| *b == ((received + n) % 251) as u8));
                received += count;
            }
            Err(Errno::AGAIN) => {
                if pump.run() == Waiting::Nothing {
                    break;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    drop(pump);
    while let Ok(count @ 1..) = read(&theirs, &mut bytes) {
        received += count;
    }
    assert_eq!(received, sent);
}

#[test]
fn input_ends_when_the_host_closes_its_half() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (ours, theirs) = sockets();
    write(&theirs, b"in").unwrap();
    drop(theirs);
    let mut pump = Pump::to_pipe(ours, writer);
    assert_eq!(pump.run(), Waiting::Source);
    ends(&mut pump);
    drop(pump);
    let mut bytes = [0; 8];
    assert_eq!(read(&reader, &mut bytes), Ok(2));
    assert_eq!(read(&reader, &mut bytes), Ok(0));
}

#[test]
fn through_a_buffer_it_is_the_same() {
    let (source, source_end) = sockets();
    let (sink, sink_end) = sockets();
    let mut pump = Pump::from_terminal(source, sink);
    assert_eq!(pump.run(), Waiting::Source);
    let bytes: Vec<u8> = (0..10_000).map(|n| n as u8).collect();
    write(&source_end, &bytes).unwrap();
    assert_eq!(pump.run(), Waiting::Source);
    let mut received = vec![0; 20_000];
    assert_eq!(read(&sink_end, &mut received), Ok(bytes.len()));
    assert_eq!(received[..bytes.len()], bytes);
    drop(source_end);
    ends(&mut pump);
}

#[test]
fn a_reader_that_is_gone_ends_it() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (ours, theirs) = sockets();
    drop(theirs);
    write(&writer, b"x").unwrap();
    ends(&mut Pump::from_pipe(reader, ours));
}

#[test]
fn a_severed_output_loses_nothing_and_doubles_nothing() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (ours, theirs) = sockets();
    let mut pump = Pump::from_pipe(reader, ours);
    write(&writer, b"one ").unwrap();
    pump.run();
    write(&writer, b"two").unwrap();
    let severed = pump.sever();
    let mut bytes = [0; 32];
    assert_eq!(read(&theirs, &mut bytes), Ok(4));
    assert_eq!(read(&theirs, &mut bytes), Ok(0));
    let (ours, theirs) = sockets();
    let mut pump = severed.mend(ours).unwrap();
    assert_eq!(pump.waiting(), Waiting::Source);
    pump.run();
    assert_eq!(read(&theirs, &mut bytes), Ok(3));
    assert_eq!(&bytes[..3], b"two");
}

#[test]
fn an_input_that_is_severed_is_held_until_the_container_takes_it() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (ours, theirs) = sockets();
    let mut pump = Pump::to_pipe(ours, writer);
    let sent: Vec<u8> = (0..100_000).map(|n| (n % 251) as u8).collect();
    write(&theirs, &sent).unwrap();
    drop(theirs);
    pump.take_all().unwrap();
    let (ours, theirs) = sockets();
    let mut pump = pump.sever().mend(ours).unwrap();
    assert_eq!(pump.waiting(), Waiting::Sink);
    write(&theirs, b"and more").unwrap();
    drop(theirs);
    let mut received = Vec::new();
    let mut bytes = vec![0; 70_000];
    while received.len() < sent.len() + 8 {
        assert_ne!(pump.run(), Waiting::Nothing);
        let count = read(&reader, &mut bytes).unwrap();
        received.extend_from_slice(&bytes[..count]);
    }
    assert_eq!(received[..sent.len()], sent);
    assert_eq!(received[sent.len()..], *b"and more");
    ends(&mut pump);
}

#[test]
fn a_terminal_that_is_severed_keeps_what_was_read_of_it() {
    let (source, source_end) = sockets();
    let (sink, sink_end) = sockets();
    let mut pump = Pump::from_terminal(source, sink);
    let piece = vec![7; 4096];
    let mut sent = 0;
    while pump.waiting() == Waiting::Source {
        sent += write(&source_end, &piece).unwrap();
        pump.run();
    }
    let severed = pump.sever();
    let mut received = 0;
    let mut bytes = vec![0; 70_000];
    while let Ok(count @ 1..) = read(&sink_end, &mut bytes) {
        received += count;
    }
    let (sink, sink_end) = sockets();
    let mut pump = severed.mend(sink).unwrap();
    assert_eq!(pump.waiting(), Waiting::Sink);
    drop(source_end);
    ends(&mut pump);
    drop(pump);
    while let Ok(count @ 1..) = read(&sink_end, &mut bytes) {
        received += count;
    }
    assert_eq!(received, sent);
}
