//! A registry for tests that does as it is told, well or badly.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod debian;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::images::{Parts, digest};

/// What a client asked for.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// How often this path was asked for before, with GET.
    pub earlier: usize,
}

/// What it is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
    /// The connection is silent so long after these bytes.
    pub stall: Option<Duration>,
    /// What `Content-Length` says, if not the truth.
    pub length: Option<usize>,
}

impl Reply {
    pub fn new(status: u16, body: &[u8]) -> Self {
        Reply { status, headers: Vec::new(), body: body.to_vec(), cut: None, stall: None, length: None }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A registry that runs until its process ends.
pub struct Registry {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Registry {
    /// Serves these images, but for what `handler` answers otherwise.
    pub fn start(
        images: &[(&str, &Parts)],
        handler: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let mut content: HashMap<String, (String, Vec<u8>)> = HashMap::new();
        for (name, image) in images {
            let (repository, tag) = name.split_once(':').expect("a name with a tag");
            let manifest = image.manifest_bytes();
            let kind = "application/vnd.oci.image.manifest.v1+json".to_owned();
            for version in [tag, &digest(&manifest)] {
                content.insert(
                    format!("/v2/{repository}/manifests/{version}"),
                    (kind.clone(), manifest.clone()),
                );
            }
            for blob in [image.config_bytes()].iter().chain(&image.layers) {
                let kind = "application/octet-stream".to_owned();
                content.insert(format!("/v2/{repository}/blobs/{}", digest(blob)), (kind, blob.clone()));
            }
        }
        let good = move |request: &Request| good(&content, request);
        Self::serve(move |request| handler(request).unwrap_or_else(|| good(request)))
    }

    fn serve(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let log = Arc::new(Mutex::new(Vec::<Request>::new()));
        let (handler, requests): (Arc<Handler>, _) = (Arc::new(handler), log.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, requests) = (handler.clone(), requests.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                    while let Some(mut request) = read(&mut reader) {
                        {
                            let mut log = requests.lock().expect("the log");
                            let same = |other: &&Request| other.path == request.path && other.method == "GET";
                            request.earlier = log.iter().filter(same).count();
                            log.push(request.clone());
                        }
                        if write(&stream, &request, handler(&request)).is_none() {
                            let _ = stream.shutdown(std::net::Shutdown::Both);
                            break;
                        }
                    }
                });
            }
        });
        Registry { address, log }
    }

    /// A host that asks everybody for a login, to be brought to itself.
    pub fn thief() -> Self {
        let own = Arc::new(std::sync::OnceLock::<SocketAddr>::new());
        let told = own.clone();
        let thief = Self::serve(move |request| match request.path.starts_with("/token") {
            true => Reply::new(200, br#"{"token":"opensesame"}"#),
            false => {
                let realm =
                    format!("Bearer realm=\"http://{}/token\"", told.get().expect("it is told at once"));
                Reply::new(401, b"").header("www-authenticate", &realm)
            }
        });
        own.set(thief.address).expect("it is told once");
        thief
    }

    /// The name of an image in it.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// Requests so far whose path contains `part`.
    pub fn requests(&self, part: &str) -> Vec<Request> {
        self.log
            .lock()
            .expect("the log")
            .iter()
            .filter(|request| request.path.contains(part))
            .cloned()
            .collect()
    }
}

/// Answers as a registry should, ranges included.
fn good(content: &HashMap<String, (String, Vec<u8>)>, request: &Request) -> Reply {
    let Some((kind, bytes)) = content.get(&request.path) else {
        let error = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        return Reply::new(404, error).header("content-type", "application/json");
    };
    let range = request
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let reply = match range {
        Some(start) => Reply::new(206, &bytes[start..])
            .header("content-range", &format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
        None => Reply::new(200, bytes),
    };
    reply.header("content-type", kind).header("docker-content-digest", &digest(bytes))
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body, earlier: 0 })
}

/// Sends a reply; `None` if the connection ends with it.
fn write(mut stream: &TcpStream, request: &Request, reply: Reply) -> Option<()> {
    let length = reply.length.unwrap_or(reply.body.len());
    let mut head = format!("HTTP/1.1 {} Status\r\ncontent-length: {length}\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).ok()?;
    if request.method == "HEAD" {
        return Some(());
    }
    let sent = reply.cut.unwrap_or(reply.body.len());
    stream.write_all(&reply.body[..sent]).ok()?;
    if let Some(stall) = reply.stall {
        thread::sleep(stall);
    }
    (reply.cut.is_none() && reply.length.is_none()).then_some(())
}
