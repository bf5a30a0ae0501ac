//! Servers from Debian's packages, as people run them: used through `exec` and published ports, stopped, started again, and
//! killed, with their data kept in volumes and in the containers themselves.

mod common;
mod images;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use common::{Home, eventually, need_soak};

/// Waits until a container has printed this, so many times.
fn await_log(home: &Home, container: &str, text: &str, times: usize) {
    let mut log = String::new();
    eventually(text, || {
        let output = home.run(&["logs", container]);
        log = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        log.matches(text).count() >= times
            || home.ok(&["ps", "-q", "-f", &format!("name={container}")]).is_empty()
    });
    assert!(log.matches(text).count() >= times, "{container} ended: {log}");
}

/// Stops a container, which must take its time and end by itself.
fn stops(home: &Home, container: &str) {
    home.ok(&["stop", "-t", "200", container]);
    let state = &home.inspect(container)["State"];
    assert_eq!((&state["ExitCode"], &state["Error"]), (&0.into(), &"".into()), "{container}: {state}");
}

/// Where a port of a container is published.
fn published(home: &Home, container: &str, port: &str) -> SocketAddr {
    home.ok(&["port", container, port]).trim().parse().expect("an address")
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout");
    stream
}

/// What a web server answers: its head and its body.
fn answer(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an answer");
    let end = all.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a header") + 4;
    let body = all.split_off(end);
    (String::from_utf8(all).expect("a header"), body)
}

fn get(to: SocketAddr, path: &str) -> (String, Vec<u8>) {
    let mut stream = connect(to);
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("to ask");
    answer(stream)
}

/// Waits until the container `web` answers. Its port is there as soon as it runs, and resets whoever comes before the server.
fn await_web(home: &Home) {
    eventually("nginx", || {
        let mut text = String::new();
        TcpStream::connect(published(home, "web", "80")).is_ok_and(|mut stream| {
            write!(stream, "GET / HTTP/1.0\r\n\r\n").is_ok()
                && stream.read_to_string(&mut text).is_ok_and(|length| length > 0)
        })
    });
}

