//! `http://NAME.hull.localhost`: containers reached by name, without a port that was published.

mod common;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use common::{Home, eventually};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};

/// A port that nobody else has for as long as the socket is open. Nothing is heard there by it.
fn port() -> (OwnedFd, u16) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("an option");
    sockopt::set_socket_reuseport(&socket, true).expect("an option");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let at = SocketAddr::try_from(getsockname(&socket).expect("an address")).expect("an address");
    (socket, at.port())
}

/// What is said to these parts of a request.
fn ask(port: u16, parts: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    for part in parts {
        stream.write_all(part.as_bytes())?;
        // Each by itself, as far as that is in one's hands.
        std::thread::sleep(Duration::from_millis(30 * (parts.len() as u64 - 1)));
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn containers_are_reached_by_name_without_being_published() {
    let Some(home) = Home::with_busybox("containers_are_reached_by_name_without_being_published") else {
        return;
    };
    let (_held, port) = port();
    let hull = |arguments: &[&str]| {
        let output =
            home.hull(arguments).env("HULL_LOCALHOST_PORT", port.to_string()).output().expect("hull");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    hull(&["network", "create", "inner"]);
    let run = |options: &[&str], name: &str, ports: [u16; 2]| {
        let [first, second] = ports;
        let serve = format!(
            "mkdir /a /b; echo {name} > /a/x; echo {name} too > /b/x; httpd -p {first} -h /a; httpd -p {second} -h /b; \
             echo ready; exec sleep 1000"
        );
        hull(&[&["run", "-d", "--name", name], options, &["busybox", "sh", "-c", &serve]].concat());
        eventually("a server to be ready", || home.ok(&["logs", name]) == "ready\n");
    };
    run(&[], "Web", [80, 81]);
    run(&["--network", "inner", "--expose", "3000", "--expose", "3001"], "app", [3000, 3001]);
    let try_get = |host: &str| ask(port, &[&format!("GET /x HTTP/1.0\r\nHost: {host}\r\n\r\n")]);
    let get = |host: &str| try_get(host).expect("an answer");
    let says = |host: &str, expected: &str| {
        let answer = get(host);
        assert!(answer.contains(" 200 ") && answer.ends_with(expected), "{host}: {answer}");
    };
    // Either network may be called, whoever is meant.
    for _ in 0..8 {
        says(&format!("web.hull.localhost:{port}"), "\nWeb\n");
        says("81.web.hull.localhost", "\nWeb too\n");
        says(&format!("app.hull.localhost:{port}"), "\napp\n");
        says("3001.APP.hull.localhost.", "\napp too\n");
    }
    let parts = ["GET /x HT", "TP/1.0\r\nAccept: */*\r\nHo", "st: app.hull.local", "host\r\n\r\n"];
    assert!(ask(port, &parts).expect("an answer").ends_with("\napp\n"));

    // Nobody else's names lead here.
    for host in ["evil.example", "127.0.0.1", "web.hull.localhost.evil.example"] {
        assert!(get(host).starts_with("HTTP/1.1 421 "), "{host}");
    }
    let encrypted = ask(port, &["\x16\x03\x01\x02"]).expect("an answer");
    assert!(encrypted.starts_with("HTTP/1.1 421 "), "{encrypted}");
    let answer = get("nosuch.hull.localhost");
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("no container nosuch"), "{answer}");

    // With its network a container is gone; the others are still there.
    hull(&["rm", "-f", "Web"]);
    // A network that is about to end may still be called.
    let is = |host: &str, wanted: &str| try_get(host).is_ok_and(|answer| answer.contains(wanted));
    eventually("one to be gone", || is("web.hull.localhost", "HTTP/1.1 404 "));
    eventually("the other", || is("app.hull.localhost", "\napp\n"));
    hull(&["rm", "-f", "app"]);
    home.nothing_is_left("containers that are reached by name");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "nobody listens any more");
}
