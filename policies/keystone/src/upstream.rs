//! Another Keystone's tokens: it is asked, and its answer remembered for a while.
//!
//! A token asks about itself, which every Keystone permits, so that no account for the gateway is needed. An answer is kept
//! under a digest of the token. While it is fresh nobody is asked; then the other is asked again; while the other cannot be
//! reached, the answer goes on to count until it is too old. A token never outlives its own end.

use policy_support::digest::sha256;
use policy_support::wit::http_client::{Error as HttpError, Request};
use policy_support::wit::types::{Denial, DenyReason, HttpResponse};
use policy_support::{SchemeGateway, deny};
use serde_json::json;

use crate::config::Upstream;
use crate::fiware::{Path, Service};
use crate::kept;
use crate::local::check::not_verified;
use crate::refusal::{Refusal, unavailable, wrong};
use crate::token::Token;

/// Seconds for which nobody tries again after the other could not be reached.
const PAUSE: u32 = 5;

/// The longest token that is looked at: it goes into two header fields, which servers bound to 8 KiB.
const TOKEN: usize = 4 << 10;

/// The longest token whose failure tells something of the other Keystone. No Keystone's is longer, and to a longer one some
/// servers just hang up: a stranger with such a token would shut out everybody whose token is not remembered.
const USUAL: usize = 1 << 10;

/// Wrong passwords for one user from one address, and from one address in all, within [`WINDOW`]: then no more are passed on.
const WRONG: (i64, i64) = (10, 50);

/// Seconds for which wrong passwords are counted.
const WINDOW: u32 = 300;

/// Milliseconds of a call that are left for what comes after the request.
const RESERVE: u32 = 50;

/// What is kept of a token that the other refused.
const REFUSED: &[u8] = b"refused";

/// Under what the time of the last failure is kept.
const DOWN: &str = "down";

/// A good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What is known of it.
    pub token: Token,
    /// Seconds until it must be looked at again.
    pub again_in: u64,
}

/// Whether a token is good.
///
/// # Errors
/// It is not; or the other Keystone cannot be asked, and what it said before is too old.
pub fn check(gateway: &impl SchemeGateway, upstream: &Upstream, token: &str) -> Result<Checked, Refusal> {
    let sendable = token.len() <= TOKEN && token.bytes().all(|octet| octet.is_ascii_graphic());
    if !sendable {
        return Err(wrong("what is offered for a token cannot be one"));
    }
    let key = format!("token:{}", sha256(&[token]));
    // A store that fails is a cache that misses.
    let kept = gateway.get(&key).ok().flatten();
    if kept.as_deref() == Some(REFUSED) {
        return Err(wrong("the Keystone refused this token a moment ago"));
    }
    let now = gateway.now();
    let kept = match kept.as_deref().and_then(kept::read).filter(|(token, _)| token.expires_at > now) {
        Some((token, at)) if now < at.saturating_add(upstream.cache) => {
            return Ok(Checked { token, again_in: at + upstream.cache - now });
        }
        kept => kept,
    };
    if let Some(requirements) = upstream.requirements.as_ref().filter(|_| token.contains('.')) {
        gateway.verify(token, requirements).map_err(not_verified)?;
    }
    let why = match gateway.get(DOWN) {
        Ok(Some(why)) => String::from_utf8_lossy(&why).into_owned(),
        _ => match ask(gateway, upstream, token)? {
            Told::Good(token) => return keep(gateway, upstream, &key, *token, now),
            Told::Refused => {
                let _ = gateway.set(&key, REFUSED, Some(upstream.refused));
                return Err(wrong("the Keystone says that the token is not valid"));
            }
            Told::Nothing { why, of_itself } => {
                if of_itself && token.len() <= USUAL {
                    let _ = gateway.set(DOWN, why.as_bytes(), Some(PAUSE));
                }
                why
            }
        },
    };
    match kept {
        Some((token, at)) if now < at.saturating_add(upstream.stale) => {
            let left = (at + upstream.stale - now).min(u64::from(PAUSE) * 6);
            Ok(Checked { token, again_in: left.max(1) })
        }
        Some((_, at)) => Err(unreachable(upstream, &why, &format!("what it said {} s ago is too old", now - at))),
        None => Err(unreachable(upstream, &why, "it was never asked about this token, or too long ago")),
    }
}

/// Logs a user in with a password. The token that comes of it is remembered as if it had been offered.
///
/// # Errors
/// As [`check`]; too many wrong passwords.
pub fn log_in(
    gateway: &impl SchemeGateway,
    upstream: &Upstream,
    user: &str,
    service: &Service,
    password: &[u8],
    address: &str,
) -> Result<(Checked, String), Refusal> {
    let password = std::str::from_utf8(password).map_err(|_| wrong("the password is no text"))?;
    let tries = [
        (format!("wrong:{}", sha256(&[user, &service.name, address])), WRONG.0),
        (format!("wrong:{}", sha256(&[address])), WRONG.1),
    ];
    for (key, most) in &tries {
        let count = gateway.increment(key, 0, Some(WINDOW)).unwrap_or(0);
        if count >= *most {
            let detail = format!("{count} wrong passwords came from {address} within {WINDOW} s");
            let denial = deny(DenyReason::RateExceeded, detail);
            return Err(Refusal::Failed(Denial { retry_after: Some(WINDOW), ..denial }));
        }
    }
    let domain = json!({ "name": service.name });
    let proof = json!({ "user": { "name": user, "domain": domain, "password": password } });
    let mut auth = json!({ "identity": { "methods": ["password"], "password": proof } });
    match &service.path {
        Path::Any => {}
        Path::Whole => auth["scope"] = json!({ "domain": domain }),
        Path::Project(name) => auth["scope"] = json!({ "project": { "name": name, "domain": domain } }),
    }
    let request = Request {
        method: "POST".into(),
        url: format!("{}/auth/tokens?nocatalog", upstream.url),
        headers: vec![("content-type".into(), "application/json".into())],
        body: json!({ "auth": auth }).to_string().into_bytes(),
        timeout_ms: Some(patience(gateway, upstream)),
    };
    let response = gateway.send(&request).map_err(|error| failed(upstream, &error))?;
    match response.status {
        201 => {}
        401 | 403 | 404 => {
            for (key, _) in &tries {
                let _ = gateway.increment(key, 1, Some(WINDOW));
            }
            return Err(wrong("the Keystone does not take this user, password and scope"));
        }
        status => return Err(unreachable(upstream, &format!("it answered {status}"), NO_LOGIN)),
    }
    let token = response.headers.iter().find(|(name, _)| name == "x-subject-token").map(|(_, value)| value.clone());
    let (Some(token), Some(known)) = (token, read(&response)) else {
        return Err(unreachable(upstream, "it answered with something that is no token", NO_LOGIN));
    };
    let key = format!("token:{}", sha256(&[&token]));
    Ok((keep(gateway, upstream, &key, known, gateway.now())?, token))
}

