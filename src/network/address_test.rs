use super::*;

#[test]
fn a_subnet_has_a_gateway_and_members() {
    let subnet: Subnet = "172.30.4.0/29".parse().unwrap();
    assert_eq!(subnet.gateway(), Ipv4Addr::new(172, 30, 4, 1));
    let members: Vec<_> = subnet.members().map(|member| member.octets()[3]).collect();
    assert_eq!(members, [2, 3, 4, 5, 6]);
    assert_eq!(subnet.broadcast(), Ipv4Addr::new(172, 30, 4, 7));
    for (address, may) in [
        ([172, 30, 4, 1], false),
        ([172, 30, 4, 6], true),
        ([172, 30, 4, 7], false),
        ([172, 30, 5, 2], false),
    ] {
        assert_eq!(subnet.may_have(address.into()), may, "{address:?}");
    }
}

#[test]
fn what_is_no_subnet_is_refused() {
    for wrong in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/30", "10.0.0.0/4", "10.0.0.1/24", "fd00::/64"] {
        assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
    }
}

#[test]
fn ranges_that_networks_get_do_not_overlap() {
    let all: Vec<Subnet> = Subnet::all().collect();
    for (place, subnet) in all.iter().enumerate() {
        assert!(all[place + 1..].iter().all(|other| !subnet.overlaps(*other)), "{subnet}");
        assert_eq!(subnet.to_string().parse(), Ok(*subnet));
    }
    assert_eq!(all[0].to_string(), "172.17.0.0/16");
}

#[test]
fn guests_have_no_way_to_what_trusts_its_neighbours() {
    for closed in [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "fec0::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd00:c1::a9fe:a9fe",
        "fd00:a9fe:a9fe::1",
        "fd00:42::42",
        "64:ff9b:1::a9fe:a9fe",
        "fd20:ce::254",
    ] {
        assert!(!reachable(closed.parse().unwrap()), "{closed}");
    }
    for open in ["10.0.0.1", "192.168.1.1", "203.0.113.80", "fd00::2", "2001:db8::1", "::ffff:10.0.0.1"] {
        assert!(reachable(open.parse().unwrap()), "{open}");
    }
}

#[test]
fn ethernet_addresses_are_read_as_they_are_written() {
    let address = mac(Ipv4Addr::new(172, 17, 0, 2));
    assert_eq!(mac_text(address), "02:42:ac:11:00:02");
    assert_eq!(parse_mac("02:42:AC:11:00:02"), Ok(address));
    assert_eq!(parse_mac("02-42-ac-11-00-02"), Ok(address));
    for wrong in [
        "",
        "02:42:ac:11:00",
        "02:42:ac:11:00:02:03",
        "2:42:ac:11:0:2",
        "01:00:5e:00:00:01",
        "zz:42:ac:11:00:02",
    ] {
        assert!(parse_mac(wrong).is_err(), "{wrong}");
    }
}
