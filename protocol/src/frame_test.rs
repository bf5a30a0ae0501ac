use proptest::prelude::*;

use super::*;
use crate::{AgentMessage, ExitStatus, HostMessage};

#[test]
fn messages_survive_any_split() {
    let sent = [
        AgentMessage::Started { process_id: 7, pid: 42 },
        AgentMessage::Exited { process_id: 7, status: ExitStatus::Signal(9), oom_killed: true },
    ];
    let bytes: Vec<u8> = sent.iter().flat_map(|m| encode(m).unwrap()).collect();
    for step in 1..bytes.len() {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(step) {
            decoder.push(piece);
            while let Some(message) = decoder.next::<AgentMessage>().unwrap() {
                seen.push(message);
            }
        }
        assert_eq!(seen, sent, "in pieces of {step}");
    }
}

#[test]
fn unknown_fields_are_ignored_and_missing_ones_defaulted() {
    let mut decoder = Decoder::default();
    let body = br#"{"type":"exited","process_id":1,"status":{"code":3},"from_the_future":[1,2]}"#;
    decoder.push(&(body.len() as u32).to_le_bytes());
    decoder.push(body);
    let message: AgentMessage = decoder.next().unwrap().unwrap();
    assert_eq!(
        message,
        AgentMessage::Exited { process_id: 1, status: ExitStatus::Code(3), oom_killed: false }
    );
}

#[test]
fn a_length_over_the_cap_is_refused_before_its_body_is_awaited() {
    let mut decoder = Decoder::default();
    decoder.push(&(MAX_FRAME + 1).to_le_bytes());
    assert!(matches!(decoder.next::<HostMessage>(), Err(FrameError::TooLong(_))));
}

proptest! {
    #[test]
    fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next::<AgentMessage>() {}
    }
}
