//! The routes, against a gateway in memory: what each answers, good and bad.

use policy_support::fake::scheme::user;
use policy_support::fake::{Fake, device};
use policy_support::wit::directory::{Domain, Key, PasswordError, Project, RoleAssignment, Scope};
use policy_support::wit::jose::{Error, VerifiedToken};
use policy_support::wit::types::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::handle;
use crate::config::Config;

const NOW: u64 = 1_700_000_000;

/// Reads what the fake signs: key, header and claims in clear.
pub(in crate::oisp) fn verified(token: &str) -> Result<VerifiedToken, Error> {
    let claims = token.strip_prefix("gateway-rs256||").ok_or(Error::BadSignature)?;
    let read: Value = serde_json::from_str(claims).map_err(|_| Error::Malformed("no JSON".into()))?;
    if read["exp"].as_u64().is_none_or(|at| at <= NOW) {
        return Err(Error::Expired(read["exp"].as_u64().unwrap_or_default()));
    }
    Ok(VerifiedToken {
        header: r#"{"typ":"JWT","alg":"RS256","kid":"k"}"#.into(),
        claims: claims.into(),
        issuer: read["iss"].as_str().map(Into::into),
        subject: read["sub"].as_str().map(Into::into),
        audience: vec![],
        expires_at: read["exp"].as_u64(),
        issued_at: read["iat"].as_u64(),
        id: read["jti"].as_str().map(Into::into),
    })
}

fn domain(id: &str, enabled: bool) -> Domain {
    Domain { id: id.into(), name: id.into(), enabled, attributes: vec![] }
}

/// Ann, who is admin of one account and user of another; Unconfirmed; a device that waits for its activation.
pub(in crate::oisp) fn gateway() -> Fake {
    let mut thing = device("d1", "pump_a1b2c3");
    thing.credential = "token".into();
    thing.attributes.push(("account".into(), "acc1".into()));
    let mut gateway = Fake {
        now: NOW,
        verifier: Some(Box::new(|token, _| verified(token))),
        ..Fake::default().with_device(thing).with_device(device("d2", "other_a1b2c3"))
    };
    let mut unconfirmed = user("u2", "new@example.com");
    unconfirmed.verified = false;
    gateway
        .scheme
        .users
        .borrow_mut()
        .extend([(user("u1", "ann@example.com"), b"correct horse".to_vec()), (unconfirmed, b"correct horse".to_vec())]);
    gateway.scheme.domains = vec![domain("default", true), domain("other", true)];
    let project = |id: &str, enabled| Project {
        id: id.into(),
        name: format!("{id} Inc."),
        domain_id: "default".into(),
        parent_id: None,
        enabled,
        attributes: vec![],
    };
    gateway.scheme.projects = vec![project("acc1", true), project("acc2", true), project("acc3", false)];
    let role = |role: &str, scope| ("u1".to_owned(), RoleAssignment { role: role.into(), scope });
    let in_project = |id: &str| Scope::Project(id.into());
    gateway.scheme.roles = vec![
        role("user", in_project("acc1")),
        role("admin", in_project("acc1")),
        role("member", in_project("acc2")),
        role("admin", in_project("acc3")),
        role("admin", in_project("gone")),
        role("reader", in_project("acc2")),
        role("admin", Scope::Domain("default".into())),
    ];
    gateway
}

fn ask_with(gateway: &Fake, config: &str, method: &str, path: &str, token: Option<&str>, body: &str) -> HttpResponse {
    let request = HttpRequest {
        method: method.into(),
        authority: "gateway".into(),
        path: path.into(),
        query: None,
        headers: token.iter().map(|token| ("authorization".to_owned(), format!("Bearer {token}"))).collect(),
        body: body.as_bytes().to_vec(),
    };
    handle(gateway, Config::parse(config).unwrap().oisp.as_ref().unwrap(), &request)
}

