//! Containers and the world: what they reach, and how they are reached.

mod common;

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use common::{Home, eventually, need_address};

/// Answers each connection with what it says, in capital letters, when it has said all.
fn answer_in_capitals(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let mut said = String::new();
                if stream.read_to_string(&mut said).is_ok() {
                    let _ = stream.write_all(said.to_uppercase().as_bytes());
                }
            });
        }
    });
    port
}

#[test]
fn a_container_reaches_the_host_but_not_its_loopback() {
    let test = "a_container_reaches_the_host_but_not_its_loopback";
    let (Some(home), Some(address)) = (Home::with_busybox(test), need_address(test)) else { return };
    let open = answer_in_capitals(address);
    let closed = answer_in_capitals(Ipv4Addr::LOCALHOST.into());
    let echo = UdpSocket::bind((address, 0)).expect("a port");
    let udp = echo.local_addr().expect("an address").port();
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((length, from)) = echo.recv_from(&mut bytes) {
            let _ = echo.send_to(&bytes[..length].to_ascii_uppercase(), from);
        }
    });
    let script = format!(
        "echo by tcp | nc {address} {open}; \
         nc 127.0.0.1 {closed} </dev/null || echo no loopback; nc 172.17.0.1 {closed} </dev/null || echo no gateway; \
         nc 169.254.169.254 80 </dev/null || echo no metadata; \
         (echo by udp; sleep 1000) | nc -u {address} {udp} | head -n 1"
    );
    let said = home.ok(&["run", "--rm", "busybox", "sh", "-c", &script]);
    assert_eq!(said, "BY TCP\nno loopback\nno gateway\nno metadata\nBY UDP\n");
    home.nothing_is_left("a container with a network");
}

#[test]
fn a_container_without_a_network_has_its_loopback_only() {
    let test = "a_container_without_a_network_has_its_loopback_only";
    let (Some(home), Some(address)) = (Home::with_busybox(test), need_address(test)) else { return };
    let open = answer_in_capitals(address);
    let script =
        format!("ls /sys/class/net; nc {address} {open} </dev/null || echo nobody; cat /etc/resolv.conf");
    let said = home.ok(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", &script]);
    assert_eq!(said, "lo\nnobody\n");
}

/// Reads all that a server says.
fn ask(port: u16, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream.write_all(request).expect("to ask");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_published_port_is_reached() {
    let Some(home) = Home::with_busybox("a_published_port_is_reached") else { return };
    let serve = "mkdir /www; head -c 3000000 /dev/urandom > /www/file; sha256sum < /www/file; httpd -p 80 -h /www; exec sleep 1000";
    home.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1::80",
        "--expose",
        "81",
        "busybox",
        "sh",
        "-c",
        serve,
    ]);
    let mut sum = String::new();
    eventually("the container to be ready", || {
        sum = home.ok(&["logs", "web"]);
        sum.contains('-')
    });
    let at: SocketAddr = home.ok(&["port", "web", "80"]).trim().parse().expect("an address");
    assert_eq!(at.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(home.ok(&["port", "web"]), format!("80/tcp -> {at}\n"));
    assert!(home.ok(&["ps"]).contains(&format!("{at}->80/tcp, 81/tcp")));
    let shown = home.inspect("web");
    let settings = &shown["NetworkSettings"];
    assert_eq!(settings["IPAddress"], "172.17.0.2");
    assert_eq!(settings["Networks"]["bridge"]["MacAddress"], "02:42:ac:11:00:02");
    assert_eq!(settings["Ports"]["80/tcp"][0]["HostPort"], at.port().to_string());
    let answer = ask(at.port(), b"GET /file HTTP/1.0\r\n\r\n");
    let begin = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a header") + 4;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&answer[begin..]);
    assert_eq!(sum.split_whitespace().next(), Some(&*hex::encode(digest)));

    // Nobody else gets the port.
    let publish = format!("{at}:80");
    let errors = home.fails(125, &["run", "--rm", "-p", &publish, "busybox", "true"]);
    assert!(errors.contains(&format!("{at} is already in use on this host")), "{errors}");
    home.ok(&["rm", "-f", "web"]);
    home.nothing_is_left("a published port");
    assert!(TcpStream::connect(at).is_err(), "the port is free");
}
