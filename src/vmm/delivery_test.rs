use std::{
    fs::File,
    io::{Read, Seek, Write},
};

use super::*;
use crate::vmm::channel::Channel;

fn numbered(number: usize) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&number.to_le_bytes()).unwrap();
    file.rewind().unwrap();
    file.into()
}

#[test]
fn descriptors_arrive_in_order_however_many_there_are() {
    for count in [1, AT_ONCE, AT_ONCE + 1] {
        let (near, far) = Channel::pair().unwrap();
        let sent: Vec<_> = (0..count).map(numbered).collect();
        send(&near, &sent.iter().map(AsFd::as_fd).collect::<Vec<_>>()).unwrap();
        let received = receive(&far).unwrap();
        assert_eq!(received.len(), count);
        for (number, descriptor) in received.into_iter().enumerate() {
            let mut content = [0; 8];
            File::from(descriptor).read_exact(&mut content).unwrap();
            assert_eq!(usize::from_le_bytes(content), number);
        }
    }
}

#[test]
fn what_is_no_delivery_is_an_error() {
    let (near, far) = Channel::pair().unwrap();
    near.send(&"words", None).unwrap();
    assert_eq!(receive(&far).unwrap_err().kind(), io::ErrorKind::InvalidData);
    rustix::net::send(&near, &[0; 4], SendFlags::empty()).unwrap();
    assert_eq!(receive(&far).unwrap_err().kind(), io::ErrorKind::InvalidData);
    drop(near);
    assert_eq!(receive(&far).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(receive(tempfile::tempfile().unwrap()).is_err(), "not a socket");
}

#[test]
fn what_does_not_fit_is_not_lost_in_silence() {
    let (near, far) = Channel::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    // Two are announced, and one comes.
    for left in [2u32, 0] {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [file.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let body = left.to_le_bytes();
        sendmsg(&near, &[io::IoSlice::new(&body)], &mut ancillary, SendFlags::empty()).unwrap();
    }
    assert_eq!(receive(&far).unwrap_err().kind(), io::ErrorKind::InvalidData);
}
