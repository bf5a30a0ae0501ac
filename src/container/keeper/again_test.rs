use std::fs::File;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::*;

#[test]
fn changes_are_refused_between_two_runs() {
    let (near, far) = Channel::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    set_socket_timeout(&near, Timeout::Recv, Some(Duration::from_secs(20))).unwrap();
    let network = || "inner".to_owned();
    let changes = [
        ClientMessage::Connect { network: network(), aliases: Vec::new(), address: None },
        ClientMessage::Disconnect { network: network() },
        ClientMessage::Publish,
        ClientMessage::Update { limits: hull_protocol::Limits::default(), most_memory: 0 },
    ];
    for change in changes {
        let file = File::open("/dev/null").unwrap();
        near.send(&change, Some(file.as_fd())).unwrap();
        assert!(hear(&far, &mut false));
        match near.receive().unwrap() {
            Received::Message(KeeperMessage::Refused { message }, _) => {
                assert!(message.contains("restarting"))
            }
            other => panic!("{other:?} to {change:?}"),
        }
    }
}
