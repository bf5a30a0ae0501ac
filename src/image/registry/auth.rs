//! Logins: what a registry asks for with status 401, answered from Docker's `config.json`.
//!
//! Bearer tokens are those of the distribution project ("Token Authentication Specification"), and of "OAuth2 Token
//! Authentication" where the login is an identity token.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::Deserialize;
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::{Error, Reason, Repository, error};
use crate::image::Reference;
use crate::image::reference::DOCKER_HUB;

/// What Docker calls Docker Hub where it keeps logins.
const DOCKER_HUB_LOGIN: &str = "https://index.docker.io/v1/";
/// Longest answer of a token service, in bytes.
const MAX_TOKEN: u64 = 1 << 20;

/// The right to read a repository, as far as it was needed yet.
#[derive(Debug)]
pub(super) struct Authority {
    /// The name Docker keeps the login under.
    login: String,
    scope: String,
    /// The `Authorization` header that worked last.
    header: Mutex<Option<String>>,
}

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Authority {
    pub(super) fn new(reference: &Reference, actions: &str) -> Self {
        let login = login_name(reference.registry());
        let scope = format!("repository:{}:{actions}", reference.repository());
        Authority { login: login.to_owned(), scope, header: Mutex::new(None) }
    }

    /// The header for a request.
    pub(super) fn header(&self) -> Option<String> {
        self.header.lock().expect("no thread panics with it").clone()
    }

    /// Gets a new header after the `response` 401 to a request that had the header `sent`; tells whether a login was used for it.
    pub(super) fn challenged(
        &self,
        to: &Repository,
        what: &str,
        response: &Response<Body>,
        sent: Option<&str>,
    ) -> Result<bool, Error> {
        let challenges = response.headers().get_all("www-authenticate");
        let challenge = challenges.iter().filter_map(|value| parse(value.to_str().ok()?)).next();
        let Some(challenge) = challenge else {
            return Err(
                to.error(what, Reason::Protocol("it wants a login of a kind hull does not know".into()))
            );
        };
        let credential = self.credential().map_err(|reason| to.error(what, Reason::Credentials(reason)))?;
        let tried = credential.is_some();
        let header = match (challenge, credential) {
            (Challenge::Basic, Some(DockerCredential::UsernamePassword(user, password))) => {
                Some(basic(&user, &password))
            }
            (Challenge::Basic, _) => None,
            (Challenge::Bearer { realm, service, scope }, credential) => {
                let scope = scope.unwrap_or_else(|| self.scope.clone());
                Some(format!("Bearer {}", token(to, what, &realm, service.as_deref(), &scope, credential)?))
            }
        };
        // A header that is refused although it is new is no right to read. A token may also only have grown old. What others have
        // been told meanwhile says nothing of this request.
        if header.is_none() || header.as_deref() == sent {
            return Err(to.error(what, Reason::Login { tried }));
        }
        *self.header.lock().expect("no thread panics with it") = header;
        Ok(tried)
    }

    /// The login in Docker's configuration, or `None` without one.
    fn credential(&self) -> Result<Option<DockerCredential>, String> {
        match docker_credential::get_credential(&self.login) {
            Ok(credential) => Ok(Some(credential)),
            Err(
                CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound,
            ) => Ok(None),
            Err(CredentialRetrievalError::ConfigReadError)
                if !config_file().is_some_and(|path| path.exists()) =>
            {
                Ok(None)
            }
            // What helpers answer who know no login.
            Err(CredentialRetrievalError::HelperFailure { stdout, .. })
                if stdout.contains("credentials not found") =>
            {
                Ok(None)
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What Docker calls a registry where it keeps logins.
pub fn login_name(registry: &str) -> &str {
    if registry == DOCKER_HUB { DOCKER_HUB_LOGIN } else { registry }
}

/// Docker's configuration.
pub fn config_file() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
    folder.map(|folder| folder.join("config.json"))
}

pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A token from the service at `realm`.
pub(super) fn token(
    to: &Repository,
    what: &str,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    credential: Option<DockerCredential>,
) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let tried = credential.is_some();
    let service = service.unwrap_or_default();
    let sent = match credential {
        Some(DockerCredential::IdentityToken(token)) => to.agent.post(realm).send_form([
            ("grant_type", "refresh_token"),
            ("refresh_token", &token),
            ("service", service),
            ("scope", scope),
            ("client_id", "hull"),
        ]),
        login => {
            let request = to.agent.get(realm).query("service", service).query("scope", scope);
            match login {
                Some(DockerCredential::UsernamePassword(user, password)) => {
                    request.header("authorization", basic(&user, &password)).call()
                }
                _ => request.call(),
            }
        }
    };
    let mut response = sent.map_err(|error| to.error(what, Reason::of(error)))?;
    let mut body = Vec::new();
    let read = response.body_mut().as_reader().take(MAX_TOKEN).read_to_end(&mut body);
    read.map_err(|error| to.error(what, Reason::of_io(error)))?;
    match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(to.error(what, Reason::Login { tried }));
        }
        status if !status.is_success() => {
            let after = super::retry::retry_after(response.headers());
            let reason = Reason::Status { status: status.as_u16(), message: error::message(&body), after };
            return Err(to.error(what, reason));
        }
        _ => {}
    }
    let answer: Option<Answer> = serde_json::from_slice(&body).ok();
    // It becomes a header: nothing in it may end one.
    let token = answer.and_then(|answer| answer.token.or(answer.access_token));
    let token = token.filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
    token.ok_or_else(|| {
        to.error(what, Reason::Protocol(format!("its token service {realm} answers without a token")))
    })
}

/// Parses a `WWW-Authenticate` header (RFC 9110, 11.6.1).
pub(super) fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    for (key, value) in parameters(rest) {
        match key.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "scope" => scope = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// `key="value", key=value, …`; commas may stand within quotes.
fn parameters(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').map_or((after, ""), |(value, after)| (value, after)),
        };
        found.push((key.trim_matches([' ', ',']).to_owned(), value.trim().to_owned()));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_understood() {
        assert_eq!(parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse("Negotiate"), None);
        assert_eq!(parse("Bearer service=\"x\""), None);
        let bearer = parse(
            "bearer realm=\"https://auth.example/token\",service=x, scope=\"repository:a/b:pull,push\"",
        );
        assert_eq!(
            bearer,
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: Some("x".into()),
                scope: Some("repository:a/b:pull,push".into()),
            })
        );
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_survived(header in "\\PC{0,80}|(Bearer |basic )?[a-z=\", ]{0,60}") {
            let _ = parse(&header);
        }
    }
}
