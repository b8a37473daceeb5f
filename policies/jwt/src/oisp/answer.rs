//! The bodies of this interface's answers, as its clients expect them.

use policy_support::http;
use policy_support::wit::types::HttpResponse;
use serde_json::{Value, json};

/// Keeps an answer about somebody out of every cache.
pub(super) fn uncached(response: HttpResponse) -> HttpResponse {
    let response = http::with(response, "cache-control", "private, no-cache, no-store, must-revalidate");
    http::with(http::with(response, "pragma", "no-cache"), "expires", "-1")
}

/// A good answer in JSON.
pub(super) fn good(body: &Value) -> HttpResponse {
    uncached(http::json(200, body))
}

/// `{"code", "message"}`.
pub(super) fn error(status: u16, code: u16, message: &str) -> HttpResponse {
    uncached(http::json(status, &json!({ "code": code, "message": message })))
}

/// The same with what is wrong with the body.
pub(super) fn invalid(errors: &[String]) -> HttpResponse {
    uncached(http::json(400, &json!({ "code": 400, "message": "Invalid request", "errors": errors })))
}

/// A log-in that did not succeed: who it was for is not said.
pub(super) fn not_authorized() -> HttpResponse {
    error(401, 401, "Not Authorized")
}

/// A route that needs a token, and no good one came: plain text here.
pub(super) fn protected() -> HttpResponse {
    http::with(uncached(http::text(401, "Not Authorized")), "www-authenticate", "Bearer")
}

/// 404.
pub(super) fn not_found() -> HttpResponse {
    error(404, 404, "Not Found")
}

/// 405 with the methods that there are.
pub(super) fn not_allowed(methods: &str) -> HttpResponse {
    http::with(error(405, 405, "Method Not Allowed"), "allow", methods)
}

/// 429: come back after so many seconds.
pub(super) fn too_many(seconds: u32) -> HttpResponse {
    http::with(error(429, 429, "Too Many Requests"), "retry-after", &seconds.to_string())
}

/// What is needed to answer does not answer. Why is for the log.
pub(super) fn unavailable() -> HttpResponse {
    error(503, 503, "Service Unavailable")
}
