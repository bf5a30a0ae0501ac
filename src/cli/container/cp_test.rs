use super::*;

#[test]
fn a_container_is_named_before_a_colon() {
    assert_eq!(split("c:/x"), (Some("c"), "/x"));
    assert_eq!(split("c:"), (Some("c"), ""));
    assert_eq!(split("/c:/x"), (None, "/c:/x"));
    assert_eq!(split("./c:x"), (None, "./c:x"));
    assert_eq!(split("-"), (None, "-"));
}

#[test]
fn sizes_are_as_docker_shows_them() {
    for (bytes, text) in [(0, "0B"), (999, "999B"), (1536, "1.54kB"), (2000, "2kB"), (12_340_000, "12.3MB")] {
        assert_eq!(human(bytes), text);
    }
}
