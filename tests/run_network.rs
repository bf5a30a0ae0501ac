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
    let script = "ip -o -4 addr show eth0 | grep -o 'inet [^ ]*'; nslookup -type=a me | grep -A1 Name: | tail -n 1; \
                  echo told; exec sleep 1000";
    home.ok(&["create", "--name", "one", "--network", "none", "busybox", "sh", "-c", script]);
    home.ok(&["network", "connect", "--alias", "me", "--ip", "172.30.0.7", "inner", "one"]);
    let errors = home.fails(1, &["network", "connect", "inner", "one"]);
    assert!(errors.contains("endpoint with name one already exists in network inner"), "{errors}");
    let told = |expected: &str| {
        let before = home.ok(&["logs", "one"]).len();
        home.ok(&["start", "one"]);
        let mut said = String::new();
        eventually("an answer", || {
            said = home.ok(&["logs", "one"]).split_off(before);
            said.ends_with("told\n")
        });
        assert_eq!(said, format!("{expected}told\n"));
        home.ok(&["stop", "-t", "0", "one"]);
    };
    told("inet 172.30.0.7/24\nAddress: 172.30.0.7\n");
    // Into another, too; what it is called there is found from the first.
    home.ok(&["network", "connect", "--alias", "you", "other", "one"]);
    assert!(home.ok(&["ps", "-a", "--format", "{{.Networks}}"]).contains("inner,other"));
    told("inet 172.30.0.7/24\ninet 172.31.0.2/24\nAddress: 172.30.0.7\n");
    home.ok(&["network", "disconnect", "inner", "one"]);
    let errors = home.fails(1, &["network", "disconnect", "inner", "one"]);
    assert!(errors.contains("container one is not connected to network inner"), "{errors}");
    assert_eq!(home.inspect("one")["HostConfig"]["NetworkMode"], "other");
    told("inet 172.31.0.2/24\n");
    home.ok(&["network", "disconnect", "other", "one"]);
    assert_eq!(home.inspect("one")["HostConfig"]["NetworkMode"], "none");
    assert!(home.fails(1, &["network", "connect", "nosuch", "one"]).contains("no such network"));
    home.ok(&["rm", "-f", "one"]);
    home.nothing_is_left("networks that a container was in");
}

/// The addresses that a container that runs has, one a line.
fn addresses(home: &Home, container: &str) -> String {
    home.ok(&["exec", container, "sh", "-c", "ip -o -4 addr show eth0 2>/dev/null | grep -o 'inet [^ ]*'; :"])
}

