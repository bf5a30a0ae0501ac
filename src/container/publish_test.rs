use super::*;
use crate::container::{
    Config,
    networking::{parse_publish, publications},
    process::tests::description,
};

fn change(add: &str, remove: &str) -> Change {
    let add = add.split_whitespace().flat_map(|text| parse_publish(text).unwrap()).collect();
    Change { add, remove: remove.split_whitespace().map(|text| text.parse().unwrap()).collect() }
}

/// Which ports are reached, and where.
fn shown(description: &Description) -> String {
    let all = publications(description).unwrap();
    let all: Vec<_> = all.iter().map(|one| format!("{}:{}", one.ports.0, one.inside)).collect();
    all.join(" ")
}

#[test]
fn a_port_that_is_added_twice_is_there_once() {
    let before = description(Config::default(), HostConfig::default());
    let add = change("8080:80 8080:80 8081:80", "");
    assert_eq!(shown(&add.apply(add.apply(before))), "8080:80 8081:80");
}

#[test]
fn a_port_that_was_removed_stays_away_also_where_all_are_published() {
    let host_config = HostConfig { publish_all_ports: true, ..HostConfig::default() };
    let mut before = description(Config::default(), host_config);
    before.config.exposed_ports = ["80".parse().unwrap(), "81".parse().unwrap()].into();
    assert_eq!(shown(&before), "0:80 0:81");
    let remove = change("", "80");
    remove.check(&before).unwrap();
    let after = remove.apply(before);
    assert_eq!(shown(&after), "0:81");
    assert!(remove.check(&after).unwrap_err().to_string().contains("80/tcp"));
    assert_eq!(shown(&change("8080:80", "").apply(after)), "8080:80 0:81");
}

#[test]
fn what_a_keeper_was_told_is_what_was_asked_for() {
    let before = || description(Config::default(), HostConfig::default());
    let change = change("80 8080:80 127.0.0.1:9000-9010:81 [::1]:53:53/udp", "");
    let told = change.add.iter().map(|(port, binding)| networking::publication(*port, binding).unwrap());
    let told = Republish { add: told.collect(), remove: Vec::new() };
    let (one, other) = (published(before(), &told), change.apply(before()));
    assert_eq!(one.host_config.port_bindings, other.host_config.port_bindings);
}
