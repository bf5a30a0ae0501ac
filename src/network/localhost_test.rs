use super::*;

fn asks(head: &str) -> Head {
    read(head.as_bytes())
}

#[test]
fn a_request_says_for_whom_it_is() {
    let whom = |name: &str| Head::For(name.to_owned());
    assert_eq!(asks("GET / HTTP/1.1\r\nHost: web.hull.localhost:4855\r\n"), whom("web"));
    assert_eq!(asks("GET / HTTP/1.1\r\nAccept: */*\r\nhOST:\tWeb.Hull.LocalHost.\r\n\r\n"), whom("web"));
    assert_eq!(asks("POST /x HTTP/1.0\nhost: 8080.web.hull.localhost\n"), whom("8080.web"));
    for more in ["", "GE", "GET / HTTP/1.1", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: web.hull.loc"] {
        assert_eq!(asks(more), Head::More, "{more:?}");
    }
    for wrong in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: evil.example:4855\r\n",
        "GET / HTTP/1.1\r\nHost: web.hull.localhost.evil.example\r\n",
        "GET / HTTP/1.1\r\nHost: .hull.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:4855\r\n",
        "PRI * HTTP/2.0\r\n",
        "GET /\r\n",
        "\x16\x03\x01",
        "\r\n",
    ] {
        assert_eq!(asks(wrong), Head::Wrong, "{wrong:?}");
    }
}

#[test]
fn a_port_is_in_front_of_a_name() {
    assert_eq!(with_port("8080.web"), Some((8080, "web")));
    for none in ["web", "0.web", "70000.web", "x.web", "web.1"] {
        assert_eq!(with_port(none), None, "{none}");
    }
}

#[test]
fn whose_a_connection_is_can_be_seen() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let caller = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (SocketAddr::V4(peer), SocketAddr::V4(own)) =
        (caller.local_addr().unwrap(), listener.local_addr().unwrap())
    else {
        panic!()
    };
    assert!(is_ours(peer, own));
    assert!(!is_ours(own, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1)), "nobody's");
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                 0: 0100007F:9C40 0100007F:12F7 01 00000000:00000000 00:00000000 00000000  1000        0 12345 1\n";
    let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    assert_eq!(owner(table, at(40000), at(4855)), Some(1000));
    assert_eq!(owner(table, at(40001), at(4855)), None);
}
