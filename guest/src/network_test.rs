use std::{net::Ipv6Addr, process::Command, thread};

use super::*;

/// Runs `ip` where this thread is; gives what it says.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Has a thread in a network namespace with a card do something, if that can be had here.
fn with_card(act: impl FnOnce(Card) + Send + 'static) {
    let test = move || {
        if let Err(error) = sys::unshare(libc::CLONE_NEWNET) {
            return eprintln!("skipped: no network namespace: {error}");
        }
        let made =
            Command::new("ip").args(["link", "add", CARD_NAME, "type", "veth", "peer", "other"]).status();
        if !made.is_ok_and(|status| status.success()) {
            return eprintln!("skipped: ip makes no card here");
        }
        ip("link set other up");
        act(Card::default());
    };
    thread::spawn(test).join().unwrap();
}

/// The card in the network 172.N.0.0/16, with this number.
fn network(subnet: u8, number: u8) -> Network {
    let v6 = |last| Ipv6Addr::new(0xfd00, u16::from(subnet), 0, 0, 0, 0, 0, last);
    Network {
        mac: [2, 0x42, 172, subnet, 0, number],
        address: Ipv4Addr::new(172, subnet, 0, number),
        prefix: 16,
        gateway: Ipv4Addr::new(172, subnet, 0, 1),
        gateway_mac: [2, 0x42, 172, subnet, 0, 1],
        v6: Some(NetworkV6 { address: v6(number.into()), prefix: 64, gateway: v6(1) }),
    }
}

/// Whether the card is in these networks and in no other, and its way out is by this gateway.
fn is_in(networks: &[Network], way: &str) {
    let addresses = ip("-o address show dev eth0");
    let neighbours = ip("neighbour show dev eth0 nud permanent");
    for (subnet, number) in (18..=20).flat_map(|subnet| (2..=4).map(move |number| (subnet, number))) {
        let face = network(subnet, number);
        let expected = networks.contains(&face);
        for text in [format!(" {}/16 ", face.address), format!(" {}/64 ", face.v6.unwrap().address)] {
            assert_eq!(addresses.contains(&text), expected, "{text}: {addresses}");
        }
        let expected = networks.iter().any(|network| network.gateway == face.gateway);
        for text in [format!("{} lladdr", face.gateway), format!("{} lladdr", face.v6.unwrap().gateway)] {
            assert_eq!(neighbours.contains(&text), expected, "{text}: {neighbours}");
        }
    }
    let route = ip("route show default");
    assert!(route.lines().count() <= 1 && route.contains(way), "not {way}: {route}");
    let route = ip("-6 route show default");
    let ways = networks.first().map(|network| format!("via {} ", network.v6.unwrap().gateway));
    assert!(route.lines().count() == ways.iter().count(), "{route}");
    assert!(ways.is_none_or(|way| route.contains(&way)), "{route}");
}

#[test]
fn networks_change() {
    with_card(|mut card| {
        let (a, b) = (network(18, 2), network(19, 3));
        let steps: [(&[Network], &str); 6] = [
            (&[a], "via 172.18.0.1 "),
            (&[a, b], "via 172.18.0.1 "),
            (&[b], "via 172.19.0.1 "),
            (&[], ""),
            (&[b, a], "via 172.19.0.1 "),
            (&[network(19, 4)], "via 172.19.0.1 "),
        ];
        for (networks, way) in steps {
            card.join(networks).unwrap();
            is_in(networks, way);
        }
    });
}

#[test]
fn networks_change_where_the_container_has_an_address_of_its_own() {
    with_card(|mut card| {
        card.join(&[network(18, 2)]).unwrap();
        ip("address add 10.9.8.7/32 dev eth0");
        ip("address add fd99::7/128 dev eth0");
        // Another number in the same network, as a copy has; none at all; and one again, whose gateway was asked for in vain.
        card.join(&[network(18, 3)]).unwrap();
        is_in(&[network(18, 3)], "via 172.18.0.1 ");
        card.join(&[]).unwrap();
        is_in(&[], "");
        ip("neighbour add 172.18.0.1 dev eth0 nud failed");
        card.join(&[network(18, 2)]).unwrap();
        is_in(&[network(18, 2)], "via 172.18.0.1 ");
        assert!(ip("address show dev eth0").contains("10.9.8.7/32"));
    });
}

#[test]
fn the_containers_own_way_to_everybody_stays() {
    with_card(|mut card| {
        let (a, b) = (network(18, 2), network(19, 2));
        card.join(&[a, b]).unwrap();
        ip("link set lo up");
        ip("route replace default dev lo");
        card.join(&[b]).unwrap();
        is_in(&[b], "dev lo ");
        card.join(&[a]).unwrap();
        is_in(&[a], "dev lo ");
    });
}

/// A network whose gateway is in none.
fn impossible() -> Network {
    Network { gateway: Ipv4Addr::new(203, 0, 113, 1), ..network(20, 2) }
}

#[test]
fn a_change_that_is_refused_is_taken_back() {
    with_card(|mut card| {
        let a = network(18, 2);
        card.join(&[a]).unwrap();
        ip("address add 10.9.8.7/32 dev eth0");
        card.join(&[impossible()]).unwrap_err();
        assert!(!card.doubtful);
        is_in(&[a], "via 172.18.0.1 ");
    });
}

#[test]
fn nothing_is_taken_for_granted_after_a_change_that_could_not_be_taken_back() {
    with_card(|mut card| {
        let (a, b) = (network(18, 2), network(19, 2));
        card.join(&[a, b]).unwrap();
        // Without its address there the container's way out is by a gateway that is in no network, which is not to be had again.
        ip("address add 10.9.8.7/32 dev eth0");
        ip("address del 172.18.0.2/16 dev eth0");
        assert!(ip("route show default").contains("via 172.18.0.1 "));
        card.join(&[impossible()]).unwrap_err();
        assert!(card.doubtful);
        card.join(&[network(20, 3)]).unwrap();
        assert!(!card.doubtful);
        is_in(&[network(20, 3)], "via 172.20.0.1 ");
    });
}
