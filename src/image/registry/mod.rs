//! Talking to registries (OCI distribution specification 1.1, "Pull").

mod auth;
mod blob;
mod error;
mod login;
mod resolver;
mod retry;
mod upload;

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, ResponseExt, config::RedirectAuthHeaders};

use super::manifest::MAX_JSON;
use super::reference::DOCKER_HUB;
use super::{Digest, Reference};
use auth::Authority;
pub use auth::{config_file, login_name};
pub use blob::BlobReader;
pub use error::{Error, Reason};
pub use login::check as check_login;
pub use upload::{Outgoing, Uploaded};

/// Docker Hub's registry has another address than its name.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a registry may be silent. `HULL_REGISTRY_TIMEOUT`, in seconds, overrides it.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The media types that hull understands, for registries that have an image in several.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A repository of a registry.
#[derive(Debug)]
pub struct Repository {
    reference: Reference,
    agent: Agent,
    /// `https://host/v2/repository`
    base: String,
    authority: Authority,
}

/// A manifest or index as a registry gave it.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its digest.
    pub digest: Digest,
    /// The text.
    pub json: Vec<u8>,
}

impl Repository {
    /// The repository that `reference` is in, to read from. Nothing is sent yet.
    pub fn new(reference: &Reference) -> Self {
        Self::with_scope(reference, "pull")
    }

    /// The same, to write to.
    pub fn for_push(reference: &Reference) -> Self {
        Self::with_scope(reference, "pull,push")
    }

    /// Scheme and host: `https://host`.
    fn origin(&self) -> &str {
        self.base.split("/v2/").next().unwrap_or_default()
    }

    fn with_scope(reference: &Reference, actions: &str) -> Self {
        let registry = reference.registry();
        let host = if registry == DOCKER_HUB { DOCKER_HUB_HOST } else { registry };
        let plain = is_loopback(registry);
        let scheme = if plain { "http" } else { "https" };
        Repository {
            reference: reference.clone(),
            agent: agent(plain),
            base: format!("{scheme}://{host}/v2/{}", reference.repository()),
            authority: Authority::new(reference, actions),
        }
    }

    /// The digest that the registry says a tag has now, if it says one; an image at rest costs no more than this.
    pub fn digest_of_tag(&self, tag: &str) -> Result<Option<Digest>, Error> {
        let what = format!("manifest {tag}");
        let url = format!("{}/manifests/{tag}", self.base);
        let response =
            self.request(&what, &url, |url| self.agent.head(url).header("accept", MANIFEST_TYPES))?;
        let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        Ok(digest.and_then(|digest| digest.parse().ok()))
    }

    /// The manifest or index of a tag or digest.
    pub fn manifest(&self, version: &str) -> Result<Fetched, Error> {
        let what = format!("manifest {version}");
        let url = format!("{}/manifests/{version}", self.base);
        retry::attempts(|| {
            let response =
                self.request(&what, &url, |url| self.agent.get(url).header("accept", MANIFEST_TYPES))?;
            let promised =
                response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
            let promised =
                version.parse::<Digest>().ok().or_else(|| promised.and_then(|digest| digest.parse().ok()));
            let json = self.json(&what, response)?;
            let digest = Digest::of(&json);
            match promised {
                Some(promised) if promised != digest => {
                    Err(self.error(&what, Reason::WrongDigest { promised, actual: digest }))
                }
                _ => Ok(Fetched { digest, json }),
            }
        })
    }

    /// A configuration: a small blob of JSON.
    pub fn config(&self, digest: Digest, size: u64) -> Result<Vec<u8>, Error> {
        let what = format!("configuration {digest}");
        let url = self.blob_url(digest);
        retry::attempts(|| {
            let response = self.request(&what, &url, |url| self.agent.get(url))?;
            let json = self.json(&what, response)?;
            match Digest::of(&json) {
                _ if json.len() as u64 != size => {
                    Err(self.error(&what, Reason::WrongSize { promised: size, actual: json.len() as u64 }))
                }
                actual if actual != digest => {
                    Err(self.error(&what, Reason::WrongDigest { promised: digest, actual }))
                }
                _ => Ok(json),
            }
        })
    }

