//! Between the contract's types and the gateway's, in both directions.
//!
//! What goes into a policy was bounded by whoever read it from a client. What comes out is checked here against the
//! contract's bounds; beyond them the answer is void, which is a failure of the policy and refuses the client.

use portcullis_grant::gatekeeper::{Action, Reply};
use portcullis_grant::{
    Actions, Challenge, ConnectionFacts, Credentials, Denial, DenyReason, Effect, GrantDraft, HttpAnswer, HttpHead,
    Identity, PolicyStamp, Principal, Rule,
};
use portcullis_mqtt::QoS;

use crate::bindings::exports::portcullis::policy::{authorization, descriptor, enhanced_authentication};
use crate::bindings::portcullis::policy::types as wit;
use crate::spec::Description;

/// MQTT binary data and strings (MQTT 5 §1.5.4, §1.5.6).
const MAX_MQTT: usize = 65_535;
const MAX_STATE: usize = 4096;
/// All texts of an identity together, and all entries of `depends-on`.
const MAX_IDENTITY: usize = 16 << 10;
/// What is for people is cut rather than refused.
const MAX_WORDS: usize = 2048;
const MAX_RESPONSE_BODY: usize = 1 << 20;
const MAX_RESPONSE_HEADERS: usize = 64;
const MAX_RESPONSE_HEADER_OCTETS: usize = 32 << 10;
/// Fields of a response that are the gateway's.
const OWN_FIELDS: [&str; 6] = ["content-length", "date", "connection", "transfer-encoding", "keep-alive", "upgrade"];

pub(crate) fn connection(of: &ConnectionFacts) -> wit::Connection {
    wit::Connection {
        id: (*of.id).to_owned(),
        listener: (*of.listener).to_owned(),
        protocol: of.protocol.to_owned(),
        protocol_version: of.protocol_version,
        transport: of.transport.to_owned(),
        peer_address: of.peer.address(),
        peer_port: of.peer.port(),
        server_name: of.details.as_ref().and_then(|details| details.server_name.clone()),
        identity: of.identity.as_deref().map(identity),
    }
}

pub(crate) fn identity(of: &Principal) -> wit::Identity {
    wit::Identity {
        scheme: of.scheme().to_owned(),
        subject: of.subject().to_owned(),
        tenant: of.tenant().map(str::to_owned),
        acting_for: of.acting_for().map(str::to_owned),
        roles: of.roles().map(str::to_owned).collect(),
        attributes: of.attributes().map(|(name, value)| (name.to_owned(), value.into_owned())).collect(),
    }
}

pub(crate) fn credentials(of: &Credentials) -> wit::Credentials {
    wit::Credentials {
        client_id: of.client_id.clone(),
        username: of.username.clone(),
        password: of.password.clone(),
        method: of.method.clone(),
        data: of.data.clone(),
        user_properties: of.user_properties.clone(),
    }
}

pub(crate) fn reply(of: &Reply) -> enhanced_authentication::Reply {
    enhanced_authentication::Reply {
        client_id: of.client_id.clone(),
        method: of.method.clone(),
        data: of.data.clone(),
        user_properties: of.user_properties.clone(),
        state: of.challenge.state.clone(),
    }
}

pub(crate) fn http_request(head: &HttpHead, body: Vec<u8>) -> wit::HttpRequest {
    wit::HttpRequest {
        method: head.method.clone(),
        authority: head.authority.clone(),
        path: head.path.clone(),
        query: head.query.clone(),
        headers: head.headers.clone(),
        body,
    }
}

pub(crate) fn action(of: &Action) -> authorization::Action {
    match of {
        Action::Publish(p) => authorization::Action::Publish(authorization::Publication {
            topic: p.topic.clone(),
            qos: to_qos(p.qos),
            retain: p.retain,
            will: p.will,
            size: p.size,
        }),
        Action::Subscribe(s) => authorization::Action::Subscribe(authorization::Subscription {
            filter: s.filter.clone(),
            qos: to_qos(s.qos),
            share: s.share.clone(),
        }),
    }
}

pub(crate) fn to_qos(of: QoS) -> wit::Qos {
    match of {
        QoS::AtMostOnce => wit::Qos::AtMostOnce,
        QoS::AtLeastOnce => wit::Qos::AtLeastOnce,
        QoS::ExactlyOnce => wit::Qos::ExactlyOnce,
    }
}

