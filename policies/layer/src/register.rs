//! km-api: registration.

use policy_support::wit::directory::UserSelector;
use policy_support::wit::directory_admin::NewUser;
use policy_support::wit::types::{Connection, HttpRequest, HttpResponse};
use policy_support::{SchemeGateway, http};

use crate::config::Config;
use crate::fields::{Form, detail, problems};
use crate::km::{
    EMAIL, FIRST_NAME, LAST_NAME, PASSWORD, allow, caller, is_email, not_changed, not_found, refused, shown,
};
use crate::{passwords, rate};

/// `POST /auth/register/`.
///
/// # Errors
/// What to answer instead.
pub fn register(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    request: &HttpRequest,
) -> Result<HttpResponse, HttpResponse> {
    if caller(gateway, config, request)?.is_some() {
        return Err(detail(403, "This view requires the user to NOT be authenticated."));
    }
    allow(request, &["POST"])?;
    if !config.registration {
        return Err(detail(403, "Registration is closed."));
    }
    let mut form = Form::read(request)?;
    let [email, password, first, last] = [EMAIL, PASSWORD, FIRST_NAME, LAST_NAME].map(|field| form.text(field));
    if email.as_ref().is_some_and(|email| !is_email(email)) {
        form.note(EMAIL.name, "Enter a valid email address.");
    }
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    let about = [known(&email), known(&first), known(&last)];
    let about = [("email", about[0].as_str()), ("first name", &about[1]), ("last name", &about[2])];
    for problem in password.as_ref().map(|password| passwords::problems(password, &about)).unwrap_or_default() {
        form.note(PASSWORD.name, &problem);
    }
    let (Some(email), Some(password), Some(first), Some(last), false) = (email, password, first, last, form.is_wrong())
    else {
        return Err(form.refusal());
    };
    // From here on a user is made, or somebody learns who is one: both are counted.
    rate::count(gateway, "registrations", &connection.peer_address, config.registrations_per_hour, 3600)
        .map_err(|denial| refused(&denial, "Registration is closed."))?;
    let taken = gateway.find_user(&UserSelector::Email(email.clone())).map_err(|why| not_found(&why))?;
    if taken.is_some() {
        return Err(problems(EMAIL.name, &["user with this email already exists."]));
    }
    let user = NewUser {
        name: email.clone(),
        domain_id: config.domain.clone(),
        email: Some(email),
        password: password.into_bytes(),
        attributes: vec![("first-name".into(), first), ("last-name".into(), last)],
    };
    let user = gateway.create_user(&user).map_err(|why| not_changed(&why))?;
    Ok(http::json(201, &shown(&user)))
}
