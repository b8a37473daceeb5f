//! The routes: tokens for people, who a token is, and the activation of devices.
//!
//! Nothing here tells a wrong password from a user who does not exist, or a wrong activation code from a device that does
//! not: neither by the answer nor by the work that is done.

use policy_support::wit::directory::{DeviceSelector, PasswordError, User, UserSelector};
use policy_support::wit::types::{Denial, DenyReason, HttpRequest, HttpResponse};
use policy_support::{SchemeGateway, http, time};
use serde_json::{Map, Value, json};

use super::answer;
use super::config::Oisp;
use super::token::{self, ACCOUNT, Bearer, DEVICE_TOKEN, NotMade, Whose};

/// The kind of the keys that activate devices.
pub const ACTIVATION: &str = "activation";

/// Characters of a name that is looked up at most.
const NAME: usize = 255;

/// Unknown members that are named.
const NAMED: usize = 16;

/// Answers one request.
pub fn handle(gateway: &impl SchemeGateway, oisp: &Oisp, request: &HttpRequest) -> HttpResponse {
    let Some(segments) = http::segments(&request.path) else { return answer::not_found() };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
    match (segments.as_slice(), method) {
        (["v1", "api", "auth", "token"], "POST") => log_in(gateway, oisp, request),
        (["v1", "api", "auth", "token"], _) => answer::not_allowed("POST"),
        (["v1", "api", "auth", "tokenInfo"], "GET") => protected(gateway, oisp, request, token_info),
        (["v1", "api", "auth", "tokenInfo"], _) => answer::not_allowed("GET, HEAD"),
        (["v1", "api", "auth", "me"], "GET") => person(gateway, oisp, request, |user, _| answer::good(&shown(user))),
        (["v1", "api", "auth", "me"], "PUT") => person(gateway, oisp, request, |user, _| issued(gateway, oisp, user)),
        (["v1", "api", "auth", "me"], "DELETE") => {
            person(gateway, oisp, request, |user, bearer| log_out(gateway, user, bearer))
        }
        (["v1", "api", "auth", "me"], _) => answer::not_allowed("GET, HEAD, PUT, DELETE"),
        (["v1", "api", "devices", id, "activation"], "PUT") => activate(gateway, oisp, request, id),
        (["v1", "api", "devices", _, "activation"], _) => answer::not_allowed("PUT"),
        _ => answer::not_found(),
    }
}

/// A route that needs a good token.
fn protected(
    gateway: &impl SchemeGateway,
    oisp: &Oisp,
    request: &HttpRequest,
    then: impl FnOnce(&Bearer) -> HttpResponse,
) -> HttpResponse {
    let Some(token) = http::authorization(request, "bearer") else { return answer::protected() };
    match token::check(gateway, oisp, token) {
        Ok(bearer) => then(&bearer),
        Err(Denial { reason: DenyReason::Unavailable, .. }) => answer::unavailable(),
        Err(Denial { reason: DenyReason::RateExceeded, retry_after, .. }) => answer::too_many(retry_after.unwrap_or(1)),
        Err(_) => answer::protected(),
    }
}

/// A route that needs a person's token.
fn person(
    gateway: &impl SchemeGateway,
    oisp: &Oisp,
    request: &HttpRequest,
    then: impl FnOnce(&User, &Bearer) -> HttpResponse,
) -> HttpResponse {
    protected(gateway, oisp, request, |bearer| match &bearer.whose {
        Whose::Person(user) => then(user, bearer),
        Whose::Device(_) => answer::protected(),
    })
}

/// The members of a body, each a string that must be there, and no others. The errors otherwise.
fn members<const N: usize>(request: &HttpRequest, names: [&str; N]) -> Result<[String; N], HttpResponse> {
    let empty = Map::new();
    let Some(object) = http::object(request).or_else(|| request.body.is_empty().then_some(empty)) else {
        return Err(answer::invalid(&["body must be of object type".to_owned()]));
    };
    let mut errors = Vec::new();
    let values = names.map(|name| match object.get(name) {
        None => {
            errors.push(format!("{name} is required"));
            String::new()
        }
        Some(Value::String(text)) => text.clone(),
        Some(_) => {
            errors.push(format!("{name} must be of string type"));
            String::new()
        }
    });
    let unknown = object.keys().filter(|name| !names.contains(&name.as_str())).take(NAMED);
    errors.extend(unknown.map(|name| format!("{} must not exist", name.chars().take(64).collect::<String>())));
    if errors.is_empty() { Ok(values) } else { Err(answer::invalid(&errors)) }
}

fn log_in(gateway: &impl SchemeGateway, oisp: &Oisp, request: &HttpRequest) -> HttpResponse {
    let [username, password] = match members(request, ["username", "password"]) {
        Ok(values) => values,
        Err(invalid) => return invalid,
    };
    if username.chars().count() > NAME {
        return answer::invalid(&[format!("username is too long (maximum is {NAME} characters)")]);
    }
    let selector = match selector(gateway, oisp, username) {
        Ok(selector) => selector,
        Err(unavailable) => return unavailable,
    };
    match gateway.verify_password(&selector, password.as_bytes()) {
        Ok(user) if oisp.require_verified && user.email.is_some() && !user.verified => {
            answer::error(401, 2402, "User's email not verified")
        }
        Ok(user) => issued(gateway, oisp, &user),
        Err(PasswordError::Wrong | PasswordError::Disabled | PasswordError::Expired(_)) => answer::not_authorized(),
        Err(PasswordError::Locked(_)) => answer::error(403, 2403, "Account locked"),
        Err(PasswordError::RateLimited(seconds)) => answer::too_many(seconds),
        Err(PasswordError::Other(_)) => answer::unavailable(),
    }
}

