//! Whether a registry knows somebody.

use docker_credential::DockerCredential;
use ureq::http::StatusCode;

use super::auth::{Challenge, basic, parse, token};
use super::{Error, Reason, Repository};
use crate::image::Reference;

/// Asks a registry whether it accepts a login. `reference` is any name of it.
///
/// # Errors
/// When it does not, or cannot be asked.
pub fn check(reference: &Reference, user: &str, password: &str) -> Result<(), Error> {
    let registry = Repository::new(reference);
    let what = "the login";
    let url = format!("{}/v2/", registry.origin());
    let ask = |header: Option<&str>| {
        let request = registry.agent.get(&url);
        let request = match header {
            Some(header) => request.header("authorization", header),
            None => request,
        };
        request.call().map_err(|error| registry.error(what, Reason::of(error)))
    };
    let response = ask(None)?;
    if !registry.wants_login(&response) {
        return registry.check(what, response).map(drop);
    }
    let challenges = response.headers().get_all("www-authenticate");
    match challenges.iter().filter_map(|value| parse(value.to_str().ok()?)).next() {
        Some(Challenge::Basic) => match ask(Some(&basic(user, password)))? {
            refused if refused.status() == StatusCode::UNAUTHORIZED => {
                Err(registry.error(what, Reason::Login { tried: true }))
            }
            response => registry.check(what, response).map(drop),
        },
        Some(Challenge::Bearer { realm, service, .. }) => {
            let credential = DockerCredential::UsernamePassword(user.to_owned(), password.to_owned());
            token(&registry, what, &realm, service.as_deref(), "", Some(credential)).map(drop)
        }
        None => {
            Err(registry
                .error(what, Reason::Protocol("it wants a login of a kind hull does not know".into())))
        }
    }
}
