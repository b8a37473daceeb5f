//! km-api: login, profile and identity tokens, as its clients know them from the Django REST framework.

use policy_support::wit::directory::{self, PasswordError, User, UserSelector};
use policy_support::wit::directory_admin::{self, NewKey};
use policy_support::wit::types::{Denial, DenyReason, HttpRequest, HttpResponse};
use policy_support::{SchemeGateway, http};
use serde_json::{Value, json};

use crate::config::Config;
use crate::fields::{Field, Form, NO_FIELD, detail, problems};
use crate::identity_token;
use crate::person::{self, Bearer, Person, TOKEN, about};

/// Characters of a token.
const TOKEN_LENGTH: u8 = 40;

/// The most characters of a password, as in the directory.
pub const PASSWORD: Field = Field { name: "password", needed: true, tidy: false, longest: 1024 };
/// Fields of a profile.
pub const EMAIL: Field = Field { name: "email", needed: true, tidy: true, longest: 254 };
/// See [`EMAIL`].
pub const FIRST_NAME: Field = Field { name: "first_name", needed: true, tidy: true, longest: 255 };
/// See [`EMAIL`].
pub const LAST_NAME: Field = Field { name: "last_name", needed: true, tidy: true, longest: 255 };

/// Who sends a request: the bearer of `Authorization: Token …`, or nobody.
///
/// # Errors
/// What to answer: there is such a header, and it is not good.
pub fn caller(
    gateway: &impl SchemeGateway,
    config: &Config,
    request: &HttpRequest,
) -> Result<Option<Bearer>, HttpResponse> {
    if !http::has_header(request, "authorization") {
        return Ok(None);
    }
    // Of two headers none counts: which one is meant would be a guess.
    let value = http::header(request, "authorization").ok_or_else(|| detail(403, "Invalid token header."))?;
    let mut words = value.split_ascii_whitespace();
    if !words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("token")) {
        return Ok(None);
    }
    let token = match (words.next(), words.next()) {
        (Some(token), None) => token,
        (None, _) => return Err(detail(403, "Invalid token header. No credentials provided.")),
        _ => return Err(detail(403, "Invalid token header. Token string should not contain spaces.")),
    };
    person::by_token(gateway, config, token).map(Some).map_err(|denial| refused(&denial, "Invalid token."))
}

/// The user who sends a request.
///
/// # Errors
/// What to answer: it is nobody.
fn user(gateway: &impl SchemeGateway, config: &Config, request: &HttpRequest) -> Result<User, HttpResponse> {
    match caller(gateway, config, request)?.map(|bearer| bearer.person) {
        Some(Person::Local(user)) => Ok(user),
        _ => Err(detail(403, "Authentication credentials were not provided.")),
    }
}

/// `POST /auth/login/`. Credentials in the header are not looked at: who logs in may have an old token.
///
/// # Errors
/// What to answer instead.
pub fn login(
    gateway: &impl SchemeGateway,
    config: &Config,
    request: &HttpRequest,
) -> Result<HttpResponse, HttpResponse> {
    allow(request, &["POST"])?;
    let mut form = Form::read(request)?;
    let username = form.text(Field { name: "username", ..EMAIL });
    let password = form.text(PASSWORD);
    let (Some(username), Some(password)) = (username, password) else { return Err(form.refusal()) };
    let wrong = || problems(NO_FIELD, &["Unable to log in with provided credentials."]);
    let user = match gateway.verify_password(&UserSelector::Email(username), password.as_bytes()) {
        Ok(user) => user,
        // As Django: who is disabled learns no more than who is wrong.
        Err(PasswordError::Wrong | PasswordError::Disabled | PasswordError::Expired(_)) => return Err(wrong()),
        Err(PasswordError::Locked(until)) => return Err(throttled(until.saturating_sub(gateway.now()))),
        Err(PasswordError::RateLimited(seconds)) => return Err(throttled(seconds.into())),
        Err(PasswordError::Other(_)) => return Err(unavailable()),
    };
    // Only who knows the password learns this.
    person::verified(config, &user)
        .map_err(|denial| problems(NO_FIELD, &[denial.message.as_deref().unwrap_or_default()]))?;
    let key = NewKey {
        kind: TOKEN.into(),
        owner: format!("user:{}", user.id),
        prefix: String::new(),
        length: TOKEN_LENGTH,
        alphabet: "hex".into(),
        expires_at: None,
        attributes: vec![],
    };
    let issued = gateway.stable_key(&key).map_err(|why| not_changed(&why))?;
    Ok(http::json(200, &json!({ "token": issued.secret })))
}