/// By e-mail address if it is one that somebody has, else by name: some names look like addresses.
fn selector(gateway: &impl SchemeGateway, oisp: &Oisp, username: String) -> Result<UserSelector, HttpResponse> {
    if username.contains('@') {
        let email = UserSelector::Email(username.clone());
        match gateway.find_user(&email) {
            Ok(Some(_)) => return Ok(email),
            Ok(None) => {}
            Err(_) => return Err(answer::unavailable()),
        }
    }
    let named = policy_support::wit::directory::ScopedName { name: username, domain_id: oisp.domain.clone() };
    Ok(UserSelector::Name(named))
}

fn issued(gateway: &impl SchemeGateway, oisp: &Oisp, user: &User) -> HttpResponse {
    match token::for_person(gateway, oisp, user) {
        Ok(token) => answer::good(&json!({ "token": token })),
        Err(why) => not_made(gateway, &why),
    }
}

fn not_made(gateway: &impl SchemeGateway, NotMade(why): &NotMade) -> HttpResponse {
    gateway.warn(&format!("no token was made: {why}"));
    answer::unavailable()
}

fn log_out(gateway: &impl SchemeGateway, user: &User, bearer: &Bearer) -> HttpResponse {
    let until = bearer.token.expires_at.unwrap_or(u64::from(u32::MAX));
    match gateway.revoke_user_token(&user.id, &bearer.id, until) {
        Ok(()) => answer::uncached(http::empty(204)),
        Err(_) => answer::unavailable(),
    }
}

fn shown(user: &User) -> Value {
    let agreed = user.attributes.iter().any(|(name, value)| name == "terms-and-conditions" && value == "true");
    json!({
        "id": user.id,
        "email": user.email.as_deref().unwrap_or(&user.name),
        "created": user.created_at * 1_000,
        "updated": user.updated_at * 1_000,
        "verified": user.verified,
        "termsAndConditions": agreed,
    })
}

/// What the token says, with the times and the list that clients of this interface expect.
fn token_info(bearer: &Bearer) -> HttpResponse {
    let header: Value = serde_json::from_str(&bearer.token.header).unwrap_or_default();
    let accounts = bearer.accounts.iter();
    let accounts = accounts.map(|account| json!({ "id": account.id, "name": account.name, "role": account.role }));
    answer::good(&json!({
        "header": { "typ": header["typ"], "alg": header["alg"] },
        "payload": {
            "jti": bearer.id,
            "iss": bearer.token.issuer,
            "sub": bearer.token.subject,
            "exp": bearer.token.expires_at.map(|at| time::iso_millis(at * 1_000)),
            "accounts": accounts.collect::<Vec<_>>(),
        },
    }))
}

/// A device shows the code that it was given when it was registered, and gets its token. The code is good once.
fn activate(gateway: &impl SchemeGateway, oisp: &Oisp, request: &HttpRequest, id: &str) -> HttpResponse {
    let [code] = match members(request, ["activationCode"]) {
        Ok(values) => values,
        Err(invalid) => return invalid,
    };
    let by_id = DeviceSelector::Id(id.to_owned());
    let by_client_id = DeviceSelector::ClientId(id.to_owned());
    let found = gateway.find_device(&by_id).and_then(|found| match found {
        None => gateway.find_device(&by_client_id),
        some => Ok(some),
    });
    let (Ok(found), Ok(key)) = (found, gateway.find_key(&code)) else { return answer::unavailable() };
    let (Some(device), Some(key)) = (found, key) else { return answer::not_authorized() };
    let good = key.kind == ACTIVATION && key.owner == format!("device:{}", device.id);
    if !good || !device.enabled || device.credential != "token" {
        return answer::not_authorized();
    }
    // Made before the code is used up: if it cannot be made, the device may try again.
    let (token, token_id) = match token::for_device(gateway, oisp, &device) {
        Ok(made) => made,
        Err(why) => return not_made(gateway, &why),
    };
    match gateway.revoke_key(&key.id) {
        Ok(true) => {}
        // Somebody else was faster with the same code.
        Ok(false) => return answer::not_authorized(),
        Err(_) => return answer::unavailable(),
    }
    if gateway.update_device(&device.id, &[(DEVICE_TOKEN.to_owned(), token_id)]).is_err() {
        return answer::unavailable();
    }
    let domain = token::attribute(&device, ACCOUNT).or(device.app_id.as_deref()).unwrap_or(&oisp.domain);
    answer::good(&json!({ "deviceToken": token, "domainId": domain }))
}

#[cfg(test)]
#[path = "api_tests.rs"]
pub(super) mod tests;
