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
        let mut question = [0; 512];
        while let Ok((length, from)) = echo.recv_from(&mut question) {
            // A name server that knows one address, whatever it is asked.
            let address = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 203, 0, 113, 7];
            let header = [question[0], question[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
            let _ = echo.send_to(&[&header[..], &question[12..length], &address].concat(), from);
        }
    });
    let script = format!(
        "echo by tcp | nc {address} {open}; \
         nc 127.0.0.1 {closed} </dev/null || echo no loopback; nc 172.17.0.1 {closed} </dev/null || echo no gateway; \
         nc 169.254.169.254 80 </dev/null || echo no metadata; \
         nslookup -port={udp} -type=a by.udp {address} | tail -n 3"
    );
    let said = home.ok(&["run", "--rm", "busybox", "sh", "-c", &script]);
    assert_eq!(said, "BY TCP\nno loopback\nno gateway\nno metadata\nName:\tby.udp\nAddress: 203.0.113.7\n\n");
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
    let serve = "mkdir /www; head -c 300000 /dev/urandom > /www/file; httpd -p 80 -h /www; sha256sum < /www/file; exec sleep 1000";
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

#[test]
fn containers_of_one_network_know_each_other_by_name() {
    let Some(home) = Home::with_busybox("containers_of_one_network_know_each_other_by_name") else { return };
    home.ok(&["network", "create", "--subnet", "172.30.0.0/24", "inner"]);
    assert!(
        home.fails(1, &["network", "create", "inner"]).contains("network with name inner already exists")
    );
    assert!(home.fails(1, &["network", "create", "--subnet", "172.30.0.128/25", "x"]).contains("overlaps"));
    let serve = "echo it is me > /index.html; httpd -p 80 -h /; echo ready; exec sleep 1000";
    let shell = ["busybox", "sh", "-c", serve];
    let server = [
        "run",
        "-d",
        "--name",
        "Server",
        "--network",
        "inner",
        "--network-alias",
        "web",
        "--ip",
        "172.30.0.9",
    ];
    home.ok(&[&server[..], &shell].concat());
    eventually("the server to be ready", || home.ok(&["logs", "Server"]) == "ready\n");
    // By its name, by what else it is called, and by its address.
    let ask =
        "for name in server web web.inner 172.30.0.9; do wget -q -O- http://$name/ || echo nobody; done";
    let said = home.ok(&["run", "--rm", "--network", "inner", "busybox", "sh", "-c", ask]);
    assert_eq!(said, "it is me\n".repeat(4));
    // Another network is another world.
    let ask =
        "for name in web 172.30.0.9; do timeout 5 wget -q -O- http://$name/ 2>/dev/null || echo nobody; done";
    assert_eq!(home.ok(&["run", "--rm", "busybox", "sh", "-c", ask]), "nobody\nnobody\n");

    let text = home.ok(&["network", "inspect", "inner"]);
    let shown: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(shown[0]["IPAM"]["Config"][0]["Gateway"], "172.30.0.1");
    let members: Vec<_> = shown[0]["Containers"].as_object().expect("containers").values().collect();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["IPv4Address"], "172.30.0.9/24");
    let errors =
        home.fails(125, &["run", "--rm", "--network", "inner", "--ip", "172.30.0.9", "busybox", "true"]);
    assert!(errors.contains("172.30.0.9 is already in use in network inner"), "{errors}");
    assert!(home.fails(1, &["network", "rm", "inner"]).contains("has containers that run"));
    home.ok(&["rm", "-f", "Server"]);
    home.await_quiet();
    assert_eq!(home.ok(&["network", "rm", "inner"]), "inner\n");
    assert!(home.fails(1, &["network", "inspect", "inner"]).contains("no such network"));
    home.nothing_is_left("a network");
}

