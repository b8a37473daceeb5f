use super::is_email;
use crate::config::Config;
use crate::route::handle;
use crate::stage::{NOW, header_of, json_of, request, stage};
use policy_support::SchemeGateway;
use policy_support::fake::{Fake, http as connection};
use policy_support::wit::directory::{PasswordError, UserSelector};
use policy_support::wit::types::HttpResponse;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

fn ask(gateway: &Fake, method: &str, path: &str, token: Option<&str>, body: &Value) -> HttpResponse {
    ask_with(gateway, "", method, path, token, body)
}

fn ask_with(gateway: &Fake, config: &str, method: &str, path: &str, token: Option<&str>, body: &Value) -> HttpResponse {
    let authorization = token.map(|token| format!("Token {token}"));
    let mut headers = vec![JSON];
    headers.extend(authorization.iter().map(|value| ("authorization", value.as_str())));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let config = Config::parse(config).unwrap();
    handle(gateway, &config, &connection(), &request(method, path, &headers, &body))
}

fn told(response: &HttpResponse) -> (u16, Value) {
    (response.status, json_of(response))
}

fn ann() -> Value {
    json!({ "username": "ann@example.org", "password": "a good secret" })
}

fn token(gateway: &Fake) -> String {
    let answer = ask(gateway, "POST", "/auth/login/", None, &ann());
    assert_eq!(answer.status, 200);
    json_of(&answer)["token"].as_str().unwrap().to_owned()
}

fn newcomer() -> Value {
    json!({ "email": "Bob@example.org", "password": "correct horse", "first_name": "Bob", "last_name": "Stone" })
}

fn changed(mut whole: Value, name: &str, value: Value) -> Value {
    whole[name] = value;
    whole
}

#[test]
fn who_registers_can_log_in() {
    let gateway = stage();
    let (status, user) = told(&ask(&gateway, "POST", "/auth/register/", None, &newcomer()));
    assert_eq!(status, 201);
    let id = user["id"].as_str().unwrap();
    assert_eq!(user, json!({ "id": id, "email": "Bob@example.org", "first_name": "Bob", "last_name": "Stone" }));
    let made = gateway.find_user(&UserSelector::Id(id.into())).unwrap().unwrap();
    assert_eq!((made.domain_id.as_str(), made.verified), ("default", false));
    let body = json!({ "username": "bob@example.org", "password": "correct horse" });
    assert_eq!(ask(&gateway, "POST", "/auth/login/", None, &body).status, 200);
}

#[test]
fn a_registration_says_all_that_is_wrong_with_it() {
    let gateway = stage();
    let needed = json!(["This field is required."]);
    assert_eq!(
        told(&ask(&gateway, "POST", "/auth/register/", None, &json!({}))),
        (400, json!({ "email": needed, "password": needed, "first_name": needed, "last_name": needed }))
    );
    for (name, value, problem) in [
        ("email", json!("bob"), "Enter a valid email address."),
        ("email", json!("ann@example.org"), "user with this email already exists."),
        ("email", json!("ANN@example.org"), "user with this email already exists."),
        ("password", json!("kX9-w"), "This password is too short. It must contain at least 8 characters."),
        ("password", json!("90817263"), "This password is entirely numeric."),
        ("password", json!("password1"), "This password is too common."),
        ("password", json!("bob@example"), "The password is too similar to the email."),
        ("password", json!("x".repeat(1025)), "Ensure this field has no more than 1024 characters."),
        ("first_name", json!(""), "This field may not be blank."),
        ("last_name", json!("x".repeat(256)), "Ensure this field has no more than 255 characters."),
    ] {
        let body = changed(newcomer(), name, value);
        let expected = (400, json!({ name: [problem] }));
        assert_eq!(told(&ask(&gateway, "POST", "/auth/register/", None, &body)), expected);
    }
    assert_eq!(gateway.scheme.users.borrow().len(), 1, "nobody was made");
}

#[test]
fn who_is_logged_in_does_not_register() {
    let gateway = stage();
    let token = token(&gateway);
    let post = |token: &str| told(&ask(&gateway, "POST", "/auth/register/", Some(token), &newcomer()));
    assert_eq!(post(&token), (403, json!({ "detail": "This view requires the user to NOT be authenticated." })));
    assert_eq!(post(&"0".repeat(40)), (403, json!({ "detail": "Invalid token." })));
}

