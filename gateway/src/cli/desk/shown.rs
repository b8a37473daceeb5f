//! Answers of a policy as JSON, in the words of the contract: what cases are compared with, and what people read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_grant::{
    Actions, Authorization, Challenge, Denial, Effect, Filtered, GrantDraft, HttpAnswer, Outcome, Renewal, Rule,
};
use portcullis_mqtt::ReasonCode;
use serde_json::{Map, Value, json};

/// Octets: text as it is, others in base64.
pub(super) fn octets(octets: &[u8]) -> Value {
    match std::str::from_utf8(octets) {
        Ok(text) => text.into(),
        Err(_) => format!("base64:{}", STANDARD.encode(octets)).into(),
    }
}

/// Without members that say nothing.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

fn pairs<'p>(pairs: impl IntoIterator<Item = &'p (String, String)>) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

fn rule(of: &Rule) -> Value {
    let named = [
        (Actions::PUBLISH, "publish"),
        (Actions::SUBSCRIBE, "subscribe"),
        (Actions::RETAIN, "retain"),
        (Actions::WILL, "will"),
    ];
    let actions: Vec<_> =
        named.iter().filter(|(action, _)| of.actions.contains(*action)).map(|(_, word)| *word).collect();
    let effect = match of.effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
        Effect::Ask => "ask",
    };
    json!({ "effect": effect, "actions": actions, "filter": of.filter, "max-qos": of.max_qos as u8 })
}

/// A grant as the policy worded it.
pub(super) fn grant(verdict: &str, of: &GrantDraft) -> Value {
    let who = &of.identity;
    let limits: Map<String, Value> = of.limits.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
    tidy(json!({
        "verdict": verdict,
        "scheme": who.scheme,
        "subject": who.subject,
        "tenant": who.tenant,
        "acting-for": who.acting_for,
        "roles": who.roles,
        "attributes": pairs(&who.attributes),
        "expires-at": of.expires_at,
        "renew-after": of.renew_after,
        "client-id": of.client_id,
        "rules": of.rules.iter().map(rule).collect::<Vec<_>>(),
        "limits": limits,
        "depends-on": of.depends_on,
        "state": octets(&of.state),
        "data": of.data.as_deref().map(octets),
    }))
}

/// A refusal.
pub(super) fn denial(verdict: &str, of: &Denial) -> Value {
    let mut shown = json!({
        "verdict": verdict,
        "reason": of.reason.as_str(),
        "detail": of.detail,
        "message": of.message,
        "retry-after": of.retry_after,
        "server-reference": of.server_reference,
    });
    if let (Some(answer), Value::Object(members)) = (&of.http, &mut shown)
        && let Value::Object(response) = response(answer)
    {
        members.extend(response.into_iter().filter(|(name, _)| name != "verdict"));
    }
    tidy(shown)
}

fn challenge(of: &Challenge) -> Value {
    tidy(json!({
        "verdict": "challenge",
        "data": octets(&of.data),
        "state": octets(&of.state),
        "reply-within": of.reply_within,
    }))
}

/// What was decided about a login. `passed`: the policy passed, and the refusal is the chain's.
pub(super) fn outcome(of: &Outcome, draft: Option<&GrantDraft>, passed: bool) -> Value {
    match of {
        Outcome::Allow(..) => draft.map_or(Value::Null, |draft| grant("allow", draft)),
        Outcome::Deny(_) if passed => json!({ "verdict": "pass" }),
        Outcome::Deny(refusal) => denial("deny", &refusal.denial),
        Outcome::Challenge(of) => challenge(of),
    }
}

/// What became of a grant.
pub(super) fn renewal(of: &Renewal, draft: Option<&GrantDraft>) -> Value {
    match of {
        Renewal::Keep(seconds) => json!({ "verdict": "keep", "seconds": seconds }),
        Renewal::Replace(_) => draft.map_or(Value::Null, |draft| grant("replace", draft)),
        Renewal::Revoke(refusal) => denial("revoke", &refusal.denial),
    }
}

/// What was decided about an action.
pub(super) fn authorization(of: &Authorization) -> Value {
    let mut shown = match &of.denied {
        Some(denied) => denial("deny", denied),
        None => json!({ "verdict": "allow" }),
    };
    shown["valid-for"] = of.valid_for.into();
    shown
}

/// What became of a message, in the words of `message-filter`. A payload that is JSON is there as such, too.
pub(super) fn filtered(of: &Filtered) -> Value {
    tidy(match of {
        Filtered::Pass => json!({ "verdict": "pass" }),
        Filtered::Drop => json!({ "verdict": "drop" }),
        Filtered::Replace(with) => json!({
            "verdict": "replace",
            "topic": with.topic,
            "payload": with.payload.as_deref().map(octets),
            "json": with.payload.as_deref().and_then(|payload| serde_json::from_slice::<Value>(payload).ok()),
            "content-type": with.content_type,
        }),
        Filtered::Refuse(refusal) => json!({
            "verdict": "refuse",
            "reason": match refusal.reason {
                // Nobody has judged the message.
                _ if refusal.failed => "failed",
                ReasonCode::PAYLOAD_FORMAT_INVALID => "payload-format-invalid",
                ReasonCode::TOPIC_NAME_INVALID => "topic-name-invalid",
                ReasonCode::QUOTA_EXCEEDED => "quota-exceeded",
                _ => "not-authorized",
            },
            "detail": refusal.detail,
        }),
    })
}

/// An HTTP response. A body that is JSON is there as such, too.
pub(super) fn response(of: &HttpAnswer) -> Value {
    let document: Value = serde_json::from_slice(&of.body).unwrap_or_default();
    tidy(json!({
        "verdict": "response",
        "status": of.status,
        "headers": pairs(&of.headers),
        "body": octets(&of.body),
        "json": document,
    }))
}
