use super::*;

fn publications(count: u16) -> Vec<Publication> {
    (1..=count)
        .map(|inside| Publication { inside, protocol: Protocol::Tcp, address: None, ports: (0, 0) })
        .collect()
}

#[test]
fn few_ports_stay_where_they_are() {
    let mut ports = publications(3);
    assert!(unload(&mut ports).unwrap().is_none());
    assert_eq!(ports.len(), 3);
}

#[test]
fn many_ports_go_by_file() {
    let all = publications(5000);
    let mut ports = all.clone();
    let file = unload(&mut ports).unwrap().expect("a file");
    assert!(ports.is_empty());
    assert_eq!(read::<Vec<Publication>>(file).unwrap(), all);
}

#[test]
fn ports_are_had_again_where_they_were() {
    let one = |inside, address: Option<&str>, ports| Publication {
        inside,
        protocol: Protocol::Tcp,
        address: address.map(|address| address.parse().unwrap()),
        ports,
    };
    let bound = |inside, at: &str| Bound { inside, protocol: Protocol::Tcp, at: at.parse().unwrap() };
    let publications = [
        one(80, None, (0, 0)),
        one(80, Some("::1"), (7000, 7000)),
        one(81, None, (8000, 8010)),
        one(82, Some("127.0.0.1"), (0, 0)),
    ];
    let bound = [
        bound(80, "0.0.0.0:4000"),
        bound(80, "[::]:4000"),
        bound(80, "[::1]:7000"),
        bound(81, "0.0.0.0:8003"),
        bound(82, "127.0.0.1:5000"),
    ];
    let again = bound_again(&publications, &bound);
    let ports: Vec<_> = again.iter().map(|one| (one.inside, one.address, one.ports.0, one.ports.1)).collect();
    assert_eq!(
        ports,
        [
            (80, None, 4000, 4000),
            (80, Some("::1".parse().unwrap()), 7000, 7000),
            (81, None, 8003, 8003),
            (82, Some("127.0.0.1".parse().unwrap()), 5000, 5000)
        ]
    );
}
