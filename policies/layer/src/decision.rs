//! Whether somebody comes in: at CONNECT, on a request to another interface of the gateway, and while they are in.

use policy_support::wit::types::{Challenge, Connection, Credentials, Denial, DenyReason, Grant, Verdict};
use policy_support::{SchemeGateway, deny, http, state, verdict};
use serde_json::json;

use crate::config::Config;
use crate::grant::grant;
use crate::identity_token::{self, Vouched};
use crate::offer::{self, Offer};
use crate::person::{self, Bearer, Person, bad};
use crate::{layer, nonce};

/// Version of what is kept in `grant.state`: the word of the credential, the client identifier, and three more texts, which
/// are a secret and two empty ones, or an identity token's provider (empty: we), principal and times.
const STATE: u8 = 1;

/// Version of what is kept in `challenge.state`: the nonce.
const ASKED: u8 = 1;

/// Decides about a login.
pub fn authenticate(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    credentials: &Credentials,
) -> Verdict {
    let client_id = (connection.protocol == "mqtt").then_some(credentials.client_id.as_str());
    let offer = match offer::find(gateway, connection, credentials) {
        Ok(Some(offer)) => offer,
        Ok(None) => return Verdict::Pass,
        Err(denial) => return Verdict::Deny(denial),
    };
    let outcome = match &offer {
        Offer::Ask => return challenge(gateway),
        Offer::Answer(token) => answered(gateway, config, token, client_id),
        Offer::Token(secret) => by_token(gateway, config, secret, credentials.username.as_deref(), client_id),
        Offer::Session(secret) => by_session(gateway, config, secret, client_id),
    };
    let worded = |denial| match connection.protocol.as_str() {
        "http" => for_http(gateway, config, connection, &offer, denial),
        _ => denial,
    };
    verdict(outcome.map(Some).map_err(worded))
}

/// Takes the answer to a nonce.
pub fn continue_authentication(
    gateway: &impl SchemeGateway,
    config: &Config,
    client_id: &str,
    asked: &[u8],
    data: Option<&[u8]>,
) -> Verdict {
    // Whatever comes of it, the exchange is over, and with it the nonce: nobody else was ever given it.
    let outcome = (|| {
        let [nonce] = state::read(ASKED, asked).ok_or_else(|| bad("what was remembered of the nonce is unreadable"))?;
        let token = offer::identity_token(data.unwrap_or_default())?;
        let reading = identity_token::read(gateway, &token)?;
        if reading.nonce != nonce {
            return Err(bad("the identity token answers another nonce"));
        }
        admit_vouched(gateway, config, &identity_token::verify(gateway, config, &reading)?, client_id)
    })();
    verdict(outcome.map(Some))
}

/// Looks at a login again.
///
/// # Errors
/// It would not be admitted now.
pub fn renew(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    state: &[u8],
) -> Result<Grant, Denial> {
    let lost = || deny(DenyReason::NotAuthorized, "what was remembered of the login cannot be read: log in again");
    let [kind, client_id, first, second, third] = state::read(STATE, state).ok_or_else(lost)?;
    let renewed = match kind {
        // The user name was right at the login, and the e-mail address may have changed since.
        person::TOKEN => by_token(gateway, config, first, None, Some(client_id))?,
        person::SESSION => by_session(gateway, config, first, Some(client_id))?,
        offer::METHOD => {
            let (issued_at, expires_at) = third.split_once(' ').ok_or_else(lost)?;
            let issued_at = issued_at.parse().map_err(|_| lost())?;
            let person = match first {
                "" => Person::Local(person::local(gateway, config, second, Some(issued_at))?),
                id => {
                    let provider = person::foreign(config, id);
                    let provider =
                        provider.ok_or_else(|| bad(format!("the provider {id} is not believed any more")))?;
                    Person::Foreign { provider: id.into(), principal: second.into(), app: provider.app.clone() }
                }
            };
            let granted = grant(gateway, config, &Bearer { person, key: None }, Some(client_id))?;
            Grant { expires_at: Some(expires_at.parse().map_err(|_| lost())?), state: state.to_vec(), ..granted }
        }
        _ => return Err(lost()),
    };
    match &connection.identity {
        Some(earlier) if earlier.subject != renewed.identity.subject => Err(bad("the key is somebody else's now")),
        _ => Ok(renewed),
    }
}

