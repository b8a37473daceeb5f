//! Layer's end: nonces and sessions, with its own words for everything that goes wrong.

use policy_support::wit::directory_admin;
use policy_support::wit::directory_admin::NewKey;
use policy_support::wit::types::{Connection, Denial, DenyReason, HttpRequest, HttpResponse};
use policy_support::{SchemeGateway, http};
use serde_json::{Map, Value, json};

use crate::config::{Config, app_id};
use crate::identity_token::{self, Vouched};
use crate::nonce;
use crate::person::{self, APP, PROVIDER, Person, SESSION, SESSION_PREFIX};

/// The characters of a session token, its prefix included.
const SESSION_LENGTH: u8 = 48;

/// The only version of the interface.
const VERSION: &str = "1.0";

/// `POST /nonces`.
pub fn nonces(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    request: &HttpRequest,
) -> HttpResponse {
    if request.method != "POST" {
        return not_allowed("POST", &request.method);
    }
    if !version_is_named(request) {
        return not_acceptable();
    }
    match nonce::issue(gateway, config, &connection.peer_address) {
        Ok(nonce) => http::json(201, &json!({ "nonce": nonce })),
        Err(denial) => failed(&denial),
    }
}

/// `POST /sessions`.
pub fn sessions(gateway: &impl SchemeGateway, config: &Config, request: &HttpRequest) -> HttpResponse {
    if request.method != "POST" {
        return not_allowed("POST", &request.method);
    }
    if !version_is_named(request) {
        return not_acceptable();
    }
    match http::object(request) {
        Some(body) => open(gateway, config, &body).unwrap_or_else(|refused| refused),
        None => error(400, "invalid_request", 10, "The body is not a JSON object.", json!({})),
    }
}

/// `DELETE /sessions/<token>`: whoever has the token may end its session.
pub fn session(gateway: &impl SchemeGateway, request: &HttpRequest, token: &str) -> HttpResponse {
    if request.method != "DELETE" {
        return not_allowed("DELETE", &request.method);
    }
    if !version_is_named(request) {
        return not_acceptable();
    }
    let unknown = || error(404, "not_found", 102, "There is no such session.", json!({}));
    if !person::is_session(token.as_bytes()) {
        return unknown();
    }
    match gateway.find_key(token) {
        Ok(Some(key)) if key.kind == SESSION => match gateway.revoke_key(&key.id) {
            Ok(true) => http::empty(204),
            Ok(false) => unknown(),
            Err(why) => refused(&why),
        },
        Ok(_) => unknown(),
        Err(denial) => failed(&denial),
    }
}

/// Gives a session for an identity token.
fn open(
    gateway: &impl SchemeGateway,
    config: &Config,
    body: &Map<String, Value>,
) -> Result<HttpResponse, HttpResponse> {
    let token = property(body, "identity_token")?;
    let reading = identity_token::read(gateway, token).map_err(|denial| token_refused(&denial))?;
    // Before anything else is looked at: the nonce is used up whatever comes of it.
    let fresh = nonce::consume(gateway, &reading.nonce).map_err(|denial| failed(&denial))?;
    let app = property(body, "app_id")?;
    let app = app_id(app).filter(|app| config.admits_app(app));
    let app =
        app.ok_or_else(|| error(403, "invalid_app_id", 2, "The app ID is not one of this service.", json!({})))?;
    if !fresh {
        return Err(invalid("identity_token", "The identity token answers no nonce that is still good."));
    }
    let vouched = identity_token::verify(gateway, config, &reading).map_err(|denial| token_refused(&denial))?;
    let issued = gateway.create_key(&key(gateway, config, vouched, app)).map_err(|why| refused(&why))?;
    Ok(http::json(201, &json!({ "session_token": issued.secret })))
}

fn key(gateway: &impl SchemeGateway, config: &Config, vouched: Vouched, app: String) -> NewKey {
    let mut attributes = vec![(APP.to_owned(), app)];
    let owner = match vouched.person {
        Person::Local(user) => format!("user:{}", user.id),
        Person::Foreign { provider, principal, .. } => {
            attributes.push((PROVIDER.to_owned(), provider));
            format!("consumer:{principal}")
        }
    };
    NewKey {
        kind: SESSION.into(),
        owner,
        prefix: SESSION_PREFIX.into(),
        length: SESSION_LENGTH,
        alphabet: "base62".into(),
        expires_at: Some(gateway.now() + config.session_lifetime),
        attributes,
    }
}