#[test]
fn a_container_that_runs_comes_into_networks_and_leaves_them() {
    let test = "a_container_that_runs_comes_into_networks_and_leaves_them";
    let (Some(home), Some(address)) = (Home::with_busybox(test), need_address(test)) else { return };
    let open = answer_in_capitals(address);
    for (network, subnet) in [("inner", "172.30.0.0/24"), ("other", "172.31.0.0/24")] {
        home.ok(&["network", "create", "--subnet", subnet, network]);
    }
    let serve =
        |name: &str| format!("echo {name} > /index.html; httpd -p 80 -h /; echo ready; exec sleep 1000");
    let run = |name: &str, options: &[&str]| {
        let serve = serve(name);
        home.ok(&[&["run", "-d", "--name", name], options, &["busybox", "sh", "-c", &serve]].concat());
        eventually("a server to be ready", || home.ok(&["logs", name]) == "ready\n");
    };
    let get = |from: &str, name: &str| {
        let script = format!("timeout 60 wget -q -O- http://{name}/ 2>/dev/null || echo nobody");
        home.ok(&["exec", from, "sh", "-c", &script])
    };
    run("web", &["-p", "127.0.0.1::80"]);
    run("near", &["--network", "inner"]);
    let at: SocketAddr = home.ok(&["port", "web", "80"]).trim().parse().expect("an address");
    assert_eq!(get("near", "web"), "nobody\n");

    // Both ways, by names of both networks; the first is as it was.
    home.ok(&["network", "connect", "--alias", "shop", "--ip", "172.30.0.9", "inner", "web"]);
    assert_eq!(addresses(&home, "web"), "inet 172.17.0.2/16\ninet 172.30.0.9/24\n");
    assert_eq!(get("near", "web") + &get("near", "shop") + &get("near", "172.30.0.9"), "web\n".repeat(3));
    assert_eq!(get("web", "near") + &get("web", "near.inner") + &get("web", "web"), "near\nnear\nweb\n");
    assert!(ask(at.port(), b"GET /index.html HTTP/1.0\r\n\r\n").ends_with(b"web\n"));
    let shown = &home.inspect("web")["NetworkSettings"];
    assert_eq!(shown["Networks"]["inner"]["IPAddress"], "172.30.0.9");
    assert_eq!(shown["IPAddress"], "172.17.0.2");
    assert!(home.ok(&["network", "inspect", "inner"]).contains("172.30.0.9/24"));
    let errors = home.fails(1, &["network", "connect", "inner", "web"]);
    assert!(errors.contains("endpoint with name web already exists in network inner"), "{errors}");
    let errors = home.fails(1, &["network", "connect", "--ip", "172.30.0.9", "inner", "nosuch"]);
    assert!(errors.contains("No such container"), "{errors}");

    // The first is left: its ports go on to the next, which leads to everybody else from now on.
    home.ok(&["network", "disconnect", "bridge", "web"]);
    assert_eq!(addresses(&home, "web"), "inet 172.30.0.9/24\n");
    assert_eq!(get("web", "near"), "near\n");
    assert_eq!(home.ok(&["port", "web", "80"]).trim(), at.to_string());
    assert!(ask(at.port(), b"GET /index.html HTTP/1.0\r\n\r\n").ends_with(b"web\n"));
    let call = format!("echo out | nc {address} {open}");
    assert_eq!(home.ok(&["exec", "web", "sh", "-c", &call]), "OUT\n");

    // Another has its first address now, and its Ethernet address, and comes to where it is.
    run("twin", &[]);
    assert_eq!(addresses(&home, "twin"), "inet 172.17.0.2/16\n");
    home.ok(&["network", "connect", "inner", "twin"]);
    assert_eq!(get("twin", "web") + &get("web", "twin") + &get("near", "twin"), "web\ntwin\ntwin\n");

    // One whose address is taken stays where it was.
    let errors = home.fails(1, &["network", "connect", "--ip", "172.31.0.1", "other", "near"]);
    assert!(errors.contains("172.31.0.1 is no address for a container"), "{errors}");
    home.ok(&["network", "connect", "--ip", "172.31.0.5", "other", "near"]);
    let errors = home.fails(1, &["network", "connect", "--ip", "172.31.0.5", "other", "twin"]);
    assert!(errors.contains("172.31.0.5 is already in use in network other"), "{errors}");
    assert_eq!(addresses(&home, "twin").lines().count(), 2);

    // All of it is so for the next start, too.
    home.ok(&["restart", "-t", "0", "web"]);
    eventually("a server to be ready", || home.ok(&["logs", "web"]) == "ready\nready\n");
    assert_eq!(addresses(&home, "web"), "inet 172.30.0.9/24\n");
    home.ok(&["network", "disconnect", "inner", "web"]);
    assert_eq!(addresses(&home, "web"), "");
    assert_eq!(get("near", "web"), "nobody\n");
    home.ok(&["rm", "-f", "web", "near", "twin"]);
    home.nothing_is_left("networks that a container came into");
}

#[test]
fn ports_of_a_container_that_runs_are_published_and_taken_back() {
    let Some(home) = Home::with_busybox("ports_of_a_container_that_runs_are_published_and_taken_back") else {
        return;
    };
    let serve = "echo here > /index.html; httpd -p 80 -h /; httpd -p 81 -h /; echo ready; exec sleep 1000";
    home.ok(&["run", "-d", "--name", "web", "busybox", "sh", "-c", serve]);
    eventually("the server to be ready", || home.ok(&["logs", "web"]) == "ready\n");
    assert_eq!(home.ok(&["port", "web"]), "");
    home.ok(&["update", "--publish-add", "127.0.0.1::80", "--publish-add", "127.0.0.1::81", "web"]);
    let port = |inside: &str| -> SocketAddr {
        home.ok(&["port", "web", inside]).trim().parse().expect("an address")
    };
    let (first, second) = (port("80"), port("81"));
    let request = b"GET /index.html HTTP/1.0\r\n\r\n";
    for at in [first, second] {
        assert!(ask(at.port(), request).ends_with(b"here\n"));
    }
    assert!(home.ok(&["ps"]).contains(&format!("{first}->80/tcp, {second}->81/tcp")));
    let errors = home.fails(1, &["update", "--publish-add", &format!("{first}:82"), "web"]);
    assert!(errors.contains(&format!("{first} is already in use on this host")), "{errors}");
    home.ok(&["update", "--publish-rm", "80", "web"]);
    assert!(TcpStream::connect(first).is_err(), "nobody listens there any more");
    assert_eq!(home.ok(&["port", "web"]), format!("81/tcp -> {second}\n"));
    let errors = home.fails(1, &["update", "--publish-rm", "80", "web"]);
    assert!(errors.contains("port 80/tcp of container web is not published"), "{errors}");

    // They are there again when the network's process was killed, and at the next start.
    assert!(home.kill("net"));
    eventually("the port to be there again", || TcpStream::connect(second).is_ok());
    home.ok(&["restart", "-t", "0", "web"]);
    eventually("the server to be ready", || home.ok(&["logs", "web"]) == "ready\nready\n");
    assert!(ask(port("81").port(), request).ends_with(b"here\n"));
    home.ok(&["rm", "-f", "web"]);

    home.ok(&["run", "-d", "--name", "alone", "--network", "none", "busybox", "sleep", "1000"]);
    let errors = home.fails(1, &["update", "--publish-add", "80", "alone"]);
    assert!(errors.contains("is in no network"), "{errors}");
    home.ok(&["rm", "-f", "alone"]);
    home.nothing_is_left("ports of a container that runs");
}

