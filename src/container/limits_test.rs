use super::*;

#[test]
fn limits_as_people_write_them() {
    let limit = parse("nofile=1024:2048").unwrap();
    assert_eq!((limit.soft, limit.hard), (1024, 2048));
    assert_eq!(parse("core=0").unwrap().hard, 0);
    assert_eq!(
        rlimits(&[parse("nofile=5:-1").unwrap()]).unwrap()[0],
        Rlimit { resource: 7, soft: 5, hard: u64::MAX }
    );
    for wrong in ["nofile", "nofile=", "nofile=x", "nofile=3:2", "nofile=-1:2", "nofile=-2", "what=1"] {
        assert!(parse(wrong).unwrap_err().to_string().contains("--ulimit"), "{wrong}");
    }
}
