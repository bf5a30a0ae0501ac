use super::*;

fn egress(text: &str) -> Egress {
    Egress::new(Some(parse(text).unwrap()))
}

#[test]
fn ranges_are_called_and_others_are_not() {
    let (egress, now) = (egress("allow=10.0.0.0/8,192.0.2.7,example.com"), Instant::now());
    for (address, allowed) in
        [("10.255.0.1", true), ("11.0.0.0", false), ("192.0.2.7", true), ("192.0.2.8", false), ("::1", false)]
    {
        assert_eq!(egress.allows(address.parse().unwrap(), now), allowed, "{address}");
    }
    let none = self::egress("deny");
    assert!(none.is_limited() && !none.allows("10.0.0.1".parse().unwrap(), now));
    assert!(!none.allows_name("example.com"));
    let all = Egress::default();
    assert!(!all.is_limited() && all.allows("10.0.0.1".parse().unwrap(), now) && all.allows_name("x"));
    assert!(self::egress("allow=0.0.0.0/0").allows("8.8.8.8".parse().unwrap(), now));
}

#[test]
fn ranges_of_ipv6_are_called_and_others_are_not() {
    let (egress, now) = (egress("allow=2001:db8::/32,fd00::7,10.0.0.0/8"), Instant::now());
    for (address, allowed) in [
        ("2001:db8:ffff::1", true),
        ("2001:db9::", false),
        ("fd00::7", true),
        ("fd00::8", false),
        ("::ffff:10.0.0.1", true),
        ("::ffff:11.0.0.1", false),
        ("64:ff9b::10.0.0.1", false),
    ] {
        assert_eq!(egress.allows(address.parse().unwrap(), now), allowed, "{address}");
    }
    assert!(self::egress("allow=::/0").allows("2001:db8::1".parse().unwrap(), now));
    assert!(!self::egress("allow=::/0").allows("10.0.0.1".parse().unwrap(), now));
}

#[test]
fn names_are_asked_for_and_what_they_are_called_by_holds() {
    let mut egress = egress("allow=Example.com.,*.example.org");
    for (name, allowed) in [
        ("example.com", true),
        ("www.example.com", false),
        ("example.org", false),
        ("a.b.example.org", true),
        ("badexample.org", false),
    ] {
        assert_eq!(egress.allows_name(name), allowed, "{name}");
    }
    let (address, now) = (IpAddr::from([192, 0, 2, 1]), Instant::now());
    egress.learn(address, Duration::ZERO, now);
    assert!(egress.allows(address, now + Duration::from_secs(200)));
    assert!(!egress.allows(address, now + Duration::from_secs(400)));
}

#[test]
fn what_is_learned_is_bounded() {
    let (mut egress, now) = (egress("allow=*.example.org"), Instant::now());
    for number in 0..10_000u32 {
        egress.learn(IpAddr::from(number.to_be_bytes()), Duration::from_secs(1000 + u64::from(number)), now);
    }
    assert_eq!(egress.learned.len(), MOST_LEARNED);
    assert!(egress.allows(IpAddr::from(9999u32.to_be_bytes()), now));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for wrong in [
        "",
        "allow",
        "deny=1.2.3.4",
        "allow=",
        "allow=1.2.3.4/33",
        "allow=fd00::/129",
        "allow=::ffff:1.2.3.4",
        "allow=1.2.3",
        "allow=a..b",
        "allow=*",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    for right in ["10.0.0.0/8", "fd00::/8", "example.com", "*.example.com"] {
        assert_eq!(right.parse::<Allowed>().unwrap().to_string(), right);
    }
}