/// What the other Keystone says.
enum Told {
    Good(Box<Token>),
    Refused,
    /// Why it says nothing, and whether that is about the Keystone and not about the token.
    Nothing {
        why: String,
        of_itself: bool,
    },
}

fn ask(gateway: &impl SchemeGateway, upstream: &Upstream, token: &str) -> Result<Told, Refusal> {
    let request = Request {
        method: "GET".into(),
        url: format!("{}/auth/tokens?nocatalog", upstream.url),
        headers: vec![("x-auth-token".into(), token.into()), ("x-subject-token".into(), token.into())],
        body: vec![],
        timeout_ms: Some(patience(gateway, upstream)),
    };
    Ok(match gateway.send(&request) {
        Ok(response) => match response.status {
            200 => match read(&response) {
                Some(token) => Told::Good(Box::new(token)),
                None => {
                    Told::Nothing { why: "it answered with something that is no token".to_owned(), of_itself: false }
                }
            },
            401 | 404 => Told::Refused,
            // What it was asked does not please it. Whether it would have pleased it otherwise, nobody knows.
            status => Told::Nothing {
                why: format!("it answered {status}"),
                of_itself: status >= 500 || matches!(status, 408 | 429),
            },
        },
        // Waiting does not mend these.
        Err(error @ (HttpError::NotAllowed(_) | HttpError::InvalidRequest(_))) => return Err(failed(upstream, &error)),
        Err(error) => Told::Nothing { why: words(&error), of_itself: true },
    })
}

fn read(response: &HttpResponse) -> Option<Token> {
    Token::from_json(&serde_json::from_slice(&response.body).ok()?)
}

/// Remembers an answer.
fn keep(
    gateway: &impl SchemeGateway,
    upstream: &Upstream,
    key: &str,
    token: Token,
    now: u64,
) -> Result<Checked, Refusal> {
    let left = token.expires_at.saturating_sub(now);
    if left == 0 {
        return Err(wrong("the token has expired"));
    }
    let ttl = u32::try_from(left.min(upstream.stale)).unwrap_or(u32::MAX);
    if let Some(kept) = kept::write(&token, now).filter(|_| ttl > 0) {
        let _ = gateway.set(key, &kept, Some(ttl));
    }
    Ok(Checked { token, again_in: upstream.cache.min(left) })
}

fn patience(gateway: &impl SchemeGateway, upstream: &Upstream) -> u32 {
    gateway.remaining_ms().saturating_sub(RESERVE).clamp(1, upstream.timeout)
}

const NO_LOGIN: &str = "and a password cannot be checked without it";

fn failed(upstream: &Upstream, error: &HttpError) -> Refusal {
    match error {
        HttpError::NotAllowed(host) => unavailable(format!("the host {host} is not in the policy's `allow.http`")),
        error => unreachable(upstream, &words(error), NO_LOGIN),
    }
}

fn words(error: &HttpError) -> String {
    match error {
        HttpError::NotAllowed(host) => format!("{host} is not in `allow.http`"),
        HttpError::InvalidRequest(why) => format!("the request cannot be sent: {why}"),
        HttpError::Unreachable(why) | HttpError::Other(why) => why.clone(),
        HttpError::Timeout => {
            "it did not answer in time (see `timeout`, and `limits.deadline` of the policy)".to_owned()
        }
        HttpError::TooLarge(limit) => format!("its answer is larger than {limit} octets"),
    }
}

/// The refusal of what cannot be decided without the other. The client is told so: it is right to come again.
fn unreachable(upstream: &Upstream, why: &str, so: &str) -> Refusal {
    let denial =
        deny(DenyReason::Unavailable, format!("the Keystone at {} cannot be asked ({why}); {so}", upstream.url));
    let message = Some("the identity service cannot be reached: try again later".to_owned());
    Refusal::Failed(Denial { message, retry_after: Some(PAUSE), ..denial })
}

/// Whether the policy may ask the other at all. That it does not answer now is no error.
///
/// # Errors
/// What is missing in its entry.
pub fn probe(gateway: &impl SchemeGateway, upstream: &Upstream) -> Result<(), String> {
    let request = Request {
        method: "GET".into(),
        url: upstream.url.clone(),
        headers: vec![],
        body: vec![],
        timeout_ms: Some(500),
    };
    match gateway.send(&request) {
        Err(HttpError::NotAllowed(host)) => Err(format!("`url`: add the host to `allow = {{ http = [{host:?}] }}`")),
        Err(HttpError::InvalidRequest(why)) => Err(format!("`url`: {why}")),
        _ => Ok(()),
    }
}
