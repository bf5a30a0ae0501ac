use super::*;

fn publish(text: &str) -> Vec<String> {
    let written =
        |(port, binding): (Port, PortBinding)| format!("{}|{}|{port}", binding.host_ip, binding.host_port);
    parse_publish(text).unwrap().into_iter().map(written).collect()
}

#[test]
fn ports_are_published_as_docker_has_it() {
    assert_eq!(publish("8080:80"), ["|8080|80/tcp"]);
    assert_eq!(publish("80"), ["||80/tcp"]);
    assert_eq!(publish("0:80"), ["||80/tcp"]);
    assert_eq!(publish("127.0.0.1:8080:80/udp"), ["127.0.0.1|8080|80/udp"]);
    assert_eq!(publish("127.0.0.1::80"), ["127.0.0.1||80/tcp"]);
    assert_eq!(publish("[::1]:8080:80"), ["::1|8080|80/tcp"]);
    assert_eq!(publish("8000-8001:80-81"), ["|8000|80/tcp", "|8001|81/tcp"]);
    assert_eq!(publish("8000-8010:80"), ["|8000-8010|80/tcp"]);
    for wrong in
        ["", "x", "80:", "80:0", "1:2:3:4", "80/sctp", "70000:80", "8001-8000:80", "1-2:1-3", "x:1:2"]
    {
        assert!(parse_publish(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn hosts_are_added_by_name() {
    assert_eq!(extra_host("db:10.0.0.1", None), Some(("db", "10.0.0.1".parse().unwrap())));
    assert_eq!(extra_host("db=::1", None), Some(("db", "::1".parse().unwrap())));
    assert_eq!(extra_host("db:[::1]", None), Some(("db", "::1".parse().unwrap())));
    for wrong in ["db", "db:", ":1.2.3.4", "a b:1.2.3.4", "db:1.2.3"] {
        assert_eq!(extra_host(wrong, None), None, "{wrong}");
    }
    let gateway = Ipv4Addr::new(172, 17, 0, 1);
    assert_eq!(extra_host("me:host-gateway", Some(gateway)), Some(("me", gateway.into())));
    assert!(
        is_of_the_host("me:host-gateway")
            && !is_of_the_host("me:10.0.0.1")
            && !is_of_the_host(":host-gateway")
    );
}

#[test]
fn networks_have_their_names_and_are_given_once() {
    let name = |text: &str| match text {
        "1234" => Ok("inner".to_owned()),
        "nosuch" => Err(Error::Network("no such network".to_owned())),
        other => Ok(other.to_owned()),
    };
    let names = |given: &[&str]| {
        let mut host_config = HostConfig { network_mode: given[0].to_owned(), ..HostConfig::default() };
        let further =
            |name: &&str| MoreNetwork { network: (*name).to_owned(), endpoint: Endpoint::default() };
        let mut more: Vec<_> = given[1..].iter().map(further).collect();
        name_all(&mut host_config, &mut more, name).map_err(|error| error.to_string())?;
        Ok::<_, String>(
            [vec![host_config.network_mode], more.into_iter().map(|more| more.network).collect()].concat(),
        )
    };
    assert_eq!(names(&["1234", "default"]).unwrap(), ["inner", "bridge"]);
    assert_eq!(names(&["", "1234"]).unwrap(), ["", "inner"]);
    assert_eq!(names(&["none"]).unwrap(), ["none"]);
    for twice in [["inner", "1234"], ["default", "bridge"], ["", "default"]] {
        assert!(names(&twice).unwrap_err().ends_with("is specified multiple times"), "{twice:?}");
    }
    for none in [["none", "inner"], ["inner", "none"]] {
        assert!(names(&none).unwrap_err().contains("private (none) mode"), "{none:?}");
    }
    assert!(names(&["inner", "nosuch"]).is_err());
}
