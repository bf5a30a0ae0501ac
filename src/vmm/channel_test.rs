use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;
use crate::vmm::control::VmmMessage;

#[test]
fn a_message_arrives_with_its_descriptor() {
    let (keeper, vmm) = Channel::pair().unwrap();
    let (mut near, far) = UnixStream::pair().unwrap();
    vmm.send(&VmmMessage::Connection { port: 1024 }, Some(far.as_fd())).unwrap();
    drop(far);
    let Received::Message(VmmMessage::Connection { port }, Some(descriptor)) = keeper.receive().unwrap()
    else {
        panic!("no connection")
    };
    assert_eq!(port, 1024);
    UnixStream::from(descriptor).write_all(b"hi").unwrap();
    let mut text = String::new();
    near.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hi");
}

#[test]
fn emptiness_and_the_end_are_told_apart() {
    let (keeper, vmm) = Channel::pair().unwrap();
    keeper.set_nonblocking(true).unwrap();
    assert!(matches!(keeper.receive::<VmmMessage>().unwrap(), Received::Nothing));
    drop(vmm);
    assert!(matches!(keeper.receive::<VmmMessage>().unwrap(), Received::Closed));
}

#[test]
fn what_is_no_message_is_an_error() {
    let (keeper, vmm) = Channel::pair().unwrap();
    vmm.send(&"rubbish", None).unwrap();
    assert!(keeper.receive::<VmmMessage>().is_err());
}

#[test]
fn what_a_peer_said_before_it_left_is_heard() {
    let (keeper, vmm) = Channel::pair().unwrap();
    keeper.send(&"never read", None).unwrap();
    vmm.send(&"last words", None).unwrap();
    drop(vmm);
    let Received::Message(text, None) = keeper.receive::<String>().unwrap() else { panic!("nothing heard") };
    assert_eq!(text, "last words");
    assert!(matches!(keeper.receive::<String>().unwrap(), Received::Closed));
}
