use super::*;

#[test]
fn signals_have_names_and_numbers() {
    for (text, number) in [
        ("TERM", 15),
        ("sigkill", 9),
        ("SIGSYS", 31),
        ("10", 10),
        ("64", 64),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("POLL", 29),
    ] {
        assert_eq!(parse(text).unwrap(), number, "{text}");
    }
    for text in ["", "0", "65", "300", "-1", "TERMX", "RTMIN+31", "RTMAX-31", "RTMIN-1"] {
        assert!(parse(text).is_err(), "{text}");
    }
    assert_eq!(name(15), "SIGTERM");
    assert_eq!(name(40), "40");
}
