//! Refusals in the words of both protocols: an HTTP status for the program, MQTT's reason code for who knows it, and a
//! sentence for people.

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use portcullis_grant::{Denial, DenyReason};
use portcullis_mqtt::ReasonCode;
use serde_json::{Value, json};

use crate::answer::{self, Answer};

/// Seconds after which another attempt makes sense, where nobody has said it.
const SOON: u32 = 1;

/// The HTTP status (RFC 9110 §15) that comes nearest to a reason code of MQTT 5 (§2.4).
pub(super) fn status(code: ReasonCode) -> StatusCode {
    match code {
        ReasonCode::BAD_USER_NAME_OR_PASSWORD | ReasonCode::BAD_AUTHENTICATION_METHOD => StatusCode::UNAUTHORIZED,
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED | ReasonCode::ADMINISTRATIVE_ACTION => StatusCode::FORBIDDEN,
        ReasonCode::SESSION_TAKEN_OVER => StatusCode::CONFLICT,
        ReasonCode::PACKET_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        ReasonCode::QUOTA_EXCEEDED
        | ReasonCode::MESSAGE_RATE_TOO_HIGH
        | ReasonCode::CONNECTION_RATE_EXCEEDED
        | ReasonCode::RECEIVE_MAXIMUM_EXCEEDED => StatusCode::TOO_MANY_REQUESTS,
        ReasonCode::USE_ANOTHER_SERVER | ReasonCode::SERVER_MOVED => StatusCode::MISDIRECTED_REQUEST,
        ReasonCode::MALFORMED_PACKET
        | ReasonCode::PROTOCOL_ERROR
        | ReasonCode::CLIENT_IDENTIFIER_NOT_VALID
        | ReasonCode::TOPIC_FILTER_INVALID
        | ReasonCode::TOPIC_NAME_INVALID
        | ReasonCode::PAYLOAD_FORMAT_INVALID
        | ReasonCode::QOS_NOT_SUPPORTED => StatusCode::BAD_REQUEST,
        // 0x83 is what a failed store says, and what is told without a reason is nobody's fault but ours.
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// `{"error": words, "reason": …, "code": …}`: `reason` is the name of the code in MQTT 5, `code` its octet.
pub(super) fn document(code: ReasonCode, words: &str) -> Value {
    json!({ "error": words, "reason": code.name(), "code": format!("{:#04x}", code.0) })
}

/// A refusal with the reason code that MQTT would have given.
pub(super) fn refused(code: ReasonCode, words: &str) -> Answer {
    with_hints(answer::json(status(code), &document(code, words)), None)
}

/// A request that makes no sense: 400, as a malformed packet.
pub(super) fn bad(words: &str) -> Answer {
    refused(ReasonCode::MALFORMED_PACKET, words)
}

/// A policy's refusal. A policy may word the whole answer, unless that would pass for a success.
pub(super) fn denied(denial: &Denial) -> Answer {
    if let Some(exact) = denial.http.as_deref().filter(|exact| exact.status >= 400)
        && let Ok(answer) = answer::from_policy(exact.clone())
    {
        return answer;
    }
    with_hints(answer::json(denial_status(denial.reason), &denial_document(denial)), denial.retry_after)
}

/// As [`denied`], to somebody else's gateway: those know that 401 and 403 are refusals, and take most others for an
/// error of ours.
pub(super) fn denied_to_gateway(denial: &Denial) -> Answer {
    let status = match denial_status(denial.reason) {
        StatusCode::BAD_REQUEST => StatusCode::UNAUTHORIZED,
        StatusCode::MISDIRECTED_REQUEST => StatusCode::FORBIDDEN,
        other => other,
    };
    with_hints(answer::json(status, &denial_document(denial)), denial.retry_after)
}

fn denial_status(reason: DenyReason) -> StatusCode {
    StatusCode::from_u16(reason.http_status()).unwrap_or(StatusCode::FORBIDDEN)
}

fn denial_document(denial: &Denial) -> Value {
    document(denial.reason.reason_code(), denial.message.as_deref().unwrap_or(denial.reason.as_str()))
}

/// Adds what the status asks for: a scheme to 401 (RFC 9110 §15.5.2), a time to 429 and 503.
fn with_hints(mut answer: Answer, retry_after: Option<u32>) -> Answer {
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let later = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE).then_some(SOON);
    if let Some(seconds) = retry_after.or(later) {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_grant::HttpAnswer;

    #[test]
    fn every_failure_is_told_as_one() {
        for octet in 0x80..=0xFF {
            let answer = refused(ReasonCode(octet), "no");
            assert!(answer.status().is_client_error() || answer.status().is_server_error(), "{octet:#04x}");
        }
        assert_eq!(refused(ReasonCode::NOT_AUTHORIZED, "no").status(), 403);
        let busy = refused(ReasonCode::MESSAGE_RATE_TOO_HIGH, "no");
        assert_eq!((busy.status().as_u16(), &busy.headers()["retry-after"]), (429, &HeaderValue::from(1)));
    }

    #[test]
    fn no_policy_makes_a_refusal_look_like_a_success() {
        let mut denial = Denial::new(DenyReason::NotAuthorized, "");
        denial.http = Some(Box::new(HttpAnswer { status: 200, headers: Vec::new(), body: Vec::new() }));
        assert_eq!(denied(&denial).status(), 403);
        denial.http = Some(Box::new(HttpAnswer { status: 418, headers: Vec::new(), body: Vec::new() }));
        assert_eq!(denied(&denial).status(), 418);
        assert_eq!(denied_to_gateway(&denial).status(), 403);
        assert_eq!(denied_to_gateway(&Denial::new(DenyReason::Malformed, "")).status(), 401);
    }
}