#[test]
fn registration_can_be_closed_and_is_slowed() {
    let gateway = stage();
    let register = |config: &str, email: &str| {
        let body = changed(newcomer(), "email", json!(email));
        ask_with(&gateway, config, "POST", "/auth/register/", None, &body)
    };
    assert_eq!(register(r#"{"registration":false}"#, "b@example.org").status, 403);
    let one = r#"{"registrations-per-hour":1}"#;
    assert_eq!(register(one, "b@example.org").status, 201);
    let slowed = register(one, "ann@example.org");
    assert_eq!(
        told(&slowed),
        (429, json!({ "detail": "Request was throttled. Expected available in 3600 seconds." })),
        "and nothing is learnt of who is there"
    );
    assert_eq!(header_of(&slowed, "retry-after"), Some("3600"));
}

#[test]
fn each_login_gives_the_same_token() {
    let gateway = stage();
    let first = token(&gateway);
    assert!(first.len() == 40 && first.bytes().all(|octet| octet.is_ascii_hexdigit()), "{first}");
    assert_eq!(token(&gateway), first);
    let form = "username=ann%40example.org&password=a+good+secret";
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("authorization", "Token stale")];
    let form = request("POST", "/auth/login/", &headers, form);
    let answer = handle(&gateway, &Config::parse("").unwrap(), &connection(), &form);
    assert_eq!(told(&answer), (200, json!({ "token": first })), "an old token does not keep anybody from logging in");
}

#[test]
fn a_wrong_login_does_not_say_what_is_wrong() {
    let gateway = stage();
    let login = |username: &str, password: &str| {
        let body = json!({ "username": username, "password": password });
        told(&ask(&gateway, "POST", "/auth/login/", None, &body))
    };
    let wrong = (400, json!({ "non_field_errors": ["Unable to log in with provided credentials."] }));
    assert_eq!(login("ann@example.org", "another"), wrong);
    assert_eq!(login("nobody@example.org", "a good secret"), wrong);
    gateway.update_user("id-ann", &[("enabled".into(), "false".into())]).unwrap();
    assert_eq!(login("ann@example.org", "a good secret"), wrong);
    let needed = json!(["This field is required."]);
    assert_eq!(
        told(&ask(&gateway, "POST", "/auth/login/", None, &Value::Null)),
        (400, json!({ "username": needed, "password": needed }))
    );
}

#[test]
fn a_locked_user_is_told_to_wait() {
    let mut gateway = stage();
    for (error, seconds) in [(PasswordError::Locked(NOW + 90), "90"), (PasswordError::RateLimited(5), "5")] {
        gateway.scheme.password_error = Some(error);
        let answer = ask(&gateway, "POST", "/auth/login/", None, &ann());
        assert_eq!((answer.status, header_of(&answer, "retry-after")), (429, Some(seconds)));
    }
    gateway.scheme.password_error = Some(PasswordError::Expired(NOW));
    assert_eq!(ask(&gateway, "POST", "/auth/login/", None, &ann()).status, 400);
}

#[test]
fn who_must_confirm_the_address_first_is_told_only_with_the_right_password() {
    let gateway = stage();
    gateway.scheme.users.borrow_mut()[0].0.verified = false;
    let login = |password: &str| {
        let body = changed(ann(), "password", json!(password));
        told(&ask_with(&gateway, r#"{"require-verified":true}"#, "POST", "/auth/login/", None, &body)).1
    };
    let say = |sentence: &str| json!({ "non_field_errors": [sentence] });
    assert_eq!(login("a good secret"), say("The e-mail address has not been confirmed."));
    assert_eq!(login("another"), say("Unable to log in with provided credentials."));
}

#[test]
fn a_profile_is_its_users() {
    let gateway = stage();
    let token = token(&gateway);
    let profile = json!({ "id": "id-ann", "email": "ann@example.org", "first_name": "Ann", "last_name": "Miller" });
    let get = |token: Option<&str>| told(&ask(&gateway, "GET", "/auth/profile/", token, &Value::Null));
    assert_eq!(get(Some(&token)), (200, profile));
    assert_eq!(get(None), (403, json!({ "detail": "Authentication credentials were not provided." })));
    for bad in ["x", &"0".repeat(40), &token.to_uppercase()] {
        if *bad != token {
            assert_eq!(get(Some(bad)), (403, json!({ "detail": "Invalid token." })), "{bad}");
        }
    }
    let sentence = "Invalid token header. No credentials provided.";
    assert_eq!(get(Some("")), (403, json!({ "detail": sentence })));
    let sentence = "Invalid token header. Token string should not contain spaces.";
    assert_eq!(get(Some("a b")), (403, json!({ "detail": sentence })));
    gateway.update_user("id-ann", &[("enabled".into(), "false".into())]).unwrap();
}

#[test]
fn a_profile_is_changed_in_part_or_whole() {
    let gateway = stage();
    let token = token(&gateway);
    let send = |method: &str, body: Value| told(&ask(&gateway, method, "/auth/profile/", Some(&token), &body));
    let (status, profile) = send("PATCH", json!({ "first_name": "Annie", "id": "u9", "is_admin": true }));
    assert_eq!(
        (status, profile),
        (200, json!({ "id": "id-ann", "email": "ann@example.org", "first_name": "Annie", "last_name": "Miller" }))
    );
    let needed = json!(["This field is required."]);
    assert_eq!(send("PUT", json!({ "first_name": "A" })), (400, json!({ "email": needed, "last_name": needed })));
    let whole = json!({ "email": "annie@example.org", "first_name": "A", "last_name": "M" });
    assert_eq!(send("PUT", whole.clone()), (200, changed(whole, "id", json!("id-ann"))));
    let changed = gateway.find_user(&UserSelector::Id("id-ann".into())).unwrap().unwrap();
    assert_eq!(changed.name, "annie@example.org", "the name that was the address stays the address");
    assert_eq!(send("PATCH", json!({ "email": "x" })).0, 400);
    assert_eq!(send("PATCH", json!({})).0, 200);
}

#[test]
fn an_identity_token_is_made_for_users_only() {
    let gateway = stage();
    let token = token(&gateway);
    let post = |token: Option<&str>, body: Value| told(&ask(&gateway, "POST", "/auth/layer/", token, &body));
    let (status, body) = post(Some(&token), json!({ "nonce": "n1" }));
    assert_eq!(status, 201);
    let made = body["identity_token"].as_str().unwrap();
    assert!(made.contains(r#""nce":"n1""#) && made.contains(r#""prn":"id-ann""#), "{made}");
    assert_eq!(post(Some(&token), json!({})), (400, json!({ "nonce": ["This field is required."] })));
    assert_eq!(post(None, json!({ "nonce": "n1" })).0, 403);
}

#[test]
fn methods_that_a_path_does_not_have_are_refused() {
    let gateway = stage();
    let token = token(&gateway);
    for (path, method, token, allowed) in [
        ("/auth/register/", "GET", None, "POST, OPTIONS"),
        ("/auth/login/", "PUT", None, "POST, OPTIONS"),
        ("/auth/profile/", "DELETE", Some(token.as_str()), "GET, HEAD, PUT, PATCH, OPTIONS"),
        ("/auth/layer/", "GET", Some(token.as_str()), "POST, OPTIONS"),
    ] {
        let answer = ask(&gateway, method, path, token, &Value::Null);
        assert_eq!(told(&answer), (405, json!({ "detail": format!("Method \"{method}\" not allowed.") })));
        assert_eq!(header_of(&answer, "allow"), Some(allowed));
    }
    assert_eq!(ask(&gateway, "OPTIONS", "/auth/login/", None, &Value::Null).status, 204);
}

#[test]
fn addresses_are_told_from_other_texts() {
    for good in ["a@b.c", "ann.o'neil+x@mail.example.org", "ü@exämple.org"] {
        assert!(is_email(good), "{good}");
    }
    let long = format!("{}@example.org", "a".repeat(250));
    for bad in
        ["", "a", "a@b", "@b.c", "a@", "a@b@c.d", "a b@c.d", "a@-b.c", "a@b..c", "a@b.c ", "<a>@b.c", "a@b.c\n", &long]
    {
        assert!(!is_email(bad), "{bad}");
    }
}
