use super::*;

#[test]
fn sizes_are_read_as_docker_reads_them() {
    for (text, bytes) in [
        ("0", 0),
        ("4096", 4096),
        ("64m", 64 << 20),
        ("512M", 512 << 20),
        ("2GiB", 2 << 30),
        ("1.5g", 3 << 29),
        ("7kb", 7168),
    ] {
        assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
    }
    for text in ["", "m", "-1", "1x", "99999999999999g", "1e400g", "1.2.3m", "18446744073709551616"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn a_size_is_shown_as_it_can_be_read() {
    for bytes in [0, 1, 1023, 4096, 64 << 20, 3 << 29, 5 << 30] {
        assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
    }
    assert_eq!(Size(3 << 29).to_string(), "1536M");
}
