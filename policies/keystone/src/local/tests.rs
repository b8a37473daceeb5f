//! The HTTP interface as a whole, against a directory in memory: each documented call, good and bad.

use policy_support::fake::scheme::{World, user};
use policy_support::fake::{Fake, http};
use policy_support::wit::directory::{Domain, Key, Project, RoleAssignment, Scope};
use policy_support::wit::jose::{Error, VerifiedToken};
use policy_support::wit::types::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use crate::config::Config;
use crate::http::handle;

pub(crate) const NOW: u64 = 1_000_000;

fn domain(id: &str, name: &str, enabled: bool) -> Domain {
    Domain { id: id.into(), name: name.into(), enabled, attributes: vec![] }
}

fn project(id: &str, name: &str, domain: &str, enabled: bool) -> Project {
    let (id, name, domain_id) = (id.into(), name.into(), domain.into());
    Project { id, name, domain_id, parent_id: None, enabled, attributes: vec![] }
}

fn role(user: &str, role: &str, scope: Scope) -> (String, RoleAssignment) {
    (user.into(), RoleAssignment { role: role.into(), scope })
}

/// Ann has a default project, a domain and the system; Bob another project; Cem is disabled; root is an administrator.
#[allow(clippy::field_reassign_with_default)] // It has a field that is its own.
pub(crate) fn world() -> World {
    let mut people = Vec::new();
    for (id, name) in [("u1", "ann"), ("u2", "bob"), ("u3", "cem"), ("u4", "root")] {
        let mut made = user(id, &format!("{name}@example.com"));
        (made.name, made.domain_id, made.enabled) = (name.into(), "d1".into(), id != "u3");
        if id == "u1" {
            made.attributes = vec![("default-project-id".into(), "p1".into())];
        }
        people.push((made, b"correct horse".to_vec()));
    }
    let key = Key {
        id: "c1".into(),
        kind: "application-credential".into(),
        owner: "user:u1".into(),
        created_at: 1,
        expires_at: Some(NOW + 600),
        last_used_at: None,
        attributes: [("name", "pump"), ("project-id", "p1"), ("roles", "operator, admin")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    };
    let mut world = World::default();
    world.users = people.into();
    world.domains = vec![domain("d1", "smart", true), domain("d2", "off", false)];
    world.projects = vec![
        project("p1", "gardens", "d1", true),
        project("p2", "other", "d1", true),
        project("p3", "closed", "d1", false),
        project("p4", "lost", "d2", true),
    ];
    world.roles = vec![
        role("u1", "operator", Scope::Project("p1".into())),
        role("u1", "member", Scope::Project("p1".into())),
        role("u1", "operator", Scope::Domain("d1".into())),
        role("u1", "reader", Scope::System),
        role("u1", "operator", Scope::Project("p3".into())),
        role("u1", "operator", Scope::Project("p4".into())),
        role("u2", "member", Scope::Project("p2".into())),
        role("u4", "admin", Scope::Project("p2".into())),
        role("u4", "service", Scope::Project("p1".into())),
    ];
    world.keys = vec![("secret".into(), key)].into();
    world
}

/// Takes what the fake signs for good, if it is of our key and says when it ends.
pub(crate) fn gateway(now: u64) -> Fake {
    let verifier = move |token: &str, _: &_| {
        let claims = token.strip_prefix("gateway-es256|{\"typ\":\"JWT\"}|").ok_or(Error::BadSignature)?;
        let read: Value = serde_json::from_str(claims).map_err(|_| Error::BadSignature)?;
        let exp = read["exp"].as_u64().ok_or_else(|| Error::BadClaim("exp".into()))?;
        if exp <= now {
            return Err(Error::Expired(exp));
        }
        Ok(VerifiedToken {
            header: "{}".into(),
            claims: claims.into(),
            issuer: None,
            subject: None,
            audience: vec![],
            expires_at: Some(exp),
            issued_at: None,
            id: None,
        })
    };
    Fake { now, scheme: world(), verifier: Some(Box::new(verifier)), ..Fake::default() }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> HttpRequest {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    HttpRequest {
        method: method.into(),
        authority: "gateway:8080".into(),
        path: path.into(),
        query,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: if body.is_null() { vec![] } else { body.to_string().into_bytes() },
    }
}

fn ask(gateway: &Fake, config: &str, request: &HttpRequest) -> HttpResponse {
    let response = handle(gateway, &Config::parse(config).unwrap(), &http(), request);
    assert_eq!(header(&response, "vary"), Some("X-Auth-Token"), "{}", request.path);
    assert_eq!(response.status == 401, header(&response, "www-authenticate").is_some(), "{}", request.path);
    response
}

fn header<'r>(response: &'r HttpResponse, name: &str) -> Option<&'r str> {
    response.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn body(response: &HttpResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap_or(Value::Null)
}

const TOKENS: &str = "/v3/auth/tokens";

fn post(gateway: &Fake, config: &str, identity: Value, scope: Value) -> HttpResponse {
    let mut auth = json!({ "identity": identity });
    if !scope.is_null() {
        auth["scope"] = scope;
    }
    ask(gateway, config, &request("POST", TOKENS, &[], &json!({ "auth": auth })))
}

fn password(id: &str) -> Value {
    json!({ "methods": ["password"], "password": { "user": { "id": id, "password": "correct horse" } } })
}

fn exchange(token: &str) -> Value {
    json!({ "methods": ["token"], "token": { "id": token } })
}

/// A token that is issued: itself and what was said about it.
pub(crate) fn issued(gateway: &Fake, identity: Value, scope: Value) -> (String, Value) {
    let response = post(gateway, "{}", identity, scope);
    assert_eq!(response.status, 201, "{}", String::from_utf8_lossy(&response.body));
    (header(&response, "x-subject-token").unwrap().to_owned(), body(&response)["token"].clone())
}

pub(crate) fn token_of(gateway: &Fake, id: &str, scope: Value) -> String {
    issued(gateway, password(id), scope).0
}

#[test]
fn a_password_gives_a_token_for_what_is_asked() {
    let gateway = gateway(NOW);
    let smart = json!({ "id": "d1", "name": "smart" });
    for (scope, member, value) in [
        (Value::Null, "project", json!({ "domain": smart, "id": "p1", "name": "gardens" })),
        (json!({ "project": { "id": "p1" } }), "project", json!({ "domain": smart, "id": "p1", "name": "gardens" })),
        (json!({ "domain": { "name": "smart" } }), "domain", smart.clone()),
        (json!({ "system": { "all": true } }), "system", json!({ "all": true })),
    ] {
        let (_, token) = issued(&gateway, password("u1"), scope.clone());
        assert_eq!(token[member], value, "{scope}");
        assert!(!token["roles"].as_array().unwrap().is_empty() && token["catalog"].is_array(), "{scope}");
        assert_eq!(token["user"]["domain"], smart);
        assert_eq!(token["expires_at"], "1970-01-12T14:46:40.000000Z", "an hour from now");
        assert_eq!(token["issued_at"], "1970-01-12T13:46:40.000000Z");
    }
    for (id, scope) in [("u1", json!("unscoped")), ("u1", json!({ "unscoped": {} })), ("u2", Value::Null)] {
        let (_, token) = issued(&gateway, password(id), scope);
        for member in ["project", "domain", "system", "roles", "catalog"] {
            assert!(token.get(member).is_none(), "{member}");
        }
    }
}

#[test]
fn whoever_is_not_let_in_learns_no_more_than_that() {
    let gateway = gateway(NOW);
    let wrong = json!({ "methods": ["password"], "password": { "user": { "id": "u1", "password": "x" } } });
    let nobody = |name: &str, domain: &str| {
        let user = json!({ "name": name, "domain": { "name": domain }, "password": "correct horse" });
        json!({ "methods": ["password"], "password": { "user": user } })
    };
    let mut bodies = Vec::new();
    for (identity, scope) in [
        (wrong, Value::Null),
        (password("u9"), Value::Null),
        (password("u3"), Value::Null),
        (nobody("nobody", "smart"), Value::Null),
        (nobody("ann", "nowhere"), Value::Null),
        (password("u1"), json!({ "project": { "id": "p2" } })),
        (password("u1"), json!({ "project": { "id": "p3" } })),
        (password("u1"), json!({ "project": { "id": "p4" } })),
        (password("u1"), json!({ "project": { "id": "p9" } })),
        (password("u1"), json!({ "project": { "name": "gardens", "domain": { "name": "nowhere" } } })),
        (password("u2"), json!({ "system": { "all": true } })),
        (json!({ "methods": [] }), Value::Null),
    ] {
        let response = post(&gateway, "{}", identity.clone(), scope.clone());
        assert_eq!(response.status, 401, "{identity} {scope}");
        bodies.push(response);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "all the same: {bodies:?}");
    assert_eq!(header(&bodies[0], "www-authenticate"), Some("Keystone uri=\"http://gateway:8080/v3\""));
}

#[test]
fn a_token_is_exchanged_and_keeps_its_end() {
    let early = gateway(NOW);
    let (first, told) = issued(&early, password("u1"), json!("unscoped"));
    let mut later = gateway(NOW + 100);
    later.scheme = early.scheme;
    let (second, rescoped) = issued(&later, exchange(&first), json!({ "project": { "id": "p1" } }));
    assert_eq!(rescoped["expires_at"], told["expires_at"]);
    assert_eq!(rescoped["methods"], json!(["token", "password"]));
    assert_eq!(rescoped["audit_ids"][1], told["audit_ids"][0]);
    let (_, third) = issued(&later, exchange(&second), json!({ "domain": { "id": "d1" } }));
    assert_eq!(third["audit_ids"][1], told["audit_ids"][0], "the first of the chain");
    assert_eq!(ask(&later, "{}", &own("GET", TOKENS, &first, &first)).status, 200, "the earlier one lives on");

    let strict = post(&later, r#"{"rescope":false}"#, exchange(&second), Value::Null);
    assert_eq!(strict.status, 403);
    let system = token_of(&later, "u1", json!({ "system": { "all": true } }));
    assert_eq!(post(&later, "{}", exchange(&system), json!({ "project": { "id": "p1" } })).status, 403);
    assert_eq!(post(&later, "{}", exchange("nonsense"), Value::Null).status, 404);
    let two = json!({ "methods": ["token", "password"], "token": { "id": first },
        "password": { "user": { "id": "u2", "password": "correct horse" } } });
    assert_eq!(post(&later, "{}", two, Value::Null).status, 401, "of two users");
}

#[test]
fn an_application_credential_gives_what_it_was_made_for() {
    let mut gateway = gateway(NOW);
    let credential = |more: Value| {
        let mut given = json!({ "secret": "secret" });
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "methods": ["application_credential"], "application_credential": given })
    };
    let (token, told) = issued(&gateway, credential(json!({ "id": "c1" })), Value::Null);
    assert_eq!(told["application_credential"], json!({ "id": "c1", "name": "pump", "restricted": true }));
    assert_eq!(told["project"]["id"], "p1");
    let names: Vec<_> = told["roles"].as_array().unwrap().iter().map(|role| role["name"].clone()).collect();
    assert_eq!(names, ["operator"], "no role that it was not made for, and none that the user does not have");
    assert_eq!(told["expires_at"], "1970-01-12T13:56:40.000000Z", "not beyond its own end");
    for by in [
        json!({ "name": "pump", "user": { "id": "u1" } }),
        json!({ "name": "pump", "user": { "name": "ann", "domain": { "name": "smart" } } }),
    ] {
        issued(&gateway, credential(by), Value::Null);
    }
    for by in [
        json!({ "id": "c2" }),
        json!({ "id": "c1", "secret": "other" }),
        json!({ "name": "pump", "user": { "id": "u2" } }),
        json!({ "name": "pimp", "user": { "id": "u1" } }),
    ] {
        assert_eq!(post(&gateway, "{}", credential(by.clone()), Value::Null).status, 401, "{by}");
    }
    let scoped = post(&gateway, "{}", credential(json!({ "id": "c1" })), json!("unscoped"));
    assert_eq!(scoped.status, 401);
    assert_eq!(post(&gateway, "{}", exchange(&token), Value::Null).status, 403);
    gateway.scheme.keys.get_mut().clear();
    assert_eq!(ask(&gateway, "{}", &own("GET", TOKENS, &token, &token)).status, 401, "it goes with the credential");
}

