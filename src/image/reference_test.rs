use super::*;

fn parsed(text: &str) -> String {
    text.parse::<Reference>().unwrap().to_string()
}

#[test]
fn short_names_are_docker_hubs() {
    assert_eq!(parsed("busybox"), "docker.io/library/busybox:latest");
    assert_eq!(parsed("busybox:1.36"), "docker.io/library/busybox:1.36");
    assert_eq!(parsed("me/tool"), "docker.io/me/tool:latest");
    assert_eq!(parsed("docker.io/busybox"), "docker.io/library/busybox:latest");
    assert_eq!(parsed("index.docker.io/library/busybox"), "docker.io/library/busybox:latest");
}

#[test]
fn registries_are_told_from_repositories() {
    assert_eq!(parsed("localhost/x"), "localhost/x:latest");
    assert_eq!(parsed("localhost:5000/x"), "localhost:5000/x:latest");
    assert_eq!(parsed("127.0.0.1:5000/a/b:c"), "127.0.0.1:5000/a/b:c");
    assert_eq!(parsed("[::1]:5000/x"), "[::1]:5000/x:latest");
    assert_eq!(parsed("registry.example/x"), "registry.example/x:latest");
}

#[test]
fn a_digest_outweighs_a_tag() {
    let digest = Digest::of(b"x");
    let reference: Reference = format!("busybox:1@{digest}").parse().unwrap();
    assert_eq!(reference.digest(), Some(digest));
    assert_eq!(reference.tag(), None);
    assert_eq!(reference.familiar(), format!("busybox@{digest}"));
}

#[test]
fn familiar_names_are_short() {
    for (text, familiar) in [
        ("busybox", "busybox:latest"),
        ("me/tool:2", "me/tool:2"),
        ("docker.io/library/a/b", "library/a/b:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
    ] {
        assert_eq!(text.parse::<Reference>().unwrap().familiar(), familiar);
    }
}

#[test]
fn what_is_no_name_is_refused() {
    let id = Digest::of(b"x").hex();
    for text in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "UPPER",
        "a:",
        "a:-b",
        "a@",
        "a@sha256:12",
        "a@md5:00",
        "a b",
        "a\n",
        "-a",
        "a-",
        "a___b",
        "a..b",
        "é",
        "host:port/x",
        "[::z]/x",
        "localhost:99999/x",
        "a:b:c",
        id.as_str(),
        "[::1]x/y",
        "a.-b.c/x",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
    }
    assert!("a".repeat(300).parse::<Reference>().is_err());
    assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
}

proptest::proptest! {
    #[test]
    fn parsing_never_panics_and_what_parses_is_stable(text in "[a-zA-Z0-9._:/@\\[\\]-]{0,40}|\\PC{0,20}") {
        if let Ok(reference) = text.parse::<Reference>() {
            proptest::prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
            proptest::prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
        }
    }
}
