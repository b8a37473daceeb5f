//! Requests that a web page makes (the Fetch standard, "CORS protocol").
//!
//! A browser sends what the page cannot see: a client's certificate, say. So a page of another origin is let through only
//! where the listener names its origin; others are refused before anything is decided, and not only kept from reading
//! the answer.

use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderValue, VARY,
};
use portcullis_grant::HttpHead;
use portcullis_mqtt::ReasonCode;

use super::parameters::headers;
use super::refusal::refused;
use crate::answer::{self, Answer};

/// Seconds for which a browser need not ask again.
const MAX_AGE: &str = "600";
/// Response headers that a page may read, beside those that it always may.
const EXPOSED: &str = "Retry-After, Mqtt-Session-Present, Mqtt-Qos, Mqtt-Message-Expiry, Mqtt-Payload-Format, \
                       Mqtt-Response-Topic, Mqtt-Correlation-Data, Mqtt-User";

/// The page of another origin that a request comes from.
pub(super) struct Page {
    origin: HeaderValue,
}

/// The page that a request comes from. None: it comes from none, or from one of this very listener.
///
/// # Errors
/// The origin is not allowed: the refusal.
pub(super) fn page(head: &HttpHead, origins: &[String]) -> Result<Option<Page>, Answer> {
    let Some(origin) = headers(head, "origin").next() else { return Ok(None) };
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if host.is_some_and(|host| host.eq_ignore_ascii_case(&head.authority)) {
        return Ok(None);
    }
    let allowed = origins.iter().any(|allowed| allowed == origin);
    match HeaderValue::try_from(origin) {
        Ok(origin) if allowed => Ok(Some(Page { origin })),
        _ => Err(refused(ReasonCode::NOT_AUTHORIZED, "pages of this origin may not use this listener (`origins`)")),
    }
}

impl Page {
    /// The answer to a preflight, if the request is one.
    pub(super) fn preflight(&self, head: &HttpHead) -> Option<Answer> {
        headers(head, "access-control-request-method").next().filter(|_| head.method == "OPTIONS")?;
        let mut answer = answer::body(StatusCode::NO_CONTENT, "text/plain", "");
        let headers_wanted = headers(head, "access-control-request-headers").next();
        let fields = answer.headers_mut();
        fields.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
        fields.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        // Which headers carry a credential is a policy's business: any may.
        if let Some(wanted) = headers_wanted.and_then(|wanted| HeaderValue::try_from(wanted).ok()) {
            fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
        }
        self.admit(&mut answer);
        Some(answer)
    }

    /// Lets the page read an answer.
    pub(super) fn admit(&self, answer: &mut Answer) {
        let fields = answer.headers_mut();
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        fields.append(VARY, HeaderValue::from_static("Origin"));
    }
}