/// The most memory that a process of hull has had, in bytes.
fn peak(home: &Home, kind: &str) -> u64 {
    let pid = home.find(kind).expect(kind).as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
fn nginx_serves_what_is_asked_for_however_many_ask() {
    let test = "nginx_serves_what_is_asked_for_however_many_ask";
    if !need_soak(test) {
        return;
    }
    let Some(home) = Home::with_image(test, "nginx") else { return };
    let (size, at_once, in_turn) = (100 << 20, 1000, 10_000);
    let pages = home.folder.path().join("pages");
    fs::create_dir(&pages).unwrap();
    let content = images::noise(size, 5);
    fs::write(pages.join("big"), &content).unwrap();
    fs::write(pages.join("index.html"), "it is me").unwrap();
    // Any number of connections, and the share's file among the container's own.
    let settings = "user www-data; worker_rlimit_nofile 4096; pid /run/nginx.pid; events { worker_connections 2048; }\n\
                    http { access_log off; server { listen 80 backlog=2048; root /pages; location /own { root /var; } } }\n";
    fs::write(home.folder.path().join("nginx.conf"), settings).unwrap();
    let share = format!("{}:/pages:ro", pages.display());
    let mut create = vec!["create", "--name", "web", "-p", "127.0.0.1::80", "-v", &share];
    create.extend(["nginx", "-c", "/etc/nginx/own.conf", "-g", "daemon off;"]);
    home.ok(&create);
    let file = home.folder.path().join("nginx.conf");
    home.ok(&["cp", file.to_str().unwrap(), "web:/etc/nginx/own.conf"]);
    home.ok(&["start", "web"]);
    await_web(&home);
    let at = published(&home, "web", "80");

    let (head, body) = get(at, "/big");
    assert!(head.contains(" 200 ") && images::digest(&body) == images::digest(&content), "{head}");
    home.ok(&["exec", "web", "sh", "-c", "mkdir /var/own; cp /pages/big /var/own/"]);
    let (head, body) = get(at, "/own/big");
    assert!(head.contains(" 200 ") && images::digest(&body) == images::digest(&content), "{head}");

    // All are there before the first of them asks.
    let mut streams: Vec<_> = (0..at_once).map(|_| connect(at)).collect();
    for stream in &mut streams {
        write!(stream, "GET / HTTP/1.0\r\n\r\n").expect("to ask");
    }
    for stream in streams {
        assert_eq!(answer(stream).1, b"it is me");
    }
    for _ in 0..in_turn {
        assert_eq!(get(at, "/").1, b"it is me");
    }
    let memory = peak(&home, "net");
    assert!(memory < 48 << 20, "hull net has had {memory} bytes");

    // A new configuration for a server that runs.
    home.ok(&["exec", "web", "sed", "-i", "s/listen 80 /listen 80 default_server /", "/etc/nginx/own.conf"]);
    home.ok(&["exec", "web", "nginx", "-c", "/etc/nginx/own.conf", "-s", "reload"]);
    assert_eq!(get(at, "/").1, b"it is me");
    stops(&home, "web");
    // What it has written is there when it runs again.
    home.ok(&["start", "web"]);
    await_web(&home);
    let (head, body) = get(published(&home, "web", "80"), "/own/big");
    assert!(head.contains(" 200 ") && images::digest(&body) == images::digest(&content), "{head}");
    home.ok(&["rm", "-f", "web"]);
    home.nothing_is_left("nginx");
}

#[test]
fn redis_keeps_its_data() {
    let test = "redis_keeps_its_data";
    if !need_soak(test) {
        return;
    }
    let Some(home) = Home::with_image(test, "redis") else { return };
    let run = ["run", "-d", "--name", "red", "-p", "127.0.0.1::6379"];
    let server =
        ["--protected-mode", "no", "--bind", "0.0.0.0", "--appendonly", "yes", "--appendfsync", "always"];
    for options in [&["-v", "data:/var/lib/redis"][..], &[]] {
        home.ok(&[&run, options, &["redis"], &server].concat());
        await_log(&home, "red", "Ready to accept connections", 1);
        let ask = |command: &str| {
            let mut stream = connect(published(&home, "red", "6379"));
            write!(stream, "{command}\r\nQUIT\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(home.ok(&["exec", "red", "redis-cli", "set", "one", "1"]), "OK\n");
        assert_eq!(ask("SET two 2"), "+OK\r\n+OK\r\n");
        // It asks for more files than a shell has at first.
        let files = home.ok(&["exec", "red", "redis-cli", "config", "get", "maxclients"]);
        assert_eq!(files, "maxclients\n10000\n");
        stops(&home, "red");
        home.ok(&["start", "red"]);
        await_log(&home, "red", "Ready to accept connections", 2);
        assert_eq!(ask("GET one"), "$1\r\n1\r\n+OK\r\n");
        // What was acknowledged is there, whoever is killed.
        assert_eq!(ask("SET three 3"), "+OK\r\n+OK\r\n");
        assert!(home.kill("vmm"));
        home.await_quiet();
        home.ok(&["start", "red"]);
        await_log(&home, "red", "Ready to accept connections", 3);
        let all = home.ok(&["exec", "red", "redis-cli", "mget", "one", "two", "three"]);
        assert_eq!(all, "1\n2\n3\n", "{options:?}");
        home.ok(&["rm", "-fv", "red"]);
    }
    // In another container, by the volume.
    home.ok(&[&run[..], &["-v", "data:/var/lib/redis", "redis"], &server].concat());
    await_log(&home, "red", "Ready to accept connections", 1);
    assert_eq!(home.ok(&["exec", "red", "redis-cli", "get", "three"]), "3\n");
    home.ok(&["rm", "-f", "red"]);
    home.nothing_is_left("redis");
}

#[test]
fn postgres_keeps_its_data() {
    let test = "postgres_keeps_its_data";
    if !need_soak(test) {
        return;
    }
    let Some(home) = Home::with_image(test, "postgres") else { return };
    let ready = "database system is ready to accept connections";
    for options in [&["-v", "data:/var/lib/postgresql/data"][..], &["--mount", "type=tmpfs,target=/unused"]] {
        // The second one's data are in the container itself: the image's volume is put elsewhere.
        let own = options[0] == "--mount";
        let place: &[&str] = if own { &["-e", "PGDATA=/var/lib/postgresql/own"] } else { &[] };
        home.ok(&[&["run", "-d", "--name", "pg"], options, place, &["postgres"]].concat());
        await_log(&home, "pg", ready, 1);
        let sql = |text: &str| home.ok(&["exec", "-u", "postgres", "pg", "psql", "-qAtc", text]);
        sql(
            "create table t (n int primary key, s text); insert into t select i, repeat('x', i % 100) from generate_series(1, 2000) i",
        );
        assert_eq!(sql("select count(*), sum(length(s)) from t"), "2000|99000\n");
        stops(&home, "pg");
        home.ok(&["start", "pg"]);
        await_log(&home, "pg", ready, 2);
        assert_eq!(sql("select count(*), sum(length(s)) from t"), "2000|99000\n");
        sql("insert into t select i, 'new' from generate_series(2001, 2100) i");
        // What was committed is there, whoever is killed.
        assert!(home.kill("vmm"));
        home.await_quiet();
        home.ok(&["start", "pg"]);
        await_log(&home, "pg", ready, 3);
        assert_eq!(sql("select count(*), sum(length(s)) from t"), "2100|99300\n", "{options:?}");
        let log = home.run(&["logs", "pg"]).stderr;
        let log = String::from_utf8_lossy(&log);
        assert_eq!(log.matches("was not properly shut down").count(), 1, "{log}");
        stops(&home, "pg");
        home.ok(&["rm", "-v", "pg"]);
    }
    // The files are the user's who runs hull, and postgres's in containers.
    let data = home.folder.path().join("data/hull/volumes/data/_data");
    assert_eq!(fs::read_to_string(data.join("PG_VERSION")).unwrap().trim(), "15");
    let script = ["postgres", "-c", "stat -c '%U %a' /d /d/PG_VERSION"];
    let said = home.ok(&[&["run", "--rm", "-v", "data:/d", "--entrypoint", "sh"], &script[..]].concat());
    assert_eq!(said, "postgres 700\npostgres 600\n");
    home.nothing_is_left("postgres");
}
