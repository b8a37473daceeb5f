//! A request as it comes in: a head that makes sense, a body that is bounded in size and time.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use portcullis_grant::{ConnectionFacts, HttpHead};
use portcullis_net::StopSignal;
use portcullis_net::request::resolve_dot_segments;

use crate::answer::{Answer, error};
use crate::messages::Publishers;

/// A request whose head was checked.
pub struct Inbound {
    /// Where it comes from; the head is among its details.
    pub connection: ConnectionFacts,
    /// The address that the listener is bound to. None: it is a Unix socket.
    pub local: Option<SocketAddr>,
    /// The head, its path with dot segments resolved.
    pub head: Arc<HttpHead>,
    /// The path as received.
    pub raw_path: String,
    /// The body, not read yet.
    pub body: InboundBody,
    /// Says that the listener stops.
    pub stop: StopSignal,
    /// Through whom the connection publishes.
    pub(crate) publishers: Arc<Publishers>,
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("connection", &self.connection.id)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// A body that was not read yet.
#[derive(Debug)]
pub struct InboundBody {
    incoming: Incoming,
    limit: usize,
    patience: Duration,
}

impl InboundBody {
    /// A body of at most `limit` octets that takes at most `patience`.
    pub(crate) fn new(incoming: Incoming, limit: usize, patience: Duration) -> Self {
        Self { incoming, limit, patience }
    }

    /// Reads it whole.
    ///
    /// # Errors
    /// What to answer instead: 413 if it is too large, announced or not; 408 if it takes too long; 400 if it breaks off.
    pub async fn read(self) -> Result<Vec<u8>, Answer> {
        let too_large =
            || error(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body may have {} octets at most", self.limit));
        // Before the first octet is asked for, so that a client with `Expect: 100-continue` sends none.
        if self.incoming.size_hint().lower() > self.limit as u64 {
            return Err(too_large());
        }
        match tokio::time::timeout(self.patience, Limited::new(self.incoming, self.limit).collect()).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes().into()),
            Ok(Err(broken)) if broken.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(error(StatusCode::BAD_REQUEST, "the body broke off")),
            Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
        }
    }
}

/// Reads a head. The answer is what to send instead when it makes no sense.
pub(crate) fn read_head(parts: &Parts) -> Result<HttpHead, Answer> {
    let bad = |words: &str| Err(error(StatusCode::BAD_REQUEST, words));
    if parts.method == Method::CONNECT {
        return Err(error(StatusCode::NOT_IMPLEMENTED, "this is no proxy"));
    }
    let method = parts.method.as_str();
    if method.bytes().any(|octet| octet.is_ascii_lowercase()) {
        return Err(error(StatusCode::NOT_IMPLEMENTED, "methods are written in upper case"));
    }
    let path = parts.uri.path();
    if !path.starts_with('/') {
        return bad("the request target is not a path");
    }
    let mut headers = Vec::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
            return bad(&format!("the value of header {name} is not UTF-8"));
        };
        headers.push((name.as_str().to_owned(), value.to_owned()));
    }
    let mut hosts = headers.iter().filter(|(name, _)| name == "host").map(|(_, value)| value.as_str());
    let host = hosts.next();
    if hosts.next().is_some() {
        return bad("more than one Host header");
    }
    // RFC 9112 §3.2: with HTTP/1.1 the header is a must, and the target's own authority wins over it.
    if host.is_none() && parts.version == Version::HTTP_11 {
        return bad("no Host header");
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or_default();
    if authority.contains(['@', '/', ' ', ',']) {
        return bad("the authority is malformed");
    }
    Ok(HttpHead {
        method: method.to_owned(),
        authority: authority.to_ascii_lowercase(),
        path: resolved(path),
        query: parts.uri.query().map(str::to_owned),
        headers,
    })
}

/// A path with dot segments resolved. Behind `/verify` stands the path of a request that another gateway has, as its client
/// wrote it: dots in it lead nowhere else, or the client would choose which of our answers decides about it.
fn resolved(path: &str) -> String {
    match path.strip_prefix("/verify").filter(|rest| rest.starts_with('/')) {
        Some(original) => format!("/verify{}", resolve_dot_segments(original)),
        None => resolve_dot_segments(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_behind_verify_lead_nowhere_else() {
        for (path, seen) in [
            ("/verify/../healthz/live", "/verify/healthz/live"),
            ("/verify/%2e%2e/%2E./retained/a", "/verify/retained/a"),
            ("/verify/a/./../b", "/verify/b"),
            ("/verify/..", "/verify/"),
            ("/verifyx/../a", "/a"),
            ("/a/../verify", "/verify"),
        ] {
            assert_eq!(resolved(path), seen, "{path}");
        }
    }
    use hyper::Request;

    fn head(request: hyper::http::request::Builder) -> Result<HttpHead, u16> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        read_head(&parts).map_err(|answer| answer.status().as_u16())
    }

    #[test]
    fn a_head_is_told_in_the_words_of_the_contract() {
        let request =
            Request::get("/v3/../auth/tokens?nocatalog=%31").header("Host", "Gateway:8080").header("X-A", "ü");
        let head = head(request).unwrap();
        assert_eq!((head.method.as_str(), head.authority.as_str()), ("GET", "gateway:8080"));
        assert_eq!((head.path.as_str(), head.query.as_deref()), ("/auth/tokens", Some("nocatalog=%31")));
        assert_eq!(head.headers, [("host".into(), "Gateway:8080".into()), ("x-a".into(), "ü".into())]);
    }

    #[test]
    fn heads_without_sense_are_refused() {
        assert_eq!(head(Request::get("/")).err(), Some(400), "no Host");
        assert_eq!(head(Request::get("/").header("Host", "a").header("Host", "b")).err(), Some(400));
        assert_eq!(head(Request::get("/").header("Host", "user@a")).err(), Some(400));
        assert_eq!(head(Request::get("/").header("Host", "a").header("X", &[0xe9][..])).err(), Some(400));
        assert_eq!(head(Request::options("*").header("Host", "a")).err(), Some(400));
        assert_eq!(head(Request::connect("a:443").header("Host", "a")).err(), Some(501));
        assert_eq!(head(Request::builder().method("get").uri("/").header("Host", "a")).err(), Some(501));
        assert!(head(Request::get("/").version(Version::HTTP_10)).is_ok());
        let absolute = head(Request::get("http://A/x").header("Host", "b")).unwrap();
        assert_eq!(absolute.authority, "a");
    }
}
