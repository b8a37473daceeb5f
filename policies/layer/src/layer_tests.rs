use crate::config::Config;
use crate::identity_token::issue;
use crate::route::handle;
use crate::stage::{NOW, at, header_of, json_of, request, stage};
use policy_support::Gateway;
use policy_support::fake::scheme::user;
use policy_support::fake::{Fake, http as connection};
use policy_support::wit::types::HttpResponse;
use serde_json::{Value, json};

const ACCEPT: (&str, &str) = ("accept", "application/vnd.layer+json; version=1.0");
const APP: &str = "layer:///apps/staging/e49e50aa-ffda-453f-adc8-404f68de84ae";

fn ask(gateway: &Fake, method: &str, path: &str, body: &str) -> HttpResponse {
    ask_with(gateway, "", method, path, body)
}

fn ask_with(gateway: &Fake, config: &str, method: &str, path: &str, body: &str) -> HttpResponse {
    handle(gateway, &Config::parse(config).unwrap(), &connection(), &request(method, path, &[ACCEPT], body))
}

fn nonce(gateway: &Fake) -> String {
    let answer = ask(gateway, "POST", "/nonces", "");
    assert_eq!(answer.status, 201);
    json_of(&answer)["nonce"].as_str().unwrap().to_owned()
}

fn answer_to(gateway: &Fake, nonce: &str) -> String {
    issue(gateway, &Config::parse("").unwrap(), &user("id-ann", "ann@example.org"), nonce).unwrap()
}

fn open(gateway: &Fake, token: &str) -> HttpResponse {
    ask(gateway, "POST", "/sessions", &json!({ "identity_token": token, "app_id": APP }).to_string())
}

/// Status, code, id and the property of an error.
fn error(response: &HttpResponse) -> (u16, u64, String, Value) {
    let body = json_of(response);
    assert!(body["message"].is_string() && body["url"].is_string() && body["data"].is_object(), "{body}");
    let property = body["data"].get("property").cloned().unwrap_or(Value::Null);
    (response.status, body["code"].as_u64().unwrap(), body["id"].as_str().unwrap().to_owned(), property)
}

#[test]
fn an_identity_token_becomes_a_session_once() {
    let gateway = stage();
    let token = answer_to(&gateway, &nonce(&gateway));
    let opened = open(&gateway, &token);
    assert_eq!(opened.status, 201);
    let session = json_of(&opened)["session_token"].as_str().unwrap().to_owned();
    let key = gateway.find_key(&session).unwrap().unwrap();
    assert_eq!((key.kind.as_str(), key.owner.as_str(), key.expires_at), ("session", "user:id-ann", Some(NOW + 86_400)));

    let refused = (422, 105, "invalid_property".to_owned(), json!("identity_token"));
    assert_eq!(error(&open(&gateway, &token)), refused, "replayed");
    let path = format!("/sessions/{session}");
    assert_eq!(ask(&gateway, "DELETE", &path, "").status, 204);
    assert_eq!(gateway.find_key(&session).unwrap(), None);
    assert_eq!(error(&ask(&gateway, "DELETE", &path, "")), (404, 102, "not_found".into(), Value::Null));
}

#[test]
fn a_nonce_is_used_up_whatever_comes_of_it() {
    let gateway = stage();
    let nonce = nonce(&gateway);
    let forged = answer_to(&gateway, &nonce).replacen("gateway-rs256", "stranger", 1);
    assert_eq!(error(&open(&gateway, &forged)).1, 105);
    assert_eq!(error(&open(&gateway, &answer_to(&gateway, &nonce))).1, 105);
    for broken in [r#"{"identity_token":TOKEN}"#, r#"{"identity_token":TOKEN,"app_id":"x"}"#] {
        let nonce = self::nonce(&gateway);
        let token = answer_to(&gateway, &nonce);
        let body = broken.replace("TOKEN", &json!(token).to_string());
        assert!(matches!(error(&ask(&gateway, "POST", "/sessions", &body)).1, 104 | 2));
        assert_eq!(error(&open(&gateway, &token)).1, 105, "{broken}");
    }
}

#[test]
fn a_nonce_ends_after_ten_minutes() {
    let gateway = stage();
    let nonce = nonce(&gateway);
    let gateway = at(NOW + 600, gateway);
    assert_eq!(error(&open(&gateway, &answer_to(&gateway, &nonce))).1, 105);
}

