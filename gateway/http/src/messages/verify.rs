//! `/verify`: whether a request that another gateway has may pass: nginx (`auth_request`), Traefik (ForwardAuth), Envoy
//! (ext_authz over HTTP).
//!
//! The chain is asked about the *original* request. Its credentials are in the headers, which such gateways pass on; its
//! method, path and host in headers of their own, or, with Envoy, in the path after `/verify`. These are taken as they
//! are: whoever reaches this path can claim any, and learns no more than whether credentials that it has are good. TLS
//! and its certificate are those of the gateway that asks and not of its client, so policies do not see them.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use portcullis_grant::{ConnectionFacts, Grant, HttpHead, Identity, PeerDetails};
use portcullis_mqtt::{QoS, ReasonCode};

use super::Messages;
use super::parameters::{Parameters, check_filter, check_topic, headers};
use super::properties::safe;
use super::refusal::{denied_to_gateway, refused};
use crate::answer::{self, Answer};
use crate::inbound::Inbound;

/// Octets of one identity header. Gateways in front bound the head of a response, nginx to 4 or 8 KiB.
const LONGEST: usize = 2048;
/// Questions of one request.
const MOST_CHECKS: usize = 16;

/// What has to be permitted, beyond being let in.
#[derive(Default)]
struct Checks {
    publish: Vec<String>,
    subscribe: Vec<String>,
    qos: QoS,
    retain: bool,
}

impl Messages {
    pub(super) async fn verify(&self, request: Inbound) -> Answer {
        let checks = match self.checks(&request) {
            Ok(checks) => checks,
            Err(answer) => return answer,
        };
        let connection = original(&request);
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
        let mut checks = Checks::default();
        if head.path == "/verify" {
            let mut parameters = Parameters::of(head)?;
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

/// The connection as if the original request had come over it.
fn original(request: &Inbound) -> ConnectionFacts {
    let head = &request.head;
    let first = |names: &[&str]| names.iter().find_map(|name| headers(head, name).next());
    let method = first(&["x-forwarded-method", "x-original-method"]).unwrap_or(&head.method);
    let behind = head.path.strip_prefix("/verify").filter(|rest| rest.starts_with('/'));
    let target = first(&["x-original-uri", "x-forwarded-uri", "x-original-url"]);
    // Some name the whole address, most what follows the host.
    let target = target.map(|target| match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    });
    let (path, query) = match (target, behind) {
        (Some(target), _) => match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        },
        (None, Some(rest)) => (rest, head.query.clone()),
        (None, None) => (head.path.as_str(), None),
    };
    let original = HttpHead {
        method: method.to_ascii_uppercase(),
        authority: first(&["x-forwarded-host"]).unwrap_or(&head.authority).to_ascii_lowercase(),
        path: portcullis_net::request::resolve_dot_segments(path),
        query,
        headers: head.headers.clone(),
    };
    let details = PeerDetails { http: Some(original), ..PeerDetails::default() };
    ConnectionFacts { details: Some(Arc::new(details)), ..request.connection.clone() }
}

/// 200 with who it is. All the headers are there, empty where there is nothing to say, so that a gateway that copies them
/// overwrites what its client had sent under the same names.
fn admitted_as(grant: &Grant) -> Answer {
    let Identity { scheme, subject, tenant, acting_for, roles, .. } = &*grant.identity;
    let joined: Vec<String> =
        roles.iter().filter_map(|role| safe(role, ",").to_str().ok().map(str::to_owned)).collect();
    let fields = [
        ("x-auth-subject", safe(subject, "")),
        ("x-auth-tenant", safe(tenant.as_deref().unwrap_or_default(), "")),
        ("x-auth-scheme", safe(scheme, "")),
        ("x-auth-acting-for", safe(acting_for.as_deref().unwrap_or_default(), "")),
        ("x-auth-roles", HeaderValue::try_from(joined.join(",")).unwrap_or(HeaderValue::from_static(""))),
        ("x-auth-expires", grant.expires_at.map_or(HeaderValue::from_static(""), HeaderValue::from)),
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
