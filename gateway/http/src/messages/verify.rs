//! `/verify`: whether a request that another gateway has may pass: nginx (`auth_request`), Traefik (ForwardAuth), Envoy
//! (ext_authz over HTTP).
//!
//! The chain is asked about the *original* request. Its credentials are in the headers, which such gateways pass on; its
//! method and target where the gateway that asks puts them: see [`Family`]. Exactly one place is looked at, and which one
//! the address says that the operator gave to that gateway: its client can add headers, and chooses nothing by them. TLS
//! and its certificate are those of the gateway that asks and not of its client, so policies do not see them.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use portcullis_grant::{ConnectionFacts, Grant, HttpHead, PeerDetails};
use portcullis_mqtt::{QoS, ReasonCode};

use super::Messages;
use super::parameters::{Parameters, check_filter, check_topic, headers};
use super::properties::safe;
use super::refusal::{bad, denied_to_gateway, refused};
use crate::answer::{self, Answer};
use crate::inbound::Inbound;

/// Octets of one identity header. Gateways in front bound the head of a response, nginx to 4 or 8 KiB.
const LONGEST: usize = 2048;
/// Questions of one request.
const MOST_CHECKS: usize = 16;

/// Where the method and the target of the original request are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Family {
    /// `X-Original-URI` and `X-Original-Method`, the host as received: nginx, as the README configures it.
    #[default]
    Original,
    /// `X-Forwarded-Uri`, `X-Forwarded-Method` and `X-Forwarded-Host`: Traefik, Caddy.
    Forwarded,
    /// The request's own, the path behind `/verify`: Envoy.
    Path,
}

impl Family {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "x-original" => Some(Self::Original),
            "x-forwarded" => Some(Self::Forwarded),
            _ => None,
        }
    }
}

/// What has to be permitted, beyond being let in.
#[derive(Default)]
struct Checks {
    publish: Vec<String>,
    subscribe: Vec<String>,
    qos: QoS,
    retain: bool,
    original: Family,
}

impl Messages {
    pub(super) async fn verify(&self, request: Inbound) -> Answer {
        let checks = match self.checks(&request) {
            Ok(checks) => checks,
            Err(answer) => return answer,
        };
        let http = match original(&request.head, checks.original) {
            Ok(head) => Some(head),
            Err(answer) => return answer,
        };
        // As if the original request had come over this connection.
        let details = PeerDetails { http, ..PeerDetails::default() };
        let connection = ConnectionFacts { details: Some(Arc::new(details)), ..request.connection };
        let admitted = match self.admit(&connection).await {
            Ok(admitted) => admitted,
            Err(denial) => return denied_to_gateway(&denial),
        };
        let grant = &admitted.0;
        for topic in &checks.publish {
            if let Err(denial) = self.may_publish(&admitted, topic, checks.qos, checks.retain).await {
                self.witness.action_refused(&connection, grant, "publish", topic);
                return denial.map_or_else(|| not_permitted("publish to", topic), |denial| denied_to_gateway(&denial));
            }
        }
        for filter in &checks.subscribe {
            if let Err(denial) = self.may_subscribe(&admitted, filter, checks.qos).await {
                self.witness.action_refused(&connection, grant, "subscribe", filter);
                return denial
                    .map_or_else(|| not_permitted("subscribe to", filter), |denial| denied_to_gateway(&denial));
            }
        }
        admitted_as(grant)
    }

    /// What is to be checked: as parameters, where the query is ours and not the original request's, and as headers. A
    /// client that manages to add one gets one more check.
    fn checks(&self, request: &Inbound) -> Result<Checks, Answer> {
        let head = &request.head;
        let mut checks = Checks { original: Family::Path, ..Checks::default() };
        if head.path == "/verify" {
            let mut parameters = Parameters::of(head)?;
            // As a parameter only: a header would be the client's.
            checks.original = match parameters.every("original").as_slice() {
                [] => Family::default(),
                [word] => Family::from_word(word).ok_or_else(|| bad("`original` is not x-original or x-forwarded"))?,
                _ => return Err(bad("`original` is there more than once")),
            };
            checks.publish = parameters.every("publish");
            checks.subscribe = parameters.every("subscribe");
            checks.qos = parameters.qos()?.unwrap_or_default();
            checks.retain = parameters.flag("retain")?;
            parameters.finish()?;
        }
        checks.publish.extend(headers(head, "x-verify-publish").map(str::to_owned));
        checks.subscribe.extend(headers(head, "x-verify-subscribe").map(str::to_owned));
        if checks.publish.len() + checks.subscribe.len() > MOST_CHECKS {
            return Err(refused(ReasonCode::QUOTA_EXCEEDED, &format!("more than {MOST_CHECKS} things to check")));
        }
        let bounds = self.exchange.bounds();
        checks.publish.iter().try_for_each(|topic| check_topic(topic, &bounds))?;
        checks.subscribe.iter().try_for_each(|filter| check_filter(filter, &bounds))?;
        Ok(checks)
    }
}

fn not_permitted(what: &str, name: &str) -> Answer {
    refused(ReasonCode::NOT_AUTHORIZED, &format!("the grant does not permit to {what} {name:?}"))
}

