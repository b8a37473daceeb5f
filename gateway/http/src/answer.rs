//! Responses: JSON of our own, and whatever a policy answers within the rules of HTTP.

use bytes::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use portcullis_grant::{Denial, DenyReason, HttpAnswer};
use serde_json::{Value, json};

use crate::content::Content;

/// A response.
pub type Answer = Response<Content>;

/// Header fields that describe the connection or the message's framing: they are the gateway's own.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A response with a body of some type. Never cached, never sniffed, unless the caller says otherwise.
#[must_use]
pub fn body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Content::whole(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A JSON document, with a line end for those who look at it in a terminal.
#[must_use]
pub fn json(status: StatusCode, value: &Value) -> Answer {
    body(status, "application/json", format!("{value}\n"))
}

/// `{"error": words}`.
#[must_use]
pub fn error(status: StatusCode, words: &str) -> Answer {
    json(status, &json!({ "error": words }))
}

/// 405 with what is allowed (RFC 9110 §15.5.6).
#[must_use]
pub fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, &format!("the methods of this path are {methods}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

/// The answer of a mounted policy. What HTTP does not allow is the policy's failure: 500, and the reason for the log.
///
/// # Errors
/// The status is not within 200 to 599, or a header is none.
pub fn from_policy(answer: HttpAnswer) -> Result<Answer, String> {
    let status = (200..=599)
        .contains(&answer.status)
        .then(|| StatusCode::from_u16(answer.status).ok())
        .flatten()
        .ok_or_else(|| format!("status {} is not within 200 to 599", answer.status))?;
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let mut response = Response::new(Content::whole(if bodiless { Vec::new() } else { answer.body }));
    *response.status_mut() = status;
    for (name, value) in answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
        if OURS.contains(&name.as_str()) {
            continue;
        }
        let value =
            HeaderValue::from_bytes(value.as_bytes()).map_err(|_| format!("header {name} has an unsendable value"))?;
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

/// A refusal in the words of HTTP.
#[must_use]
pub fn denied(denial: Denial) -> Answer {
    if let Some(exact) = denial.http {
        return from_policy(*exact).unwrap_or_else(|why| {
            tracing::warn!(%why, "a policy's refusal cannot be sent as it is");
            error(StatusCode::FORBIDDEN, denial.reason.as_str())
        });
    }
    let status = StatusCode::from_u16(denial.reason.http_status()).unwrap_or(StatusCode::FORBIDDEN);
    let mut answer = error(status, denial.message.as_deref().unwrap_or(denial.reason.as_str()));
    if let Some(seconds) = denial.retry_after {
        answer.headers_mut().insert(hyper::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(denial.reason, DenyReason::BadCredentials | DenyReason::BadAuthenticationMethod) {
        // RFC 9110 §15.5.2: a 401 names a scheme.
        answer.headers_mut().insert(hyper::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(status: u16, headers: &[(&str, &str)]) -> HttpAnswer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpAnswer { status, headers, body: b"x".to_vec() }
    }

    #[test]
    fn the_gateway_keeps_the_framing() {
        let answer = from_policy(policy(
            201,
            &[("content-length", "999"), ("Transfer-Encoding", "chunked"), ("set-cookie", "a"), ("set-cookie", "b")],
        ))
        .unwrap();
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers().len(), 2);
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn what_http_does_not_allow_is_a_failure() {
        assert!(from_policy(policy(101, &[])).is_err());
        assert!(from_policy(policy(600, &[])).is_err());
        assert!(from_policy(policy(200, &[("a b", "c")])).is_err());
        assert!(from_policy(policy(200, &[("a", "b\r\nset-cookie: c")])).is_err());
    }

    #[test]
    fn refusals_have_their_status_and_say_when_to_come_back() {
        let mut denial = Denial::new(DenyReason::RateExceeded, "for the operator only");
        denial.retry_after = Some(7);
        let answer = denied(denial);
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &HeaderValue::from(7)));
        let answer = denied(Denial::new(DenyReason::BadCredentials, ""));
        assert_eq!(answer.status().as_u16(), 401);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        let mut exact = Denial::new(DenyReason::NotAuthorized, "");
        exact.http = Some(Box::new(policy(418, &[])));
        assert_eq!(denied(exact).status(), 418);
    }
}