fn bound(what: &str, count: usize, limit: usize) -> Result<(), String> {
    if count > limit { Err(format!("{what}: {count}, more than {limit}")) } else { Ok(()) }
}

fn pairs(of: &[(String, String)]) -> usize {
    of.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// A grant, before it is compiled; [`portcullis_grant::Grant::compile`] checks the bounds that it names itself.
pub(crate) fn grant(of: wit::Grant) -> Result<GrantDraft, String> {
    let who = of.identity;
    let texts = [&who.scheme, &who.subject].into_iter().chain(&who.tenant).chain(&who.acting_for).chain(&who.roles);
    let octets = texts.map(String::len).sum::<usize>() + pairs(&who.attributes);
    bound("octets of the identity", octets, MAX_IDENTITY)?;
    bound("roles of the identity", who.roles.len(), 1024)?;
    bound("octets of depends-on", of.depends_on.iter().map(String::len).sum(), MAX_IDENTITY)?;
    bound("octets of authentication data", of.data.as_ref().map_or(0, Vec::len), MAX_MQTT)?;
    bound("limits", of.limits.len(), 64)?;
    Ok(GrantDraft {
        identity: Identity {
            scheme: who.scheme,
            subject: who.subject,
            tenant: who.tenant,
            acting_for: who.acting_for,
            roles: who.roles,
            attributes: who.attributes,
        },
        expires_at: of.expires_at,
        renew_after: of.renew_after,
        client_id: of.client_id,
        rules: of.rules.into_iter().map(rule).collect(),
        limits: of.limits.into_iter().map(|limit| (limit.name, limit.value)).collect(),
        depends_on: of.depends_on,
        state: of.state,
        data: of.data,
        attributes: of.attributes,
    })
}

fn rule(of: wit::Rule) -> Rule {
    let mut actions = Actions::NONE;
    for (theirs, ours) in [
        (wit::Actions::PUBLISH, Actions::PUBLISH),
        (wit::Actions::SUBSCRIBE, Actions::SUBSCRIBE),
        (wit::Actions::RETAIN, Actions::RETAIN),
        (wit::Actions::WILL, Actions::WILL),
    ] {
        if of.actions.contains(theirs) {
            actions |= ours;
        }
    }
    let effect = match of.effect {
        wit::Effect::Allow => Effect::Allow,
        wit::Effect::Deny => Effect::Deny,
        wit::Effect::Ask => Effect::Ask,
    };
    let max_qos = match of.max_qos {
        wit::Qos::AtMostOnce => QoS::AtMostOnce,
        wit::Qos::AtLeastOnce => QoS::AtLeastOnce,
        wit::Qos::ExactlyOnce => QoS::ExactlyOnce,
    };
    Rule { effect, actions, filter: of.filter, max_qos }
}

pub(crate) fn denial(of: wit::Denial) -> Result<Denial, String> {
    let reason = match of.reason {
        wit::DenyReason::BadCredentials => DenyReason::BadCredentials,
        wit::DenyReason::NotAuthorized => DenyReason::NotAuthorized,
        wit::DenyReason::ClientIdNotValid => DenyReason::ClientIdNotValid,
        wit::DenyReason::BadAuthenticationMethod => DenyReason::BadAuthenticationMethod,
        wit::DenyReason::Banned => DenyReason::Banned,
        wit::DenyReason::QuotaExceeded => DenyReason::QuotaExceeded,
        wit::DenyReason::RateExceeded => DenyReason::RateExceeded,
        wit::DenyReason::Unavailable => DenyReason::Unavailable,
        wit::DenyReason::Malformed => DenyReason::Malformed,
        wit::DenyReason::ServerBusy => DenyReason::ServerBusy,
        wit::DenyReason::UseAnotherServer => DenyReason::UseAnotherServer,
    };
    bound("octets of server-reference", of.server_reference.as_ref().map_or(0, String::len), MAX_WORDS)?;
    Ok(Denial {
        reason,
        // It may quote what a stranger sent, and goes to logs and terminals.
        detail: crate::capability::escaped(&of.detail),
        message: of.message.map(cut),
        retry_after: of.retry_after,
        server_reference: of.server_reference,
        http: of.http.map(http_answer).transpose()?.map(Box::new),
    })
}

fn cut(mut words: String) -> String {
    if words.len() > MAX_WORDS {
        let mut end = MAX_WORDS;
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        words.truncate(end);
    }
    words
}

pub(crate) fn http_answer(of: wit::HttpResponse) -> Result<HttpAnswer, String> {
    if !(200..=599).contains(&of.status) {
        return Err(format!("the HTTP status {}, which is not 200 to 599", of.status));
    }
    bound("octets of the HTTP body", of.body.len(), MAX_RESPONSE_BODY)?;
    bound("HTTP header fields", of.headers.len(), MAX_RESPONSE_HEADERS)?;
    bound("octets of HTTP header fields", pairs(&of.headers), MAX_RESPONSE_HEADER_OCTETS)?;
    let mut headers = Vec::with_capacity(of.headers.len());
    for (name, value) in of.headers {
        let name = name.to_ascii_lowercase();
        // Checked here so that no room behind this one can be made to split a response.
        let good = hyper::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
            && hyper::header::HeaderValue::from_str(&value).is_ok();
        if !good {
            return Err(format!("the HTTP header field {:?}, which cannot be sent", cut(name)));
        }
        if !OWN_FIELDS.contains(&name.as_str()) {
            headers.push((name, value));
        }
    }
    Ok(HttpAnswer { status: of.status, headers, body: of.body })
}

/// A challenge, as question number `step` of the exchange with this policy.
pub(crate) fn challenge(of: wit::Challenge, policy: PolicyStamp, step: u8) -> Result<Challenge, String> {
    bound("octets of the challenge's data", of.data.len(), MAX_MQTT)?;
    bound("octets of the challenge's state", of.state.len(), MAX_STATE)?;
    Ok(Challenge { data: of.data, state: of.state, reply_within: of.reply_within, policy, step })
}

pub(crate) fn description(of: descriptor::Description) -> Result<Description, String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if of.name.is_empty() || of.name.len() > 64 || !of.name.chars().all(word) {
        return Err(format!("its name {:?} is not 1 to 64 lower-case letters, digits and hyphens", cut(of.name)));
    }
    bound("octets of its version", of.version.len(), 64)?;
    bound("octets of its summary", of.summary.len(), 1024)?;
    bound("schemes", of.schemes.len(), 32)?;
    bound("authentication methods", of.methods.len(), 32)?;
    bound("octets of schemes and methods", of.schemes.iter().chain(&of.methods).map(String::len).sum(), 4096)?;
    bound("octets of its configuration schema", of.config_schema.len(), 256 << 10)?;
    if !of.config_schema.is_empty() && serde_json::from_str::<serde_json::Value>(&of.config_schema).is_err() {
        return Err("its configuration schema is not JSON".to_owned());
    }
    Ok(Description {
        name: of.name,
        version: crate::capability::escaped(&of.version),
        summary: crate::capability::escaped(&of.summary),
        schemes: of.schemes,
        methods: of.methods.into_iter().map(Into::into).collect(),
        config_schema: of.config_schema,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: usize) -> wit::HttpResponse {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        wit::HttpResponse { status, headers, body: vec![0; body] }
    }

    #[test]
    fn responses_that_cannot_be_sent_are_void() {
        assert!(http_answer(response(199, &[], 0)).is_err());
        assert!(http_answer(response(600, &[], 0)).is_err());
        assert!(http_answer(response(200, &[("x", "a\r\nset-cookie: b")], 0)).is_err());
        assert!(http_answer(response(200, &[("x y", "a")], 0)).is_err());
        assert!(http_answer(response(200, &[], MAX_RESPONSE_BODY + 1)).is_err());
    }

    #[test]
    fn framing_is_the_gateways() {
        let answer = http_answer(response(200, &[("Content-Length", "5"), ("X-A", "b")], 0)).expect("fine");
        assert_eq!(answer.headers, [("x-a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn words_for_people_are_cut_and_escaped() {
        let of = wit::Denial {
            reason: wit::DenyReason::Banned,
            detail: "a\nb".to_owned(),
            message: Some("é".repeat(5000)),
            retry_after: None,
            server_reference: None,
            http: None,
        };
        let denial = denial(of).expect("fine");
        assert_eq!(denial.detail, "a\\nb");
        assert_eq!(denial.message.map(|m| m.len()), Some(MAX_WORDS));
    }
}