fn ask(gateway: &Fake, method: &str, path: &str, token: Option<&str>, body: &str) -> HttpResponse {
    ask_with(gateway, r#"{"oisp":{}}"#, method, path, token, body)
}

fn read(response: &HttpResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

fn said(response: &HttpResponse) -> (u16, Value) {
    (response.status, read(response))
}

fn header<'r>(response: &'r HttpResponse, name: &str) -> Option<&'r str> {
    response.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn log_in(gateway: &Fake, username: &str, password: &str) -> HttpResponse {
    let body = json!({ "username": username, "password": password }).to_string();
    ask(gateway, "POST", "/v1/api/auth/token", None, &body)
}

fn token(gateway: &Fake) -> String {
    read(&log_in(gateway, "ann@example.com", "correct horse"))["token"].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    serde_json::from_str(&verified(token).unwrap().claims).unwrap()
}

fn code(gateway: &mut Fake, secret: &str, kind: &str, owner: &str) {
    let key = Key {
        id: format!("key of {secret}"),
        kind: kind.into(),
        owner: owner.into(),
        created_at: 0,
        expires_at: None,
        last_used_at: None,
        attributes: vec![],
    };
    gateway.scheme.keys.borrow_mut().push((secret.into(), key));
}

fn activate(gateway: &Fake, device: &str, code: &str) -> HttpResponse {
    let body = json!({ "activationCode": code }).to_string();
    ask(gateway, "PUT", &format!("/v1/api/devices/{device}/activation"), None, &body)
}

#[test]
fn a_token_has_the_accounts_and_roles_of_now() {
    let gateway = gateway();
    let answer = log_in(&gateway, "ann@example.com", "correct horse");
    assert_eq!(answer.status, 200);
    assert_eq!(header(&answer, "cache-control"), Some("private, no-cache, no-store, must-revalidate"));
    assert_eq!(read(&answer).as_object().unwrap().len(), 1, "the token and nothing else");
    let claims = claims(read(&answer)["token"].as_str().unwrap());
    let jti = claims["jti"].as_str().unwrap();
    assert_eq!((jti.len(), &jti[14..15]), (36, "4"), "{jti}: a UUID of version 4");
    assert_eq!(claims["iss"], "portcullis");
    assert_eq!(claims["sub"], "u1");
    assert_eq!((claims["iat"].as_u64(), claims["exp"].as_u64()), (Some(NOW), Some(NOW + 86_400)));
    assert_eq!(claims["role"], "user");
    // Disabled and deleted accounts, and roles that are another scheme's, are not among them.
    assert_eq!(claims["accounts"], json!({ "acc1": "admin", "acc2": "user" }));
}

#[test]
fn a_role_in_the_system_makes_an_administrator() {
    let mut gateway = gateway();
    gateway.scheme.roles = vec![("u1".into(), RoleAssignment { role: "admin".into(), scope: Scope::System })];
    assert_eq!(claims(&token(&gateway))["role"], "sysadmin");
}

#[test]
fn who_cannot_log_in_is_told_no_more_than_that() {
    let gateway = gateway();
    let refused = (401, json!({ "code": 401, "message": "Not Authorized" }));
    let wrong = log_in(&gateway, "ann@example.com", "wrong horse");
    assert_eq!(said(&wrong), refused);
    assert_eq!(log_in(&gateway, "nobody@example.com", "correct horse"), wrong, "nor whether somebody exists");
    assert_eq!(log_in(&gateway, "nobody", "correct horse"), wrong);
    gateway.scheme.users.borrow_mut()[0].0.enabled = false;
    assert_eq!(log_in(&gateway, "ann@example.com", "correct horse"), wrong, "nor whether they are disabled");
}

#[test]
fn an_unconfirmed_address_gets_no_token_unless_configured() {
    let gateway = gateway();
    let answer = log_in(&gateway, "new@example.com", "correct horse");
    assert_eq!(said(&answer), (401, json!({ "code": 2402, "message": "User's email not verified" })));
    assert_eq!(log_in(&gateway, "new@example.com", "wrong horse").status, 401);
    let body = r#"{"username":"new@example.com","password":"correct horse"}"#;
    let config = r#"{"oisp":{"require-verified":false}}"#;
    assert_eq!(ask_with(&gateway, config, "POST", "/v1/api/auth/token", None, body).status, 200);
}

#[test]
fn who_guesses_is_locked_out_and_slowed() {
    for (error, status, code, message) in [
        (PasswordError::Locked(NOW + 60), 403, 2403, "Account locked"),
        (PasswordError::RateLimited(7), 429, 429, "Too Many Requests"),
        (PasswordError::Expired(1), 401, 401, "Not Authorized"),
        (PasswordError::Other("broken".into()), 503, 503, "Service Unavailable"),
    ] {
        let mut gateway = gateway();
        gateway.scheme.password_error = Some(error);
        let answer = log_in(&gateway, "ann@example.com", "correct horse");
        assert_eq!(said(&answer), (status, json!({ "code": code, "message": message })));
        assert_eq!(header(&answer, "retry-after"), (status == 429).then_some("7"));
    }
}

#[test]
fn what_a_body_lacks_is_listed() {
    let gateway = gateway();
    for (body, errors) in [
        ("{}", json!(["username is required", "password is required"])),
        ("", json!(["username is required", "password is required"])),
        (r#"{"username":"a"}"#, json!(["password is required"])),
        (
            r#"{"username":1,"password":null}"#,
            json!(["username must be of string type", "password must be of string type"]),
        ),
        (r#"{"username":"a","password":"b","admin":true}"#, json!(["admin must not exist"])),
        ("[]", json!(["body must be of object type"])),
        ("{", json!(["body must be of object type"])),
    ] {
        let answer = ask(&gateway, "POST", "/v1/api/auth/token", None, body);
        let expected = json!({ "code": 400, "message": "Invalid request", "errors": errors });
        assert_eq!(said(&answer), (400, expected), "{body}");
    }
    let long = json!({ "username": "a".repeat(256), "password": "b" }).to_string();
    assert_eq!(ask(&gateway, "POST", "/v1/api/auth/token", None, &long).status, 400);
    let many: serde_json::Map<_, _> = (0..1_000).map(|n| (format!("{n}{}", "x".repeat(100)), json!(1))).collect();
    let answer = ask(&gateway, "POST", "/v1/api/auth/token", None, &Value::from(many).to_string());
    assert!(answer.body.len() < 2_000, "an answer is bounded, whatever is asked");
}

#[test]
fn token_info_shows_times_and_accounts_as_its_clients_know_them() {
    let gateway = gateway();
    let token = token(&gateway);
    let answer = ask(&gateway, "GET", "/v1/api/auth/tokenInfo", Some(&token), "");
    let expected = json!({
        "header": { "typ": "JWT", "alg": "RS256" },
        "payload": {
            "jti": claims(&token)["jti"],
            "iss": "portcullis",
            "sub": "u1",
            "exp": "2023-11-15T22:13:20.000Z",
            "accounts": [
                { "id": "acc1", "name": "acc1 Inc.", "role": "admin" },
                { "id": "acc2", "name": "acc2 Inc.", "role": "user" },
            ],
        },
    });
    assert_eq!(said(&answer), (200, expected));
}

#[test]
fn a_protected_route_answers_in_plain_text_that_nobody_caches() {
    let gateway = gateway();
    let good = token(&gateway);
    let forged = good.replace("gateway-rs256", "another key");
    let old = good.replace(&(NOW + 86_400).to_string(), &(NOW - 1).to_string());
    let bare = good.replace("\"role\":\"user\"", "\"role\":\"system\"");
    for token in [None, Some(""), Some("x"), Some(&*forged), Some(&*old), Some(&*bare)] {
        for (method, path) in [
            ("GET", "/v1/api/auth/tokenInfo"),
            ("GET", "/v1/api/auth/me"),
            ("PUT", "/v1/api/auth/me"),
            ("DELETE", "/v1/api/auth/me"),
        ] {
            let answer = ask(&gateway, method, path, token, "");
            assert_eq!((answer.status, &answer.body[..]), (401, &b"Not Authorized"[..]), "{method} {path} {token:?}");
            assert_eq!(header(&answer, "content-type"), Some("text/plain; charset=utf-8"));
            assert!(header(&answer, "cache-control").unwrap().contains("no-store"));
            assert_eq!(header(&answer, "pragma"), Some("no-cache"));
        }
    }
}

#[test]
fn me_is_shown_refreshed_and_logged_out() {
    let gateway = gateway();
    let first = token(&gateway);
    let me = ask(&gateway, "GET", "/v1/api/auth/me", Some(&first), "");
    let expected = json!({
        "id": "u1", "email": "ann@example.com", "created": 1_000_000, "updated": 1_000_000, "verified": true,
        "termsAndConditions": false,
    });
    assert_eq!(said(&me), (200, expected));
    assert_eq!(ask(&gateway, "HEAD", "/v1/api/auth/me", Some(&first), "").status, 200);

    let refreshed = ask(&gateway, "PUT", "/v1/api/auth/me", Some(&first), "");
    let second = read(&refreshed)["token"].as_str().unwrap().to_owned();
    assert_ne!(claims(&first)["jti"], claims(&second)["jti"]);

    let out = ask(&gateway, "DELETE", "/v1/api/auth/me", Some(&first), "");
    assert_eq!((out.status, out.body.len()), (204, 0));
    assert_eq!(ask(&gateway, "GET", "/v1/api/auth/me", Some(&first), "").status, 401);
    assert_eq!(ask(&gateway, "GET", "/v1/api/auth/me", Some(&second), "").status, 200, "the other one stays");
}

#[test]
fn a_stale_token_keeps_its_rights_and_gains_none() {
    let mut gateway = gateway();
    let stale = token(&gateway);
    gateway.scheme.roles =
        vec![("u1".into(), RoleAssignment { role: "user".into(), scope: Scope::Project("acc2".into()) })];
    let accounts = |token: &str| {
        let answer = ask(&gateway, "GET", "/v1/api/auth/tokenInfo", Some(token), "");
        read(&answer)["payload"]["accounts"].as_array().unwrap().len()
    };
    assert_eq!(accounts(&stale), 2);
    let fresh = ask(&gateway, "PUT", "/v1/api/auth/me", Some(&stale), "");
    assert_eq!(accounts(read(&fresh)["token"].as_str().unwrap()), 1);
}

#[test]
fn a_stale_token_loses_accounts_that_are_disabled_or_gone() {
    let names = |gateway: &Fake, token: &str| {
        let answer = read(&ask(gateway, "GET", "/v1/api/auth/tokenInfo", Some(token), ""));
        let accounts = answer["payload"]["accounts"].as_array().unwrap().clone();
        accounts.iter().map(|account| account["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut gateway = gateway();
    let stale = token(&gateway);
    assert_eq!(names(&gateway, &stale), ["acc1", "acc2"]);
    gateway.scheme.projects[1].enabled = false;
    assert_eq!(names(&gateway, &stale), ["acc1"]);
    gateway.scheme.projects.remove(1);
    assert_eq!(names(&gateway, &stale), ["acc1"]);
    gateway.scheme.projects[0].domain_id = "other".into();
    gateway.scheme.domains[1].enabled = false;
    assert!(names(&gateway, &stale).is_empty());
    assert!(names(&gateway, &token(&gateway)).is_empty(), "a fresh one has them no more");
}

#[test]
fn another_password_makes_older_tokens_void() {
    let gateway = gateway();
    let token = token(&gateway);
    gateway.scheme.valid_from.borrow_mut().insert("u1".into(), NOW);
    assert_eq!(ask(&gateway, "GET", "/v1/api/auth/me", Some(&token), "").status, 200, "of that very second");
    gateway.scheme.valid_from.borrow_mut().insert("u1".into(), NOW + 1);
    assert_eq!(ask(&gateway, "GET", "/v1/api/auth/me", Some(&token), "").status, 401);
}

#[test]
fn a_device_is_activated_once_with_its_own_code() {
    let mut gateway = gateway();
    for (secret, kind, owner) in [
        ("right", "activation", "device:d1"),
        ("again", "activation", "device:d1"),
        ("other", "activation", "device:d2"),
        ("api", "secret", "device:d1"),
    ] {
        code(&mut gateway, secret, kind, owner);
    }
    let refused = (401, json!({ "code": 401, "message": "Not Authorized" }));
    for (device, code) in [("d1", "wrong"), ("d1", "other"), ("d1", "api"), ("nobody", "right"), ("d2", "other")] {
        assert_eq!(said(&activate(&gateway, device, code)), refused, "{device} {code}");
    }
    let answer = activate(&gateway, "d1", "right");
    assert_eq!(answer.status, 200);
    let body = read(&answer);
    assert_eq!(body["domainId"], "acc1");
    let claims = claims(body["deviceToken"].as_str().unwrap());
    assert_eq!(claims["sub"], "d1");
    assert_eq!(claims["accounts"], json!([{ "id": "acc1", "role": "device" }]));
    assert_eq!(claims["exp"].as_u64(), Some(NOW + 31_536_000));
    let changes = gateway.scheme.device_changes.borrow().clone();
    assert_eq!(changes, [("d1".into(), vec![("device-token-id".into(), claims["jti"].as_str().unwrap().into())])]);
    assert_eq!(said(&activate(&gateway, "d1", "right")), refused, "the code was used up");
    assert_eq!(activate(&gateway, "pump_a1b2c3", "again").status, 200, "by its client identifier as well");
    let invalid = ask(&gateway, "PUT", "/v1/api/devices/d1/activation", None, r#"{"code":"x"}"#);
    assert_eq!(read(&invalid)["errors"], json!(["activationCode is required", "code must not exist"]));
}

#[test]
fn a_disabled_device_is_not_activated_and_keeps_its_code() {
    let mut gateway = gateway();
    code(&mut gateway, "right", "activation", "device:d1");
    gateway.devices[0].0.enabled = false;
    assert_eq!(activate(&gateway, "d1", "right").status, 401);
    gateway.devices[0].0.enabled = true;
    assert_eq!(activate(&gateway, "d1", "right").status, 200);
}

#[test]
fn a_devices_token_is_no_persons() {
    let mut gateway = gateway();
    code(&mut gateway, "right", "activation", "device:d1");
    let token = read(&activate(&gateway, "d1", "right"))["deviceToken"].as_str().unwrap().to_owned();
    let id = claims(&token)["jti"].as_str().unwrap().to_owned();
    gateway.devices[0].0.attributes.push(("device-token-id".into(), id));
    let info = ask(&gateway, "GET", "/v1/api/auth/tokenInfo", Some(&token), "");
    assert_eq!(read(&info)["payload"]["accounts"], json!([{ "id": "acc1", "name": "acc1 Inc.", "role": "device" }]));
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(ask(&gateway, method, "/v1/api/auth/me", Some(&token), "").status, 401);
    }
}

#[test]
fn other_paths_and_methods_are_said() {
    let gateway = gateway();
    for path in ["/v1/api", "/v1/api/auth", "/v1/api/auth/token/x", "/v1/api/devices/d1", "/v2/api/auth/token", "/%ff"]
    {
        assert_eq!(ask(&gateway, "GET", path, None, "").status, 404, "{path}");
    }
    for (method, path, allow) in [
        ("GET", "/v1/api/auth/token", "POST"),
        ("POST", "/v1/api/auth/tokenInfo", "GET, HEAD"),
        ("POST", "/v1/api/auth/me", "GET, HEAD, PUT, DELETE"),
        ("POST", "/v1/api/devices/d1/activation", "PUT"),
    ] {
        let answer = ask(&gateway, method, path, None, "");
        assert_eq!((answer.status, header(&answer, "allow")), (405, Some(allow)), "{method} {path}");
    }
}

#[test]
fn two_authorizations_are_none() {
    let gateway = gateway();
    let token = token(&gateway);
    let mut request = HttpRequest {
        method: "GET".into(),
        authority: "gateway".into(),
        path: "/v1/api/auth/me".into(),
        query: None,
        headers: vec![("authorization".into(), format!("Bearer {token}"))],
        body: vec![],
    };
    let config = Config::parse(r#"{"oisp":{}}"#).unwrap();
    let status = |request: &HttpRequest| handle(&gateway, config.oisp.as_ref().unwrap(), request).status;
    assert_eq!(status(&request), 200);
    request.headers.push(("authorization".into(), "Bearer x".into()));
    assert_eq!(status(&request), 401);
}
