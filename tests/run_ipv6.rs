//! IPv6 in networks, through the built program.

mod common;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use common::{Home, eventually};

/// Says what it is told in capitals, on the host's loopback.
fn answer_in_capitals() -> Option<u16> {
    let listener = TcpListener::bind("[::1]:0").ok()?;
    let port = listener.local_addr().ok()?.port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut said = String::new();
                if stream.read_to_string(&mut said).is_ok() {
                    let _ = stream.write_all(said.to_uppercase().as_bytes());
                }
            });
        }
    });
    Some(port)
}

#[test]
fn containers_reach_each_other_and_the_host_by_ipv6() {
    let test = "containers_reach_each_other_and_the_host_by_ipv6";
    let Some(home) = Home::with_busybox(test) else { return };
    let Some(port) = answer_in_capitals() else { return common::skip(test, "this host has no IPv6") };
    home.ok(&["network", "create", "--subnet", "172.30.0.0/24", "--subnet", "fd12:3456:789a::/64", "inner"]);
    home.ok(&["network", "create", "old", "--ipv6=false"]);
    let shown = |template: &str, what: &[&str]| home.ok(&[&["inspect", "-f", template], what].concat());
    for (network, options) in [("bridge", &[][..]), ("inner", &["--network", "inner", "-p", "[::1]::80"])] {
        let serve = format!("echo {network} > /index.html; httpd -p 80 -h /; echo ready; exec sleep 1000");
        let run = [&["run", "-d", "--name", network][..], options, &["busybox", "sh", "-c", &serve]];
        home.ok(&run.concat());
        eventually("a server to be ready", || home.ok(&["logs", network]) == "ready\n");
    }
    let settings = "{{.NetworkSettings.GlobalIPv6Address}}/{{.NetworkSettings.GlobalIPv6PrefixLen}} {{.NetworkSettings.IPv6Gateway}}";
    assert_eq!(shown(settings, &["inner"]), "fd12:3456:789a::2/64 fd12:3456:789a::1\n");
    let address = shown("{{.NetworkSettings.Networks.bridge.GlobalIPv6Address}}", &["bridge"]);
    let address = address.trim();

    let script = format!(
        "echo hello | nc fd12:3456:789a::1 {port}; ping -6 -c 1 -W 60 inner > /dev/null && echo named; wget -q -O- http://[fd12:3456:789a::2]/; ping -6 -c 1 {address} > /dev/null 2>&1 || echo apart"
    );
    let run = |options: &[&str], script: &str| {
        home.ok(&[&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat())
    };
    let open = ["--network", "inner", "--add-host", "host:host-gateway"];
    assert_eq!(run(&open, &script), "HELLO\nnamed\ninner\napart\n");
    // Not for whom it was not opened, nor by its own name or in disguise.
    let closed = format!(
        "for to in fd12:3456:789a::1 ::ffff:127.0.0.1 ::ffff:172.30.0.1 64:ff9b::7f00:1; do \
         echo hello | timeout 10 nc $to {port} 2>/dev/null || echo refused; done"
    );
    assert_eq!(run(&["--network", "inner"], &closed), "refused\n".repeat(4));
    let disguised = format!("echo hello | timeout 10 nc ::ffff:127.0.0.1 {port} 2>/dev/null || echo refused");
    assert_eq!(run(&open, &disguised), "refused\n");
    // By address in the network that is there without being made; and none where none is wanted.
    assert_eq!(run(&[], &format!("wget -q -O- http://[{address}]/")), "bridge\n");
    let has = "ip -o -6 addr show dev eth0 | grep -c inet6; :";
    assert_eq!((run(&[], has), run(&["--network", "old"], has)), ("1\n".to_owned(), "0\n".to_owned()));

    let at: SocketAddr = home.ok(&["port", "inner", "80"]).trim().parse().expect("an address");
    assert!(at.is_ipv6());
    let mut stream = TcpStream::connect(at).expect("a published port");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a question");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("inner\n"), "{answer}");

    for (code, wrong, says) in
        [(125, "fe80::/64", "neither in fc00::/7"), (1, "fd12:3456:789a::/64", "overlaps")]
    {
        let errors = home.fails(code, &["network", "create", "--subnet", wrong, "bad"]);
        assert!(errors.contains(says), "{errors}");
    }
    home.ok(&["rm", "-f", "bridge", "inner"]);
    home.nothing_is_left("IPv6");
}
