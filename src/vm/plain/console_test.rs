use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use super::*;

const FIRST: ClientId = ClientId(0);
const SECOND: ClientId = ClientId(1);

fn connect(console: &mut Console, owner: ClientId, awaited: bool) -> UnixStream {
    let (near, far) = UnixStream::pair().unwrap();
    console.connect(owner, far.into(), awaited).unwrap();
    near
}

fn readable(console: &Console, owner: ClientId) -> bool {
    console.sockets().any(|(name, _, reading, _)| name == owner && reading)
}

#[test]
fn everybody_sees_what_is_said_and_may_type() {
    let (pipe, input) = rustix::pipe::pipe().unwrap();
    rustix::io::ioctl_fionbio(&input, true).unwrap();
    let mut console = Console::new(Some(input));
    console.show(b"before ");
    let mut first = connect(&mut console, FIRST, true);
    console.show(b"after");
    let mut second = connect(&mut console, SECOND, false);
    let mut said = [0; 12];
    for terminal in [&mut first, &mut second] {
        terminal.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"before after");
    }
    let mut buffer = [0; 64];
    for (terminal, owner) in [(&mut first, FIRST), (&mut second, SECOND)] {
        terminal.write_all(b"typed").unwrap();
        assert!(readable(&console, owner));
        console.serve(owner, PollFlags::IN, &mut buffer);
        assert_eq!(rustix::io::read(&pipe, &mut said).unwrap(), 5);
    }
    // One that types no more still looks; one that is gone does not.
    first.shutdown(std::net::Shutdown::Write).unwrap();
    console.serve(FIRST, PollFlags::IN, &mut buffer);
    assert!(!readable(&console, FIRST) && readable(&console, SECOND));
    drop(second);
    console.serve(SECOND, PollFlags::IN | PollFlags::HUP, &mut buffer);
    console.serve(SECOND, PollFlags::HUP, &mut buffer);
    assert_eq!(console.sockets().count(), 1);
    // A guest that takes no input is nobody's to type to.
    drop(pipe);
    let mut third = connect(&mut console, SECOND, false);
    third.write_all(b"typed").unwrap();
    console.serve(SECOND, PollFlags::IN, &mut buffer);
    assert!(!readable(&console, SECOND));
}

#[test]
fn who_does_not_read_loses_or_is_waited_for() {
    let mut console = Console::new(None);
    let idle = connect(&mut console, FIRST, false);
    while console.is_done() {
        console.show(&[b'x'; 4096]);
    }
    assert!(!console.is_blocked(), "the guest goes on");
    let mut awaited = connect(&mut console, SECOND, true);
    while !console.is_blocked() {
        console.show(&[b'y'; 4096]);
    }
    // What is kept of what was said has an end.
    assert!(console.last().len() <= SHOWN && console.last.len() <= 2 * SHOWN);
    let mut buffer = vec![0; 1 << 20];
    awaited.set_nonblocking(true).unwrap();
    while awaited.read(&mut buffer).is_ok() {}
    console.serve(SECOND, PollFlags::OUT, &mut []);
    assert!(!console.is_blocked());
    drop(idle);
    console.serve(FIRST, PollFlags::OUT | PollFlags::HUP, &mut []);
    assert!(console.is_done());
    console.disconnect(SECOND);
    assert_eq!(console.sockets().count(), 0);
}