/// Asks for what identity tokens are signed with and where nonces are kept, to find what was not granted before somebody
/// logs in. Makes the key and the provider's UUID if they are not there.
///
/// # Errors
/// Something was not granted, or a provider's key cannot be read. That a JWK Set cannot be fetched right now is no error.
pub fn probe(gateway: &impl SchemeGateway, config: &Config) -> Result<(), String> {
    /// A token without claims whose signature is one octet. Nobody admits it.
    const NOBODY: &str = "eyJhbGciOiJSUzI1NiJ9.e30.AA";
    identity_token::public_keys(gateway, config).map_err(|denial| format!("`key`: {}", denial.detail))?;
    identity_token::provider_id(gateway, config).map_err(|denial| denial.detail)?;
    for (index, provider) in config.providers.iter().enumerate() {
        identity_token::probe(gateway, provider, NOBODY).map_err(|why| format!("`providers.{index}`: {why}"))?;
    }
    Ok(())
}

fn challenge(gateway: &impl SchemeGateway) -> Verdict {
    let nonce = nonce::fresh(gateway);
    match state::write(ASKED, &[&nonce]) {
        Some(state) => Verdict::Challenge(Challenge { data: nonce.into_bytes(), state, reply_within: None }),
        None => Verdict::Deny(deny(DenyReason::Unavailable, "a nonce is too long to be remembered")),
    }
}

/// An identity token that came with CONNECT, for a nonce that was had over HTTP.
fn answered(
    gateway: &impl SchemeGateway,
    config: &Config,
    token: &str,
    client_id: Option<&str>,
) -> Result<Grant, Denial> {
    let reading = identity_token::read(gateway, token)?;
    if !nonce::consume(gateway, &reading.nonce)? {
        return Err(bad("the identity token answers no nonce that is good: it was used, is too old, or is no nonce"));
    }
    let vouched = identity_token::verify(gateway, config, &reading)?;
    admit_vouched(gateway, config, &vouched, client_id.unwrap_or_default())
}

fn admit_vouched(
    gateway: &impl SchemeGateway,
    config: &Config,
    vouched: &Vouched,
    client_id: &str,
) -> Result<Grant, Denial> {
    let expires_at = gateway.now() + config.session_lifetime;
    let (provider, principal) = match &vouched.person {
        Person::Local(user) => ("", &user.id),
        Person::Foreign { provider, principal, .. } => (provider.as_str(), principal),
    };
    let times = format!("{} {expires_at}", vouched.issued_at);
    let state = state::write(STATE, &[offer::METHOD, client_id, provider, principal, &times]).unwrap_or_default();
    let bearer = Bearer { person: vouched.person.clone(), key: None };
    let granted = grant(gateway, config, &bearer, Some(client_id))?;
    Ok(Grant { expires_at: Some(expires_at), state, ..granted })
}

fn by_token(
    gateway: &impl SchemeGateway,
    config: &Config,
    secret: &str,
    username: Option<&str>,
    client_id: Option<&str>,
) -> Result<Grant, Denial> {
    let bearer = person::by_token(gateway, config, secret)?;
    if let (Person::Local(user), Some(name)) = (&bearer.person, username.filter(|name| !name.is_empty())) {
        let email = user.email.as_ref().is_some_and(|email| email.eq_ignore_ascii_case(name));
        if name != user.id && !email {
            return Err(bad(format!(
                "the user name is neither the identifier nor the e-mail address of the user {}",
                user.id
            )));
        }
    }
    let granted = grant(gateway, config, &bearer, client_id)?;
    Ok(Grant { state: remember(person::TOKEN, client_id, secret), ..granted })
}

fn by_session(
    gateway: &impl SchemeGateway,
    config: &Config,
    secret: &str,
    client_id: Option<&str>,
) -> Result<Grant, Denial> {
    let bearer = person::by_session(gateway, config, secret)?;
    let granted = grant(gateway, config, &bearer, client_id)?;
    Ok(Grant { state: remember(person::SESSION, client_id, secret), ..granted })
}

/// What to remember of a key. Nothing where the grant is not kept.
fn remember(kind: &str, client_id: Option<&str>, secret: &str) -> Vec<u8> {
    client_id.and_then(|client_id| state::write(STATE, &[kind, client_id, secret, "", ""])).unwrap_or_default()
}

/// A refusal in the words of the interface whose credential it was.
fn for_http(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    offer: &Offer,
    denial: Denial,
) -> Denial {
    if denial.reason != DenyReason::BadCredentials {
        return denial;
    }
    let response = match offer {
        Offer::Token(_) => {
            http::with(http::json(401, &json!({ "detail": "Invalid token." })), "www-authenticate", "Token")
        }
        _ => layer::authentication_required(gateway, config, &connection.peer_address),
    };
    Denial { http: Some(response), ..denial }
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
