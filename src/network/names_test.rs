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
    let answer = question.answer(&message, &[IpAddr::from([172, 17, 0, 3]), "fd00::3".parse().unwrap()]);
    assert_eq!(answer[..8], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1]);
    assert_eq!(answer[12..message.len()], message[12..], "the question is repeated");
    assert_eq!(answer[message.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 172, 17, 0, 3]);
}

#[test]
fn who_has_no_address_of_a_kind_is_there_all_the_same() {
    let message = query("web", TYPE_AAAA);
    let answer = Question::parse(&message).unwrap().answer(&message, &[IpAddr::from([127, 0, 0, 1])]);
    assert_eq!((answer.len(), answer[3] & 0xf, answer[7]), (message.len(), 0, 0));
}

#[test]
fn a_question_about_ipv6_is_answered() {
    let message = query("web", TYPE_AAAA);
    let six: IpAddr = "fd00::3".parse().unwrap();
    let answer = Question::parse(&message).unwrap().answer(&message, &[IpAddr::from([172, 17, 0, 3]), six]);
    assert_eq!(addresses(&answer, |name| name == "web"), [(six, Duration::from_secs(HOLDS.into()))]);
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

#[test]
fn addresses_are_read_from_an_answer() {
    let message = query("www.example.com", TYPE_A);
    let question = Question::parse(&message).unwrap();
    let mut answer = question.answer(&message, &[IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])]);
    // A name that stands for another comes first.
    let alias = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 16];
    answer.splice(message.len()..message.len(), alias);
    answer[7] = 3;
    let all = addresses(&answer, |name| name == "www.example.com");
    let holds = Duration::from_secs(HOLDS.into());
    assert_eq!(all, [(IpAddr::from([192, 0, 2, 1]), holds), (IpAddr::from([192, 0, 2, 2]), holds)]);
    assert!(addresses(&answer, |_| false).is_empty());
    assert!(addresses(&message, |_| true).is_empty(), "a question has none");
}

proptest! {
    #[test]
    fn rubbish_has_few_addresses(bytes in vec(any::<u8>(), 0..100), count in 0..5u8) {
        let mut answer = query("a.b", TYPE_A);
        (answer[2], answer[7]) = (0x84, count);
        answer.extend(bytes);
        prop_assert!(addresses(&answer, |_| true).len() <= usize::from(count));
    }

    #[test]
    fn rubbish_is_no_question(bytes in vec(any::<u8>(), 0..100)) {
        if let Some(question) = Question::parse(&bytes) {
            prop_assert!(question.answer(&bytes, &[IpAddr::from([127, 0, 0, 1]), "::1".parse().unwrap()]).len() <= bytes.len() + 28);
        }
    }
}
