use super::*;

#[test]
fn a_member_has_its_number() {
    let subnet: Subnet6 = "fd12:3456:789a::/64".parse().unwrap();
    assert_eq!(subnet.gateway(), "fd12:3456:789a::1".parse::<Ipv6Addr>().unwrap());
    let address: Ipv6Addr = "fd12:3456:789a::1:2".parse().unwrap();
    assert_eq!((subnet.nth(0x1_0002), subnet.number(address)), (address, Some(0x1_0002)));
    for none in ["fd12:3456:789a:1::2", "fd12:3456:789a::1:0:2", "::2"] {
        assert_eq!(subnet.number(none.parse().unwrap()), None, "{none}");
    }
    assert_eq!(subnet.to_string(), "fd12:3456:789a::/64");
}

#[test]
fn what_is_no_subnet_is_refused() {
    let wrong = [
        "fd00::",
        "fd00::/64x",
        "fd00::/47",
        "fd00::/97",
        "fd00::1/64",
        "fe80::/64",
        "ff00::/64",
        "::/64",
        "64:ff9b::/96",
        "::ffff:10.0.0.0/96",
        "10.0.0.0/24",
    ];
    for wrong in wrong {
        assert!(wrong.parse::<Subnet6>().is_err(), "{wrong}");
    }
}

#[test]
fn what_nobody_else_has_is_a_subnet() {
    let (one, other) = (Subnet6::random(), Subnet6::random());
    assert_eq!(one.to_string().parse(), Ok(one));
    assert!(!one.overlaps(other) && one.overlaps(one));
    assert_eq!("fd00::/64".parse(), Ok(Range::V6("fd00::/64".parse().unwrap())));
    assert_eq!("10.0.0.0/24".parse(), Ok(Range::V4("10.0.0.0/24".parse().unwrap())));
}