fn own(method: &str, path: &str, own: &str, subject: &str) -> HttpRequest {
    request(method, path, &[("x-auth-token", own), ("x-subject-token", subject)], &Value::Null)
}

#[test]
fn a_token_is_looked_at_by_those_who_may() {
    let gateway = gateway(NOW);
    let token = |id: &str, scope| token_of(&gateway, id, scope);
    let (ann, bob) = (token("u1", Value::Null), token("u2", json!({ "project": { "id": "p2" } })));
    let (reader, unscoped) = (token("u1", json!({ "system": {} })), token("u1", json!("unscoped")));
    let (admin, service) =
        (token("u4", json!({ "project": { "id": "p2" } })), token("u4", json!({ "project": { "id": "p1" } })));
    for (who, about, get, head) in [
        (&ann, &ann, 200, 200),
        (&unscoped, &ann, 200, 200),
        (&bob, &ann, 403, 403),
        (&ann, &bob, 403, 403),
        (&reader, &bob, 200, 200),
        (&admin, &bob, 200, 200),
        (&service, &bob, 200, 403),
        (&ann, &"nonsense".to_owned(), 404, 404),
        (&"nonsense".to_owned(), &ann, 401, 401),
    ] {
        let response = ask(&gateway, "{}", &own("GET", TOKENS, who, about));
        assert_eq!(response.status, get);
        if get == 200 {
            assert_eq!(header(&response, "x-subject-token"), Some(about.as_str()));
            assert!(body(&response)["token"]["user"].is_object());
        }
        assert_eq!(ask(&gateway, "{}", &own("HEAD", TOKENS, who, about)).status, head);
    }
    let lonely = |method| request(method, TOKENS, &[("x-auth-token", &ann)], &Value::Null);
    assert_eq!(ask(&gateway, "{}", &lonely("GET")).status, 404);
    let foreign = request("GET", TOKENS, &[("x-subject-token", &ann)], &Value::Null);
    assert_eq!(ask(&gateway, "{}", &foreign).status, 401);
    let plain = ask(&gateway, "{}", &own("GET", "/v3/auth/tokens?nocatalog", &ann, &ann));
    assert!(body(&plain)["token"].get("catalog").is_none());
}