#[test]
fn each_mistake_has_its_error() {
    let gateway = stage();
    let missing = |property: &str| (422, 104, "missing_property".to_owned(), json!(property));
    let invalid = |property: &str| (422, 105, "invalid_property".to_owned(), json!(property));
    let post = |body: &str| error(&ask(&gateway, "POST", "/sessions", body));
    assert_eq!(post("{}"), missing("identity_token"));
    assert_eq!(post(&json!({ "app_id": APP }).to_string()), missing("identity_token"));
    assert_eq!(post(&json!({ "identity_token": 7, "app_id": APP }).to_string()), invalid("identity_token"));
    assert_eq!(post(&json!({ "identity_token": "x", "app_id": APP }).to_string()), invalid("identity_token"));
    let token = answer_to(&gateway, &nonce(&gateway));
    assert_eq!(post(&json!({ "identity_token": token }).to_string()), missing("app_id"));
    assert_eq!(post(&json!({ "identity_token": token, "app_id": "mine" }).to_string()).1, 2);
    assert_eq!(post("["), (400, 10, "invalid_request".into(), Value::Null));
    for (path, allowed) in [("/nonces", "POST"), ("/sessions", "POST"), ("/sessions/x", "DELETE")] {
        let response = ask(&gateway, "GET", path, "");
        assert_eq!((error(&response).0, error(&response).1), (405, 109), "{path}");
        assert_eq!(header_of(&response, "allow"), Some(allowed));
    }
}

#[test]
fn only_the_apps_that_are_listed_have_sessions() {
    let gateway = stage();
    let listed = r#"{"apps":["e49e50aa-ffda-453f-adc8-404f68de84ae"]}"#;
    let other = "0f0e0d0c-0b0a-4908-8706-050403020100";
    for (app, status) in [(APP, 201), (other, 403)] {
        let body = json!({ "identity_token": answer_to(&gateway, &nonce(&gateway)), "app_id": app }).to_string();
        assert_eq!(ask_with(&gateway, listed, "POST", "/sessions", &body).status, status, "{app}");
    }
}

#[test]
fn the_version_must_be_named() {
    let gateway = stage();
    let config = Config::parse("").unwrap();
    let with = |accept: Option<&str>, path: &str, method: &str| {
        let headers: Vec<_> = accept.iter().map(|accept| ("accept", *accept)).collect();
        handle(&gateway, &config, &connection(), &request(method, path, &headers, ""))
    };
    for good in [
        "application/vnd.layer+json; version=1.0",
        "Application/vnd.layer+json;version=\"1.0\"",
        "text/html, application/vnd.layer+json; q=0.5; version=1.0",
    ] {
        assert_eq!(with(Some(good), "/nonces", "POST").status, 201, "{good}");
    }
    for bad in [None, Some("*/*"), Some("application/json"), Some("application/vnd.layer+json; version=9.0")] {
        for (path, method) in [("/nonces", "POST"), ("/sessions", "POST"), ("/sessions/x", "DELETE")] {
            let response = with(bad, path, method);
            assert_eq!((error(&response).0, error(&response).1), (406, 107), "{bad:?} {path}");
            assert_eq!(json_of(&response)["data"]["header"], "Accept");
        }
    }
}

#[test]
fn too_many_nonces_are_refused_with_the_time_to_wait() {
    let gateway = stage();
    let config = r#"{"nonces-per-minute":1}"#;
    assert_eq!(ask_with(&gateway, config, "POST", "/nonces", "").status, 201);
    let response = ask_with(&gateway, config, "POST", "/nonces", "");
    assert_eq!(error(&response), (429, 7, "rate_limit_exceeded".into(), Value::Null));
    assert_eq!(header_of(&response, "retry-after"), Some("60"));
}

#[test]
fn a_user_without_a_confirmed_address_gets_no_session_where_that_is_asked() {
    let gateway = stage();
    gateway.scheme.users.borrow_mut()[0].0.verified = false;
    let body = json!({ "identity_token": answer_to(&gateway, &nonce(&gateway)), "app_id": APP }).to_string();
    let response = ask_with(&gateway, r#"{"require-verified":true}"#, "POST", "/sessions", &body);
    assert_eq!((error(&response).0, error(&response).1), (403, 6));
}
