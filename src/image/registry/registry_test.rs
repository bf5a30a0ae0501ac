use super::*;

#[test]
fn only_this_host_is_spoken_to_without_tls() {
    for registry in ["localhost", "localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:5000"] {
        assert!(is_loopback(registry), "{registry}");
    }
    for registry in
        ["docker.io", "localhost.example", "128.0.0.1", "[::2]:5000", "10.0.0.1:5000", "127.0.0.1.example"]
    {
        assert!(!is_loopback(registry), "{registry}");
    }
}

#[test]
fn docker_hub_has_another_address() {
    let base = |name: &str| Repository::new(&name.parse().unwrap()).base;
    assert_eq!(base("busybox"), "https://registry-1.docker.io/v2/library/busybox");
    assert_eq!(base("localhost:5000/a/b"), "http://localhost:5000/v2/a/b");
    assert_eq!(base("registry.example:8443/a"), "https://registry.example:8443/v2/a");
}

#[test]
fn what_a_registry_says_is_made_fit_for_a_terminal() {
    let json = br#"{"errors":[{"code":"DENIED","message":"no \u001b[31mway"}]}"#;
    assert_eq!(error::message(json).unwrap(), "no [31mway");
    assert_eq!(error::message(br#"{"errors":[{"code":"DENIED","message":""}]}"#).unwrap(), "DENIED");
    assert_eq!(error::message(b"<html>"), None);
    assert_eq!(error::message(br#"{"errors":[]}"#), None);
}