#[test]
fn a_revoked_token_is_gone_and_so_are_its_children() {
    let gateway = gateway(NOW);
    let family = || {
        let (first, _) = issued(&gateway, password("u1"), json!("unscoped"));
        let (child, _) = issued(&gateway, exchange(&first), json!({ "project": { "id": "p1" } }));
        (first, child)
    };
    let status = |token: &str| ask(&gateway, "{}", &own("GET", TOKENS, token, token)).status;
    let (first, child) = family();
    let bob = token_of(&gateway, "u2", Value::Null);
    assert_eq!(ask(&gateway, "{}", &own("DELETE", TOKENS, &bob, &first)).status, 403);
    assert_eq!(ask(&gateway, "{}", &own("DELETE", TOKENS, &child, &child)).status, 204);
    assert_eq!((status(&first), status(&child)), (200, 401), "the parent lives");

    let (first, child) = family();
    assert_eq!(ask(&gateway, "{}", &own("DELETE", "/v3/auth/tokens?cascade=false", &first, &first)).status, 204);
    assert_eq!((status(&first), status(&child)), (401, 200), "the child lives");

    let (first, child) = family();
    assert_eq!(ask(&gateway, "{}", &own("DELETE", TOKENS, &first, &first)).status, 204);
    assert_eq!((status(&first), status(&child)), (401, 401));
    assert_eq!(post(&gateway, "{}", exchange(&first), Value::Null).status, 404);
}

