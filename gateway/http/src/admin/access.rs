//! Who may use the admin interface, and under which name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hyper::StatusCode;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};
use portcullis_grant::HttpHead;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::answer::{Answer, error};
use crate::inbound::Inbound;

/// The bearer token of the admin interface (RFC 6750). Never shown.
#[derive(Clone)]
pub struct AdminToken(Box<str>);

/// A token that could be guessed, or not sent.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the admin token must have 16 to 4,096 visible ASCII characters; `openssl rand -hex 32` makes a good one")]
pub struct WeakToken;

impl AdminToken {
    /// Takes a token.
    ///
    /// # Errors
    /// It has fewer than 16 or more than 4,096 characters, or others than visible ASCII.
    pub fn new(token: &str) -> Result<Self, WeakToken> {
        let good = (16..=4096).contains(&token.len()) && token.bytes().all(|octet| octet.is_ascii_graphic());
        if good { Ok(Self(token.into())) } else { Err(WeakToken) }
    }

    /// Whether the request shows it, in exactly one Authorization header. The time does not tell how much of a wrong
    /// one is right.
    pub(super) fn opens(&self, head: &HttpHead) -> bool {
        let mut values = head.headers.iter().filter(|(name, _)| name == "authorization").map(|(_, value)| value);
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, shown)) = value.split_once(' ') else { return false };
        scheme.eq_ignore_ascii_case("bearer") && bool::from(shown.trim().as_bytes().ct_eq(self.0.as_bytes()))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken([hidden])")
    }
}

/// 401 with the scheme (RFC 6750 §3).
pub(super) fn unauthorized() -> Answer {
    let mut answer = error(StatusCode::UNAUTHORIZED, "the admin interface needs its bearer token");
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"portcullis-admin\""));
    answer
}

/// Whether a request under this name is meant for us. Behind a loopback address only names that cannot be anybody
/// else's count: a foreign page whose name was made to point here (DNS rebinding) comes with its own.
pub(super) fn host_is_served(authority: &str, local: Option<SocketAddr>, hosts: &[String]) -> bool {
    // No page reaches a Unix socket.
    if !local.is_some_and(|local| local.ip().to_canonical().is_loopback()) {
        return true;
    }
    let host = host_of(authority);
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    host == "localhost" || hosts.iter().any(|served| served == host)
}

/// The authority without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) && !is_bare_v6(authority) => host,
        _ => authority,
    }
}

/// An IPv6 address without brackets, whose last colon begins no port.
fn is_bare_v6(authority: &str) -> bool {
    !authority.starts_with('[') && authority.matches(':').count() > 1
}

/// Reads a body that must be a JSON object.
pub(super) async fn read_object(request: Inbound) -> Result<Map<String, Value>, Answer> {
    let body = read_typed(request, "application/json").await?;
    serde_json::from_slice(&body)
        .map_err(|why| error(StatusCode::BAD_REQUEST, &format!("the body must be a JSON object: {why}")))
}

/// Reads a body that must be a component.
pub(super) async fn read_component(request: Inbound) -> Result<Vec<u8>, Answer> {
    read_typed(request, "application/wasm").await
}

/// Reads a body of one type. A form of a foreign page can send others without asking; these it cannot.
async fn read_typed(request: Inbound, kind: &str) -> Result<Vec<u8>, Answer> {
    let is_this = |(name, value): &(String, String)| {
        name == "content-type" && value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind)
    };
    if !request.head.headers.iter().any(is_this) {
        return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, &format!("the body must be {kind}")));
    }
    request.body.read().await
}

/// Reads a body that may name a version of a policy: `{}` or `{"digest": "…"}`.
pub(super) async fn read_digest(request: Inbound) -> Result<Option<String>, Answer> {
    let members = read_object(request).await?;
    match (members.get("digest"), members.len()) {
        (None | Some(Value::Null), 0 | 1) if members.keys().all(|name| name == "digest") => Ok(None),
        (Some(Value::String(digest)), 1) => Ok(Some(digest.clone())),
        _ => Err(error(StatusCode::BAD_REQUEST, "expected `{}` or `{\"digest\": \"…\"}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn head(values: &[&str]) -> HttpHead {
        let headers = values.iter().map(|value| ("authorization".to_owned(), (*value).to_owned())).collect();
        HttpHead { method: "GET".into(), authority: String::new(), path: "/".into(), query: None, headers }
    }

    #[test]
    fn only_the_whole_token_opens() {
        let token = AdminToken::new(TOKEN).unwrap();
        assert!(token.opens(&head(&["Bearer 0123456789abcdef"])));
        assert!(token.opens(&head(&["bearer  0123456789abcdef"])));
        for wrong in
            ["Bearer 0123456789abcde", "Bearer 0123456789abcdeff", "Bearer ", "Bearer", "Basic 0123456789abcdef", TOKEN]
        {
            assert!(!token.opens(&head(&[wrong])), "{wrong}");
        }
        assert!(!token.opens(&head(&[])));
        assert!(!token.opens(&head(&["Bearer 0123456789abcdef", "Bearer x"])), "two headers are none");
    }

    #[test]
    fn tokens_that_could_be_guessed_or_not_be_sent_are_refused() {
        for weak in ["", "short", "0123456789abcde", "0123456789 abcdef", "0123456789abcdeü"] {
            assert_eq!(AdminToken::new(weak).unwrap_err(), WeakToken, "{weak}");
        }
        assert!(!format!("{:?}", AdminToken::new(TOKEN).unwrap()).contains("0123"));
    }

    #[test]
    fn on_loopback_only_loopback_names_are_served() {
        let local = Some("127.0.0.1:9090".parse().unwrap());
        for good in ["localhost", "localhost:9090", "127.0.0.1:9090", "127.1.2.3", "[::1]:9090", "[::1]", "::1"] {
            assert!(host_is_served(good, local, &[]), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "192.0.2.1:9090",
            "127.0.0.1.evil.example",
        ] {
            assert!(!host_is_served(bad, local, &[]), "{bad}");
        }
        assert!(host_is_served("admin.example:443", local, &["admin.example".to_owned()]));
        assert!(host_is_served("anything.example", Some("192.0.2.1:9090".parse().unwrap()), &[]));
    }
}