/// A member of the body that must be a string and not empty.
fn property<'b>(body: &'b Map<String, Value>, name: &'static str) -> Result<&'b str, HttpResponse> {
    match body.get(name) {
        None | Some(Value::Null) => Err(error(
            422,
            "missing_property",
            104,
            &format!("The property {name} cannot be omitted."),
            json!({ "property": name }),
        )),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(invalid(name, &format!("The property {name} is not a string, or is empty."))),
    }
}

fn invalid(property: &str, message: &str) -> HttpResponse {
    error(422, "invalid_property", 105, message, json!({ "property": property }))
}

/// Why an identity token is not taken. Its maker learns what is wrong with it; of the user they learn nothing.
fn token_refused(denial: &Denial) -> HttpResponse {
    match denial.reason {
        DenyReason::BadCredentials => invalid("identity_token", "The identity token is not valid."),
        DenyReason::NotAuthorized => {
            let message = denial.message.as_deref().unwrap_or("The user may not come in.");
            error(403, "user_suspended", 6, message, json!({}))
        }
        _ => failed(denial),
    }
}

/// 401 with a fresh nonce, so that a client whose session has ended can begin another at once.
pub fn authentication_required(gateway: &impl SchemeGateway, config: &Config, address: &str) -> HttpResponse {
    match nonce::issue(gateway, config, address) {
        Ok(nonce) => {
            let message = "The session token is no longer valid, or never was.";
            let data = json!({ "nonce": nonce });
            http::with(error(401, "authentication_required", 4, message, data), "www-authenticate", "Layer")
        }
        Err(denial) => failed(&denial),
    }
}

/// 404 for a path below one of Layer's that is none.
pub fn no_endpoint(request: &HttpRequest) -> HttpResponse {
    let message = format!("The endpoint '{} {}' does not exist.", request.method, request.path);
    error(404, "invalid_endpoint", 106, &message, json!({}))
}

fn not_allowed(allowed: &str, method: &str) -> HttpResponse {
    let message = format!("The method {method} is not allowed here.");
    http::with(error(405, "method_not_allowed", 109, &message, json!({})), "allow", allowed)
}

fn not_acceptable() -> HttpResponse {
    let message = format!("Invalid Accept header; it must be application/vnd.layer+json; version={VERSION}");
    error(406, "invalid_header", 107, &message, json!({ "header": "Accept" }))
}

/// Whether the request names the version of the interface that is spoken here.
fn version_is_named(request: &HttpRequest) -> bool {
    let accepts = request.headers.iter().filter(|(name, _)| name == "accept").flat_map(|(_, value)| value.split(','));
    accepts.into_iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/vnd.layer+json"));
        named
            && parts.any(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                name.trim().eq_ignore_ascii_case("version") && value.trim().trim_matches('"') == VERSION
            })
    })
}

/// A failure of the gateway, or too many attempts.
fn failed(denial: &Denial) -> HttpResponse {
    let response = match denial.reason {
        DenyReason::RateExceeded => error(429, "rate_limit_exceeded", 7, "Too many requests.", json!({})),
        _ => error(503, "service_unavailable", 1, "The operation could not be completed now.", json!({})),
    };
    match denial.retry_after {
        Some(seconds) => http::with(response, "retry-after", &seconds.to_string()),
        None => response,
    }
}

/// The directory did not make the change.
fn refused(why: &directory_admin::Error) -> HttpResponse {
    match why {
        directory_admin::Error::RateLimited(seconds) => {
            let response = error(429, "rate_limit_exceeded", 7, "Too many requests.", json!({}));
            http::with(response, "retry-after", &seconds.to_string())
        }
        _ => error(503, "service_unavailable", 1, "The operation could not be completed now.", json!({})),
    }
}

/// An error as Layer's documentation writes it. `url` is there for clients that expect it.
fn error(status: u16, id: &str, code: u16, message: &str, data: Value) -> HttpResponse {
    http::json(status, &json!({ "id": id, "code": code, "message": message, "url": "", "data": data }))
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