#[test]
fn what_changes_in_the_directory_changes_the_tokens_that_are_out() {
    let before = gateway(NOW);
    let token = token_of(&before, "u1", Value::Null);
    let status = |change: &dyn Fn(&mut World), now| {
        let mut after = gateway(now);
        change(&mut after.scheme);
        let response = ask(&after, "{}", &own("GET", TOKENS, &token, &token));
        (response.status, body(&response)["token"]["roles"].as_array().map_or(0, Vec::len))
    };
    assert_eq!(status(&|_| {}, NOW + 3_599), (200, 2));
    assert_eq!(status(&|_| {}, NOW + 3_600).0, 401, "expired");
    assert_eq!(status(&|world| world.roles.retain(|(_, role)| role.role != "member"), NOW), (200, 1));
    assert_eq!(status(&|world| world.roles.clear(), NOW).0, 401);
    assert_eq!(status(&|world| world.users.get_mut()[0].0.enabled = false, NOW).0, 401);
    assert_eq!(status(&|world| world.domains[0].enabled = false, NOW).0, 401);
    assert_eq!(status(&|world| world.projects[0].enabled = false, NOW).0, 401);
    let void = |at: u64| {
        move |world: &mut World| {
            world.valid_from.get_mut().insert("u1".into(), at);
        }
    };
    assert_eq!(status(&void(NOW), NOW).0, 200, "in that very second");
    assert_eq!(status(&void(NOW + 1), NOW + 2).0, 401, "a new password");
}