    fn blob_url(&self, digest: Digest) -> String {
        format!("{}/blobs/{digest}", self.base)
    }

    /// Sends a request, after a login if the registry asks for one. Only a success is returned.
    fn request(
        &self,
        what: &str,
        url: &str,
        make: impl Fn(&str) -> Request,
    ) -> Result<Response<Body>, Error> {
        self.exchange(what, |header| match header {
            Some(header) => make(url).header("authorization", header).call(),
            None => make(url).call(),
        })
    }

    /// The same for any request, which is given the `Authorization` header that it is to have.
    fn exchange(
        &self,
        what: &str,
        call: impl Fn(Option<String>) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Error> {
        let send = |header| call(header).map_err(|error| self.error(what, Reason::of(error)));
        let header = self.authority.header();
        let response = send(header.clone())?;
        if !self.wants_login(&response) {
            return self.check(what, response);
        }
        let tried = self.authority.challenged(self, what, &response, header.as_deref())?;
        match send(self.authority.header())? {
            refused if self.wants_login(&refused) => Err(self.error(what, Reason::Login { tried })),
            response => self.check(what, response),
        }
    }

    /// Whether the registry asks for a login. Where a redirect or an upload's address led, nobody may: what is asked for there
    /// would be sent to whom that host names.
    fn wants_login(&self, response: &Response<Body>) -> bool {
        let uri = response.get_uri();
        let (scheme, host) = self.origin().split_once("://").unwrap_or_default();
        let own = uri.scheme_str() == Some(scheme)
            && uri.authority().is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host));
        own && response.status() == StatusCode::UNAUTHORIZED
    }

    /// Turns everything but a success into an error.
    fn check(&self, what: &str, mut response: Response<Body>) -> Result<Response<Body>, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let after = retry::retry_after(response.headers());
        let mut body = Vec::new();
        // What it says is a help, no more.
        let _ = response.body_mut().as_reader().take(16 << 10).read_to_end(&mut body);
        Err(self
            .error(what, Reason::Status { status: status.as_u16(), message: error::message(&body), after }))
    }

    /// The whole body of a response that is JSON.
    fn json(&self, what: &str, response: Response<Body>) -> Result<Vec<u8>, Error> {
        let html = response.body().mime_type() == Some("text/html");
        let length = response.body().content_length();
        let mut json = Vec::new();
        let read = response.into_body().into_reader().take(MAX_JSON + 1).read_to_end(&mut json);
        read.map_err(|error| self.error(what, Reason::of_io(error)))?;
        if html || json.trim_ascii_start().starts_with(b"<") {
            return Err(self.error(what, Reason::Html));
        }
        if json.len() as u64 > MAX_JSON {
            return Err(self.error(what, Reason::TooLarge));
        }
        match length {
            Some(promised) if promised != json.len() as u64 => {
                Err(self.error(what, Reason::WrongSize { promised, actual: json.len() as u64 }))
            }
            _ => Ok(json),
        }
    }

    fn error(&self, what: &str, reason: Reason) -> Error {
        Error::new(&self.reference, what, reason)
    }
}

type Request = ureq::RequestBuilder<ureq::typestate::WithoutBody>;

/// Whether a registry is on this host, and so spoken to without TLS: `localhost`, 127.0.0.0/8 or `[::1]`.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An HTTP client. It trusts the certificate authorities that the host trusts.
fn agent(plain: bool) -> Agent {
    let seconds = std::env::var("HULL_REGISTRY_TIMEOUT").ok().and_then(|text| text.parse().ok());
    let stall = seconds.map_or(STALL_TIMEOUT, Duration::from_secs);
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Neither a redirect nor anything else may lead from TLS to plain text.
        .https_only(!plain)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .timeout_connect(Some(CONNECT_TIMEOUT.min(stall)))
        .timeout_per_read(Some(stall))
        .timeout_per_write(Some(stall))
        .user_agent(concat!("hull/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
    // A registry on this host is not behind a proxy.
    let config = if plain { config.proxy(None) } else { config };
    Agent::with_parts(config.build(), DefaultConnector::default(), resolver::HostResolver)
}

#[cfg(test)]
#[path = "registry_test.rs"]
mod tests;