#[test]
fn forks_have_addresses_of_their_own() {
    let test = "forks_have_addresses_of_their_own";
    let (Some(home), Some(address)) = (Home::with_busybox(test), need_address(test)) else { return };
    let port = answer_in_capitals(address);
    let script = format!(
        "tell() {{ ip -o -4 addr show eth0 | grep -o 'inet [^ ]*'; grep -c \"^172.17.*$(hostname)\" /etc/hosts; \
         echo hello | nc {address} {port}; }}; trap tell USR1; echo ready; while :; do sleep 0.2; done"
    );
    home.ok(&["run", "-d", "--name", "one", "busybox", "sh", "-c", &script]);
    eventually("the container to be ready", || home.ok(&["logs", "one"]) == "ready\n");
    home.ok(&["fork", "--name", "copy", "one"]);
    for (container, expected) in [("one", "172.17.0.2/16"), ("copy", "172.17.0.3/16")] {
        home.ok(&["kill", "-s", "USR1", container]);
        let mut said = String::new();
        eventually("an answer", || {
            said = home.ok(&["logs", "--tail", "3", container]);
            said.ends_with("HELLO\n")
        });
        assert_eq!(said, format!("inet {expected}\n1\nHELLO\n"), "{container}");
    }
    home.ok(&["rm", "-f", "one", "copy"]);
    home.nothing_is_left("forks in a network");
}

#[test]
fn a_network_that_is_killed_is_there_again() {
    let Some(home) = Home::with_busybox("a_network_that_is_killed_is_there_again") else { return };
    home.ok(&["network", "create", "--subnet", "172.30.0.0/24", "inner"]);
    let serve = "echo it is me > /index.html; httpd -p 80 -h /; echo ready; exec sleep 1000";
    let server = ["run", "-d", "--name", "web", "--network", "inner", "-p", "127.0.0.1::80"];
    home.ok(&[&server[..], &["busybox", "sh", "-c", serve]].concat());
    eventually("the server to be ready", || home.ok(&["logs", "web"]) == "ready\n");
    let at: SocketAddr = home.ok(&["port", "web", "80"]).trim().parse().expect("an address");
    let request = b"GET /index.html HTTP/1.0\r\n\r\n";
    assert!(ask(at.port(), request).ends_with(b"it is me\n"));

    let before = home.find("net").expect("the network's process");
    assert!(home.kill("net"));
    eventually("another process", || home.find("net").is_some_and(|now| now != before));
    eventually("the port to be there again", || TcpStream::connect(at).is_ok());
    assert!(ask(at.port(), request).ends_with(b"it is me\n"));
    assert_eq!(home.ok(&["port", "web", "80"]).trim(), at.to_string());
    let said = home.ok(&["run", "--rm", "--network", "inner", "busybox", "wget", "-q", "-O-", "http://web/"]);
    assert_eq!(said, "it is me\n");
    home.ok(&["rm", "-f", "web"]);
    home.nothing_is_left("a network that was killed");
}

#[test]
fn a_thousand_ports_are_published() {
    let Some(home) = Home::with_busybox("a_thousand_ports_are_published") else { return };
    let serve = "echo one of many > /index.html; httpd -p 8765 -h /; echo ready; exec sleep 1000";
    let run = [
        "run",
        "-d",
        "--name",
        "many",
        "-p",
        "127.0.0.1:21000-21999:8000-8999",
        "busybox",
        "sh",
        "-c",
        serve,
    ];
    home.ok(&run);
    eventually("the server to be ready", || home.ok(&["logs", "many"]) == "ready\n");
    assert_eq!(home.ok(&["port", "many"]).lines().count(), 1000);
    assert!(ask(21765, b"GET /index.html HTTP/1.0\r\n\r\n").ends_with(b"one of many\n"));
    home.ok(&["rm", "-f", "many"]);
    home.await_quiet();

    // More than there are descriptors for.
    let limited = format!("ulimit -n 600; exec {} \"$@\"", common::hull_path().display());
    let mut command = home.hull(&[]);
    let environment: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command = std::process::Command::new("sh");
    command.args(["-c", &limited, "sh"]).args(["run", "--rm"]).args(&run[4..]);
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().expect("a shell");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    assert!(errors.contains("cannot publish 1000 ports") && errors.contains("ulimit"), "{errors}");
    home.nothing_is_left("a thousand ports");
}

