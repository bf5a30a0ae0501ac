//! `hull login` and `hull logout`.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::cli::terminal;
use crate::image::Reference;
use crate::image::credentials::{self, Place};
use crate::image::reference::DOCKER_HUB;
use crate::image::registry::check_login;

/// Longest name or password, in bytes.
const LONGEST: u64 = 64 << 10;

/// Log in to a registry
#[derive(Debug, Args)]
pub struct Login {
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password or token; others on this host can see it, so better give it with --password-stdin
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// The registry; Docker Hub when absent
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Log out of a registry
#[derive(Debug, Args)]
pub struct Logout {
    /// The registry; Docker Hub when absent
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// The registry that a person means, and some name of it.
fn registry(wanted: Option<&str>) -> anyhow::Result<(String, Reference)> {
    let host = wanted.unwrap_or(DOCKER_HUB);
    let host = host.strip_prefix("https://").or_else(|| host.strip_prefix("http://")).unwrap_or(host);
    let host = host.split('/').next().unwrap_or(host);
    let host = if host == "index.docker.io" { DOCKER_HUB } else { host };
    let reference: Reference = format!("{host}/hull/login").parse()?;
    ensure!(reference.registry() == host, "\"{host}\" is no registry: write HOST[:PORT]");
    Ok((host.to_owned(), reference))
}

impl Login {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (host, reference) = registry(self.registry.as_deref())?;
        if self.password_stdin && self.username.is_none() {
            bail!("Must provide --username with --password-stdin");
        }
        if self.password.is_some() {
            eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        let user = match self.username {
            Some(user) => user,
            None => line("Username: ")?,
        };
        ensure!(!user.is_empty(), "username is empty");
        let password = match self.password {
            Some(password) => password,
            None if self.password_stdin => {
                let mut text = String::new();
                io::stdin()
                    .lock()
                    .take(LONGEST)
                    .read_to_string(&mut text)
                    .context("cannot read the password")?;
                text.trim_end_matches(['\n', '\r']).to_owned()
            }
            None => {
                let _silent = terminal::Silence::begin()?;
                line("Password: ")?
            }
        };
        ensure!(!password.is_empty(), "password is empty");
        check_login(&reference, &user, &password)?;
        if let Place::File(path) = credentials::store(&host, &user, &password)? {
            eprintln!(
                "WARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper (credsStore) to remove \
                 this warning.",
                path.display()
            );
        }
        println!("Login Succeeded");
        Ok(ExitCode::SUCCESS)
    }
}

impl Logout {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (host, _) = registry(self.registry.as_deref())?;
        println!("Removing login credentials for {host}");
        credentials::erase(&host)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks for a line.
fn line(question: &str) -> anyhow::Result<String> {
    ensure!(terminal::is_input(), "Cannot perform an interactive login from a non TTY device");
    eprint!("{question}");
    io::stderr().flush()?;
    let mut text = String::new();
    io::stdin().lock().take(LONGEST).read_line(&mut text)?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
