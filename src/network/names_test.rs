use proptest::{collection::vec, prelude::*};

use super::*;

/// A question as resolvers ask.
fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

#[test]
fn a_question_is_answered() {
    let message = query("Web.Example", TYPE_A);
    let question = Question::parse(&message).unwrap();
    assert_eq!(question.name, "web.example");
    let answer = question.answer(&message, &[Ipv4Addr::new(172, 17, 0, 3)]);
    assert_eq!(answer[..8], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1]);
    assert_eq!(answer[12..message.len()], message[12..], "the question is repeated");
    assert_eq!(answer[message.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 172, 17, 0, 3]);
}

#[test]
fn who_has_no_address_of_a_kind_is_there_all_the_same() {
    let message = query("web", TYPE_AAAA);
    let answer = Question::parse(&message).unwrap().answer(&message, &[Ipv4Addr::LOCALHOST]);
    assert_eq!((answer.len(), answer[3] & 0xf, answer[7]), (message.len(), 0, 0));
}

#[test]
fn what_comes_behind_a_question_is_not_repeated() {
    let mut message = query("web", TYPE_A);
    let length = message.len();
    // An additional record, as EDNS has it.
    message[11] = 1;
    message.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    let answer = Question::parse(&message).unwrap().failure(&message);
    assert_eq!((answer.len(), answer[3] & 0xf, answer[11]), (length, 2, 0));
}

#[test]
fn the_hosts_configuration_is_read() {
    let text = "# a comment\nnameserver 10.0.0.1\nnameserver fe80::1%lo\nnameserver fe80::2%7\nnameserver fe80::3%nosuch\nnameserver ::1\nsearch a.example b.example\n";
    let resolver = HostResolver::parse(text);
    let expected = ["10.0.0.1:53", "[fe80::1%1]:53", "[fe80::2%7]:53", "[::1]:53"];
    assert_eq!(resolver.servers, expected.map(|server| server.parse().unwrap()));
    assert_eq!(resolver.search, ["a.example", "b.example"]);
}

proptest! {
    #[test]
    fn rubbish_is_no_question(bytes in vec(any::<u8>(), 0..100)) {
        if let Some(question) = Question::parse(&bytes) {
            prop_assert!(question.answer(&bytes, &[Ipv4Addr::LOCALHOST]).len() <= bytes.len() + 16);
        }
    }
}