#[test]
fn what_cannot_be_checked_now_is_not_called_wrong() {
    use policy_support::wit::directory::PasswordError;
    let with = |error| {
        let mut gateway = gateway(NOW);
        gateway.scheme.password_error = Some(error);
        post(&gateway, "{}", password("u1"), Value::Null)
    };
    let limited = with(PasswordError::RateLimited(7));
    assert_eq!((limited.status, header(&limited, "retry-after")), (429, Some("7")));
    assert_eq!(with(PasswordError::Other("busy".into())).status, 503);
    let locked = with(PasswordError::Locked(NOW + 60));
    let wrong = with(PasswordError::Wrong);
    assert_eq!(locked, wrong, "nobody learns that there is such a user");
}

#[test]
fn clients_find_their_way() {
    let gateway = gateway(NOW);
    let token = token_of(&gateway, "u1", Value::Null);
    let get = |path: &str| ask(&gateway, "{}", &request("GET", path, &[("x-auth-token", &token)], &Value::Null));
    for (path, link) in [("/v3", "http://gateway:8080/v3/"), ("/identity/v3/", "http://gateway:8080/identity/v3/")] {
        assert_eq!(body(&get(path))["version"]["links"][0]["href"], link);
    }
    let versions = get("/");
    assert_eq!((versions.status, header(&versions, "location")), (300, Some("http://gateway:8080/v3/")));
    assert_eq!(body(&versions)["versions"]["values"][0]["id"], "v3.14");
    let projects = body(&get("/v3/auth/projects"));
    let names: Vec<_> = projects["projects"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect();
    assert_eq!(names, ["gardens", "lost"], "each once, and none that is disabled");
    assert_eq!(body(&get("/v3/auth/domains"))["domains"][0]["name"], "smart");
    assert_eq!(body(&get("/v3/auth/system"))["system"], json!([{ "all": true }]));
    assert_eq!(body(&get("/v3/auth/catalog"))["catalog"][0]["endpoints"][0]["url"], "http://gateway:8080/v3");
    for (method, path, status) in [
        ("GET", "/v3/auth/nothing", 404),
        ("GET", "/v2.0/tokens", 404),
        ("PUT", TOKENS, 405),
        ("POST", "/v3/auth/projects", 405),
        ("POST", "/v3", 405),
    ] {
        let response = ask(&gateway, "{}", &request(method, path, &[("x-auth-token", &token)], &json!({})));
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(status == 405, header(&response, "allow").is_some());
    }
    let nobody = ask(&gateway, "{}", &request("GET", "/v3/auth/projects", &[], &Value::Null));
    assert_eq!(nobody.status, 401);
}

#[test]
fn the_catalog_is_the_operators() {
    let gateway = gateway(NOW);
    let config = r#"{"public-url":"https://k.example/v3","catalog":[{"type":"orion","name":"context","endpoints":[
        {"url":"https://o.example/$(project_id)s/$(user_id)s","region":"north"},{"url":"http://o","interface":"internal"}]}]}"#;
    let response = post(&gateway, config, password("u1"), Value::Null);
    let catalog = &body(&response)["token"]["catalog"];
    assert_eq!(catalog.as_array().unwrap().len(), 1);
    let endpoints = &catalog[0]["endpoints"];
    assert_eq!(endpoints[0]["url"], "https://o.example/p1/u1");
    assert_eq!((&endpoints[0]["region"], &endpoints[1]["interface"]), (&json!("north"), &json!("internal")));
    assert_ne!(endpoints[0]["id"], endpoints[1]["id"]);
    let refused = ask(&gateway, config, &request("GET", "/v3/auth/catalog", &[], &Value::Null));
    assert_eq!(header(&refused, "www-authenticate"), Some("Keystone uri=\"https://k.example/v3\""));
}

#[test]
fn in_upstream_mode_nothing_is_issued() {
    let config = r#"{"mode":"upstream","url":"http://k"}"#;
    let response = ask(&gateway(NOW), config, &request("POST", TOKENS, &[], &json!({})));
    assert_eq!(response.status, 404);
}