#[test]
fn a_container_is_no_faster_than_it_may_be() {
    let test = "a_container_is_no_faster_than_it_may_be";
    let (Some(home), Some(address)) = (Home::with_busybox(test), need_address(test)) else { return };
    let open = answer_in_capitals(address);
    let script = format!("head -c 1000000 /dev/zero | tr '\\0' x | nc {address} {open} | wc -c");
    let run =
        ["run", "--name", "slow", "--network-rate", "in=16mbit,out=8mbit", "busybox", "sh", "-c", &script];
    let begin = std::time::Instant::now();
    assert_eq!(home.ok(&run), "1000000\n");
    // A second there, and half of one back.
    assert!(begin.elapsed() >= Duration::from_millis(1350), "{:?}", begin.elapsed());
    let shown = home.ok(&["inspect", "-f", "{{.NetworkSettings.Rate}}", "slow"]);
    assert_eq!(shown, "in=16mbit,out=8mbit\n");
    home.ok(&["rm", "slow"]);
    let errors = home.fails(125, &["run", "--network-rate", "fast", "busybox", "true"]);
    assert!(errors.contains("write bits a second, such as 500kbit"), "{errors}");
    let errors = home.fails(125, &["run", "--network", "none", "--network-rate", "1mbit", "busybox", "true"]);
    assert!(errors.contains("a container without a network has no"), "{errors}");
    home.nothing_is_left("a container with a rate");
}

#[test]
fn a_network_comes_and_goes_whatever_a_container_did_to_its_card() {
    let test = "a_network_comes_and_goes_whatever_a_container_did_to_its_card";
    let Some(home) = Home::with_busybox(test) else { return };
    home.ok(&["network", "create", "--subnet", "172.30.0.0/24", "inner"]);
    home.ok(&["run", "-d", "--name", "web", "--cap-add", "NET_ADMIN", "busybox", "sleep", "1000"]);
    let before = addresses(&home, "web");
    // It has the address already.
    home.ok(&["exec", "web", "ip", "addr", "add", "172.30.0.9/24", "dev", "eth0"]);
    let connect = ["network", "connect", "--ip", "172.30.0.9", "inner", "web"];
    home.ok(&connect);
    assert_eq!(addresses(&home, "web"), format!("{before}inet 172.30.0.9/24\n"));
    home.ok(&["network", "disconnect", "inner", "web"]);
    assert_eq!(addresses(&home, "web"), before);
    home.ok(&connect);
    home.ok(&["rm", "-f", "web"]);
    home.nothing_is_left("a card that was changed");
}

#[test]
fn containers_of_all_kinds_have_a_network() {
    let Some(home) = Home::with_busybox("containers_of_all_kinds_have_a_network") else { return };
    let no_v6 = ["--shm-size", "32m", "--sysctl", "net.ipv6.conf.all.disable_ipv6=1"];
    for options in [&no_v6[..], &["--privileged"], &["--systemd", "always"]] {
        let command = ["busybox", "sh", "-c", "ip -o addr show dev eth0 | grep -c 'inet '"];
        let said = home.ok(&[&["run", "--rm"], options, &command].concat());
        assert_eq!(said.trim(), "1", "{options:?}");
    }
}

#[test]
fn a_container_without_a_network_gets_one() {
    let test = "a_container_without_a_network_gets_one";
    let (Some(home), Some(address)) = (Home::with_busybox(test), need_address(test)) else { return };
    let open = answer_in_capitals(address);
    home.ok(&["network", "create", "--subnet", "172.30.0.0/24", "inner"]);
    home.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    let script = format!("echo {open} | nc {address} {open} || echo nobody");
    let call = || home.ok(&["exec", "one", "sh", "-c", &script]);
    assert_eq!(call(), "nobody\n");
    home.ok(&["network", "connect", "inner", "one"]);
    assert_eq!(addresses(&home, "one"), "inet 172.30.0.2/24\n");
    assert_eq!(call(), format!("{open}\n"));
    assert!(home.ok(&["exec", "one", "cat", "/etc/resolv.conf"]).starts_with("nameserver 172.30.0.1\n"));
    assert!(home.ok(&["exec", "one", "cat", "/etc/hosts"]).contains("172.30.0.2\t"));
    home.ok(&["pause", "one"]);
    assert!(home.fails(1, &["network", "connect", "bridge", "one"]).contains("is paused"));
    home.ok(&["network", "disconnect", "inner", "one"]);
    home.ok(&["unpause", "one"]);
    assert_eq!(call(), "nobody\n");
    home.ok(&["network", "connect", "bridge", "one"]);
    assert_eq!(call(), format!("{open}\n"));
    home.ok(&["rm", "-f", "one"]);
    home.nothing_is_left("a container that got a network");
}
