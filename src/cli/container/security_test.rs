use super::*;

#[test]
fn a_profile_is_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a:b=c.json");
    let read = |option: &str| options(&[option.to_owned()]).map_err(|error| error.to_string());
    std::fs::write(&path, "{ \"defaultAction\" :\n \"SCMP_ACT_ALLOW\" }").unwrap();
    let option = format!("seccomp={}", path.display());
    assert_eq!(read(&option).unwrap(), ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]);
    for kept in ["seccomp=unconfined", "seccomp=builtin", "no-new-privileges:true"] {
        assert_eq!(read(kept).unwrap(), [kept]);
    }
    for (content, expected) in [
        (b"[]".to_vec(), "not valid"),
        (b"{\"defaultAction\":".to_vec(), "not valid"),
        (b"\xff\xff".to_vec(), "cannot read"),
        (vec![b' '; LONGEST_PROFILE + 1], "longer than"),
        (b"[".repeat(100_000), "not valid"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = read(&option).unwrap_err();
        assert!(error.contains(expected) && error.contains("a:b=c.json"), "{error}");
    }
    assert!(read("seccomp=/nonexistent").unwrap_err().contains("/nonexistent"));
    assert!(read("seccomp=/dev/zero").is_err(), "it does not end");
}
