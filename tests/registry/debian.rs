//! Debian's docker-registry, as tests start it.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::common::{Home, eventually, skip};

/// Debian's docker-registry while this lives.
pub struct Server {
    process: Child,
    /// Its port on the loopback.
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts it; `None` when the test is skipped. With `password` it wants the login `me`, `secret`.
pub fn server(test: &str, home: &Home, password: bool) -> Option<Server> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = home.folder.path();
    let users = folder.join("users");
    // `secret`, by bcrypt.
    fs::write(&users, "me:$2b$05$SJVP7Eo8pe8dD29F5H/3a.slz/mZO6hrC2DbHaVFYq9mEuYv1/NXK\n").unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: here, path: {}}}}}\n", users.display());
    let settings = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"}}\n{}",
        folder.join("registry").display(),
        if password { &auth } else { "" }
    );
    let config = folder.join("registry.yml");
    fs::write(&config, settings).unwrap();
    let mut command = Command::new("docker-registry");
    let started = command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let process = match started {
        Ok(process) => process,
        Err(error) => {
            skip(test, &format!("docker-registry: {error}; apt-get install docker-registry"));
            return None;
        }
    };
    eventually("the registry", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(Server { process, port })
}