#[test]
fn a_container_calls_only_whom_it_may() {
    let test = "a_container_calls_only_whom_it_may";
    let (Some(home), Some(address)) = (Home::with_busybox(test), need_address(test)) else { return };
    let open = answer_in_capitals(address);
    let inner = answer_in_capitals(Ipv4Addr::LOCALHOST.into());
    let script = format!(
        "echo called | nc {address} {open} || echo nobody; \
         nslookup -type=a example.com | grep -q REFUSED && echo not asked; \
         echo inside | nc host.hull.internal {inner} || echo closed"
    );
    let shell = ["busybox", "sh", "-c", &script];
    let said = |options: &[&str]| home.ok(&[&["run", "--rm"], options, &shell].concat());
    assert_eq!(said(&["--egress", "deny"]), "nobody\nnot asked\nclosed\n");
    let allow = format!("allow={address}");
    assert_eq!(said(&["--egress", &allow]), "CALLED\nnot asked\nclosed\n");
    let errors = home.fails(125, &["run", "--egress", "allow=1.2.3", "busybox", "true"]);
    assert!(errors.contains("invalid destination \"1.2.3\" in --egress"), "{errors}");
    // The host's loopback, for who was given it by name.
    let script = format!("echo inside | nc me {inner}; echo again | nc host.docker.internal {inner}");
    let run = ["run", "--rm", "--add-host", "me:host-gateway", "busybox", "sh", "-c", &script];
    assert_eq!(home.ok(&run), "INSIDE\nAGAIN\n");
    home.nothing_is_left("a container that calls only whom it may");
}

#[test]
fn a_container_is_put_into_a_network() {
    let Some(home) = Home::with_busybox("a_container_is_put_into_a_network") else { return };
    home.ok(&["network", "create", "--subnet", "172.30.0.0/24", "inner"]);
    home.ok(&["network", "create", "--subnet", "172.31.0.0/24", "other"]);
    let script =
        "ip -o -4 addr show eth0 | grep -o 'inet [^ ]*'; nslookup -type=a me | tail -n 2; exec sleep 1000";
    home.ok(&["create", "--name", "one", "busybox", "sh", "-c", script]);
    home.ok(&["network", "connect", "--alias", "me", "--ip", "172.30.0.7", "inner", "one"]);
    home.ok(&["start", "one"]);
    let mut said = String::new();
    eventually("an answer", || {
        said = home.ok(&["logs", "one"]);
        said.ends_with("\n\n")
    });
    assert_eq!(said, "inet 172.30.0.7/24\nAddress: 172.30.0.7\n\n");
    assert!(home.fails(1, &["network", "connect", "other", "one"]).contains("container one is running"));
    home.ok(&["stop", "-t", "0", "one"]);
    let errors = home.fails(1, &["network", "connect", "other", "one"]);
    assert!(errors.contains("`hull network disconnect inner one` first"), "{errors}");
    let errors = home.fails(1, &["network", "disconnect", "other", "one"]);
    assert!(errors.contains("container one is not connected to network other"), "{errors}");
    home.ok(&["network", "disconnect", "inner", "one"]);
    assert_eq!(home.inspect("one")["HostConfig"]["NetworkMode"], "none");
    assert!(home.fails(1, &["network", "connect", "nosuch", "one"]).contains("no such network"));
    home.ok(&["network", "connect", "other", "one"]);
    home.ok(&["start", "one"]);
    eventually("another address", || home.ok(&["logs", "one"]).contains("inet 172.31.0.2/24\n"));
    home.ok(&["rm", "-f", "one"]);
    home.nothing_is_left("networks that a container was in");
}