/// `GET`, `PATCH` and `PUT /auth/profile/`.
///
/// # Errors
/// What to answer instead.
pub fn profile(
    gateway: &impl SchemeGateway,
    config: &Config,
    request: &HttpRequest,
) -> Result<HttpResponse, HttpResponse> {
    let user = user(gateway, config, request)?;
    allow(request, &["GET", "HEAD", "PUT", "PATCH"])?;
    if matches!(request.method.as_str(), "GET" | "HEAD") {
        return Ok(http::json(200, &shown(&user)));
    }
    let whole = request.method == "PUT";
    let mut form = Form::read(request)?;
    let [email, first, last] = [EMAIL, FIRST_NAME, LAST_NAME].map(|field| form.text(Field { needed: whole, ..field }));
    if email.as_ref().is_some_and(|email| !is_email(email)) {
        form.note(EMAIL.name, "Enter a valid email address.");
    }
    if form.is_wrong() {
        return Err(form.refusal());
    }
    let mut changes: Vec<(String, String)> = Vec::new();
    if let Some(email) = email.filter(|email| user.email.as_ref() != Some(email)) {
        // A user's name is the address that they registered with; one that an operator gave stays.
        if user.email.as_ref() == Some(&user.name) {
            changes.push(("name".into(), email.clone()));
        }
        changes.push(("email".into(), email));
    }
    changes.extend(first.map(|name| ("first-name".into(), name)));
    changes.extend(last.map(|name| ("last-name".into(), name)));
    if changes.is_empty() {
        return Ok(http::json(200, &shown(&user)));
    }
    let user = gateway.update_user(&user.id, &changes).map_err(|why| not_changed(&why))?;
    Ok(http::json(200, &shown(&user)))
}

/// `POST /auth/layer/`. A nonce that is none gives a token that is none, as documented: only Layer's end knows its nonces.
///
/// # Errors
/// What to answer instead.
pub fn layer(
    gateway: &impl SchemeGateway,
    config: &Config,
    request: &HttpRequest,
) -> Result<HttpResponse, HttpResponse> {
    let user = user(gateway, config, request)?;
    allow(request, &["POST"])?;
    let mut form = Form::read(request)?;
    let nonce = form.text(Field { name: "nonce", needed: true, tidy: true, longest: 255 });
    let Some(nonce) = nonce else { return Err(form.refusal()) };
    let token = identity_token::issue(gateway, config, &user, &nonce)
        .map_err(|denial| refused(&denial, "The identity token could not be made."))?;
    Ok(http::json(201, &json!({ "identity_token": token })))
}

/// A user as others see them.
pub fn shown(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "first_name": about(user, "first-name"),
        "last_name": about(user, "last-name"),
    })
}

/// Whether a text has the form of an e-mail address: that it is one shows when something is sent to it.
pub fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else { return false };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    let local_good =
        !local.is_empty() && !local.chars().any(|c| c.is_whitespace() || c.is_control() || "()<>[]:;,\\\"".contains(c));
    text.len() <= EMAIL.longest && local_good && host.contains('.') && host.split('.').all(label)
}

/// Refuses a method that a path does not have.
///
/// # Errors
/// So; and for `OPTIONS` the answer that names those that it has.
pub fn allow(request: &HttpRequest, methods: &[&str]) -> Result<(), HttpResponse> {
    let method = request.method.as_str();
    if methods.contains(&method) {
        return Ok(());
    }
    let answer = match method {
        "OPTIONS" => http::empty(204),
        _ => detail(405, &format!("Method \"{method}\" not allowed.")),
    };
    Err(http::with(answer, "allow", &[methods, &["OPTIONS"]].concat().join(", ")))
}

/// A refusal as an answer; `bad` says that the credentials are not good.
pub fn refused(denial: &Denial, bad: &str) -> HttpResponse {
    match denial.reason {
        DenyReason::BadCredentials => detail(403, bad),
        DenyReason::NotAuthorized => detail(403, denial.message.as_deref().unwrap_or(bad)),
        DenyReason::RateExceeded => throttled(denial.retry_after.unwrap_or(1).into()),
        _ => unavailable(),
    }
}

/// The answer when the directory did not make a change.
pub fn not_changed(why: &directory_admin::Error) -> HttpResponse {
    match why {
        directory_admin::Error::Conflict(_) => problems(EMAIL.name, &["user with this email already exists."]),
        directory_admin::Error::NotFound => detail(403, "Invalid token."),
        directory_admin::Error::RateLimited(seconds) => throttled((*seconds).into()),
        directory_admin::Error::Invalid(fields) => {
            let mut form = Form::default();
            for (field, problem) in fields {
                form.note(&field.replace('-', "_"), problem);
            }
            form.refusal()
        }
        directory_admin::Error::Other(_) => unavailable(),
    }
}

/// Too many attempts.
fn throttled(seconds: u64) -> HttpResponse {
    let plural = if seconds == 1 { "" } else { "s" };
    let sentence = format!("Request was throttled. Expected available in {seconds} second{plural}.");
    http::with(detail(429, &sentence), "retry-after", &seconds.to_string())
}

/// The gateway cannot answer now; why stands in its own log.
fn unavailable() -> HttpResponse {
    detail(503, "Service temporarily unavailable, try again later.")
}

/// The answer when the directory cannot be asked.
pub fn not_found(why: &directory::Error) -> HttpResponse {
    match why {
        directory::Error::RateLimited(seconds) => throttled((*seconds).into()),
        directory::Error::Other(_) => unavailable(),
    }
}

#[cfg(test)]
#[path = "km_tests.rs"]
mod tests;