/// The head of the original request.
///
/// # Errors
/// A header that the asking gateway sets is there twice: one of them is its client's.
fn original(head: &HttpHead, family: Family) -> Result<HttpHead, Answer> {
    let single = |name: &str| {
        let mut values = headers(head, name);
        let first = values.next();
        if values.next().is_some() { Err(bad(&format!("`{name}` is there more than once"))) } else { Ok(first) }
    };
    let (method, target, host) = match family {
        Family::Original => (single("x-original-method")?, single("x-original-uri")?, None),
        Family::Forwarded => (single("x-forwarded-method")?, single("x-forwarded-uri")?, single("x-forwarded-host")?),
        Family::Path => (None, None, None),
    };
    // Some name the whole address, most what follows the host.
    let target = target.map(|target| match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    });
    let (path, query) = match (target, family) {
        (Some(target), _) => match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        },
        (None, Family::Path) => (head.path.strip_prefix("/verify").unwrap_or_default(), head.query.clone()),
        // It was not said: not the query, which is ours.
        (None, _) => (head.path.as_str(), None),
    };
    Ok(HttpHead {
        method: method.unwrap_or(&head.method).to_ascii_uppercase(),
        authority: host.unwrap_or(&head.authority).to_ascii_lowercase(),
        path: portcullis_net::request::resolve_dot_segments(path),
        query,
        headers: head.headers.clone(),
    })
}

/// 200 with who it is. All the headers are there, empty where there is nothing to say, so that a gateway that copies them
/// overwrites what its client had sent under the same names.
fn admitted_as(grant: &Grant) -> Answer {
    let who = &grant.identity;
    let joined: Vec<String> = who.roles().filter_map(|role| safe(role, ",").to_str().ok().map(str::to_owned)).collect();
    let fields = [
        ("x-auth-subject", safe(who.subject(), "")),
        ("x-auth-tenant", safe(who.tenant().unwrap_or_default(), "")),
        ("x-auth-scheme", safe(who.scheme(), "")),
        ("x-auth-acting-for", safe(who.acting_for().unwrap_or_default(), "")),
        ("x-auth-roles", HeaderValue::try_from(joined.join(",")).unwrap_or(HeaderValue::from_static(""))),
        ("x-auth-expires", grant.expires_at().map_or(HeaderValue::from_static(""), HeaderValue::from)),
    ];
    if let Some((name, _)) = fields.iter().find(|(_, value)| value.len() > LONGEST) {
        // Cut short, it would name somebody else, or leave out a role that forbids.
        let words = format!("the identity does not fit into a header: {name} would have more than {LONGEST} octets");
        return answer::error(StatusCode::INTERNAL_SERVER_ERROR, &words);
    }
    let mut answer = answer::body(StatusCode::OK, "text/plain; charset=utf-8", "");
    for (name, value) in fields {
        answer.headers_mut().insert(HeaderName::from_static(name), value);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a client can add, whatever stands in front.
    const CLIENTS: [(&str, &str); 7] = [
        ("mqtt-original", "x-forwarded"),
        ("x-original-url", "https://evil.example/client?x=1"),
        ("x-rewrite-url", "/client"),
        ("x-http-method-override", "PUT"),
        ("forwarded", "host=evil.example"),
        ("x-forwarded-path", "/client"),
        ("x-original-host", "evil.example"),
    ];
    const FORWARDED: [(&str, &str); 3] =
        [("x-forwarded-method", "PUT"), ("x-forwarded-uri", "/client"), ("x-forwarded-host", "evil.example")];
    const ORIGINAL: [(&str, &str); 2] = [("x-original-method", "PUT"), ("x-original-uri", "/client")];

    fn seen(family: Family, path: &str, query: Option<&str>, sets: &[&[(&str, &str)]]) -> Result<String, u16> {
        let headers = sets.iter().copied().flatten().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let head = HttpHead {
            method: "GET".into(),
            authority: "app.example".into(),
            path: path.into(),
            query: query.map(str::to_owned),
            headers,
        };
        let told = original(&head, family).map_err(|answer| answer.status().as_u16())?;
        let query = told.query.map(|query| format!("?{query}")).unwrap_or_default();
        Ok(format!("{} {}{}{query}", told.method, told.authority, told.path))
    }

    #[test]
    fn a_client_chooses_nothing_by_headers_of_another_family() {
        let nginx = [("x-original-method", "DELETE"), ("x-original-uri", "/things/../a?b=c")];
        let told = seen(Family::Original, "/verify", None, &[&nginx, &FORWARDED, &CLIENTS]);
        assert_eq!(told.as_deref(), Ok("DELETE app.example/a?b=c"));
        let traefik =
            [("x-forwarded-method", "POST"), ("x-forwarded-uri", "/b?c"), ("x-forwarded-host", "Shop.example")];
        let told = seen(Family::Forwarded, "/verify", Some("original=x-forwarded"), &[&traefik, &ORIGINAL, &CLIENTS]);
        assert_eq!(told.as_deref(), Ok("POST shop.example/b?c"));
        let told = seen(Family::Path, "/verify/c", Some("d=e"), &[&ORIGINAL, &FORWARDED, &CLIENTS]);
        assert_eq!(told.as_deref(), Ok("GET app.example/c?d=e"));
    }

    #[test]
    fn a_header_that_is_there_twice_is_refused() {
        for (family, headers) in [(Family::Original, &ORIGINAL[..]), (Family::Forwarded, &FORWARDED[..])] {
            for twice in headers {
                assert_eq!(seen(family, "/verify", None, &[headers, &[*twice]]), Err(400), "{twice:?}");
            }
        }
    }

    #[test]
    fn what_was_not_said_is_not_taken_from_elsewhere() {
        let told = seen(Family::Original, "/verify", Some("publish=a"), &[&FORWARDED, &CLIENTS]);
        assert_eq!(told.as_deref(), Ok("GET app.example/verify"));
    }
}
