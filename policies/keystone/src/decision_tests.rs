//! Logins, against a gateway in memory and another Keystone that is played.

use std::cell::RefCell;
use std::rc::Rc;

use policy_support::fake::{Fake, connection, credentials, device, http};
use policy_support::wit::http_client::Error as HttpError;
use policy_support::wit::types::{Connection, Denial, DenyReason, Grant, HttpResponse, Identity};
use serde_json::{Value, json};

use super::{authenticate, renew};
use crate::config::Config;
use crate::local::tests::{NOW, gateway, token_of};
use crate::token::tests::{name, token};
use crate::token::{Scope, Token};

const LOCAL: &str = "{}";

fn login(gateway: &Fake, config: &str, username: Option<&str>, password: &str) -> Result<Option<Grant>, Denial> {
    let config = Config::parse(config).unwrap();
    authenticate(gateway, &config, &connection("tcp"), &credentials("phone", username, Some(password)))
}

fn reason(answer: Result<Option<Grant>, Denial>) -> DenyReason {
    answer.expect_err("a refusal").reason
}

fn filters(grant: &Grant) -> Vec<&str> {
    grant.rules.iter().map(|rule| rule.filter.as_str()).collect()
}

/// As the fake signs, so that it looks like a token: the fake's own form has none.
fn local() -> (Fake, String) {
    let gateway = gateway(NOW);
    let token = token_of(&gateway, "u1", json!({ "project": { "id": "p1" } }));
    (gateway, token)
}

fn by_header(gateway: Fake, token: &str, more: &[(&str, &str)]) -> Fake {
    let with = gateway.with_header("x-auth-token", token);
    more.iter().fold(with, |gateway, (name, value)| gateway.with_header(name, value))
}

fn ask_http(gateway: &Fake, config: &str) -> Result<Option<Grant>, Denial> {
    authenticate(gateway, &Config::parse(config).unwrap(), &http(), &credentials("", None, None))
}

#[test]
fn a_token_in_a_header_lets_its_user_in() {
    let (gateway, token) = local();
    let grant = ask_http(&by_header(gateway, &token, &[]), LOCAL).unwrap().unwrap();
    assert_eq!((grant.identity.subject.as_str(), grant.identity.tenant.as_deref()), ("u1", Some("p1")));
    assert_eq!(grant.identity.roles, ["operator", "member"]);
    assert_eq!(filters(&grant), ["users/u1/#"]);
    assert_eq!(grant.expires_at, Some(NOW + 3_600));
    assert_eq!(grant.depends_on.len(), 3, "{:?}", grant.depends_on);
    assert!(grant.depends_on.contains(&"user:u1".to_owned()));
    assert_eq!(reason(ask_http(&by_header(local().0, "nonsense", &[]), LOCAL)), DenyReason::BadCredentials);
}

#[test]
fn fiwares_headers_must_be_those_of_the_token() {
    let ask = |config, more: &[(&str, &str)]| {
        let (gateway, token) = local();
        ask_http(&by_header(gateway, &token, more), config)
    };
    let (service, path) = (("fiware-service", "smart"), ("fiware-servicepath", "/gardens"));
    let required = r#"{"fiware":"required"}"#;
    for good in [&[service, path][..], &[service][..], &[]] {
        assert!(ask(LOCAL, good).is_ok(), "{good:?}");
    }
    assert!(ask(required, &[service, path]).is_ok());
    for (config, more, status, name) in [
        (LOCAL, &[service, ("fiware-servicepath", "/other")][..], 401, "TOKEN_DOES_NOT_MATCH_SERVICE"),
        (LOCAL, &[service, ("fiware-servicepath", "/")], 401, "TOKEN_DOES_NOT_MATCH_SERVICE"),
        (LOCAL, &[("fiware-service", "other"), path], 401, "TOKEN_DOES_NOT_MATCH_SERVICE"),
        (LOCAL, &[path], 400, "MISSING_HEADERS"),
        (required, &[], 400, "MISSING_HEADERS"),
        (required, &[service], 400, "MISSING_HEADERS"),
        (r#"{"rules":[{"actions":"publish","filter":"x","role":"chief"}]}"#, &[service, path], 403, "ACCESS_DENIED"),
    ] {
        let answer = ask(config, more).unwrap_err().http.unwrap_or_else(|| panic!("{more:?}"));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, body["name"].as_str()), (status, Some(name)), "{more:?}");
        assert_eq!(body.as_object().unwrap().len(), 2);
    }
    assert!(ask(r#"{"fiware":"off"}"#, &[("fiware-service", "other")]).is_ok());
}

#[test]
fn a_password_with_a_domain_lets_a_device_in() {
    let mut owned = device("x", "pump_a1b2c3");
    owned.owner_id = Some("u1".into());
    let gateway = gateway(NOW).with_device(owned);
    let grant = login(&gateway, LOCAL, Some("ann@smart"), "correct horse").unwrap().unwrap();
    assert_eq!(filters(&grant), ["users/u1/#", "pump_a1b2c3/stream", "pump_a1b2c3/control"]);
    assert_eq!((grant.identity.tenant.as_deref(), grant.expires_at), (Some("p1"), None));
    assert_eq!(grant.depends_on, ["user:u1"]);
    for (username, tenant) in [("ann@smart/", Some("d1")), ("ann@smart/gardens", Some("p1")), ("bob@smart", None)] {
        let grant = login(&gateway, LOCAL, Some(username), "correct horse").unwrap().unwrap();
        assert_eq!(grant.identity.tenant.as_deref(), tenant, "{username}");
    }
    for username in ["bob@smart/gardens", "nobody@smart", "cem@smart", "ann@smart/nowhere"] {
        assert_eq!(reason(login(&gateway, LOCAL, Some(username), "correct horse")), DenyReason::BadCredentials);
    }
    assert_eq!(reason(login(&gateway, LOCAL, Some("ann@smart"), "wrong")), DenyReason::BadCredentials);
    assert_eq!(login(&gateway, LOCAL, Some("ann@nowhere"), "correct horse"), Ok(None), "another scheme's");
    let taken = Config::parse(LOCAL).unwrap();
    let offered = credentials("pump_a1b2c3", Some("ann@smart"), Some("correct horse"));
    let answer = authenticate(&gateway, &taken, &connection("tcp"), &offered);
    assert_eq!(reason(answer), DenyReason::ClientIdNotValid);
}

#[test]
fn a_login_by_password_is_looked_at_again_when_the_directory_changes() {
    let before = gateway(NOW);
    let grant = login(&before, LOCAL, Some("ann@smart"), "correct horse").unwrap().unwrap();
    let again = |after: &Fake| {
        let mut connection = connection("tcp");
        connection.identity = Some(grant.identity.clone());
        renew(after, &Config::parse(LOCAL).unwrap(), &connection, &grant.state).map_err(|denial| denial.reason)
    };
    assert_eq!(again(&before).unwrap().rules, grant.rules);
    let mut after = gateway(NOW);
    after.scheme.valid_from.get_mut().insert("u1".into(), NOW + 1);
    assert_eq!(again(&after), Err(DenyReason::BadCredentials), "a new password");
    let mut after = gateway(NOW);
    after.scheme.roles.clear();
    assert_eq!(again(&after), Err(DenyReason::BadCredentials), "no role in the project any more");
    let state = Config::parse(LOCAL).unwrap();
    assert!(renew(&before, &state, &connection("tcp"), b"\x07nonsense").is_err());
}

const FERNET_LIKE: &str =
    "gAAAAABr0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

const UPSTREAM: &str = r#"{"mode":"upstream","url":"http://k/v3","cache":100,"stale":1000,
    "rules":[{"actions":"publish","filter":"{service}/{subservice}/{user}"}]}"#;

/// What somebody says who is asked.
type Said = Result<HttpResponse, HttpError>;

/// Another Keystone: what it answers next, and how often it was asked.
#[derive(Clone, Default)]
struct Other(Rc<RefCell<(Option<Said>, u32)>>);

impl Other {
    fn says(&self, status: u16, token: Option<&Token>) {
        let body = token.map_or(vec![], |token| token.to_json(None).to_string().into_bytes());
        let headers = vec![("x-subject-token".to_owned(), FERNET_LIKE.to_owned())];
        self.0.borrow_mut().0 = Some(Ok(HttpResponse { status, headers, body }));
    }

    fn is_away(&self) {
        self.0.borrow_mut().0 = Some(Err(HttpError::Unreachable("connection refused".into())));
    }

    fn asked(&self) -> u32 {
        self.0.borrow().1
    }

    fn gateway(&self) -> Fake {
        let other = self.clone();
        let mut gateway = Fake { now: NOW, ..Fake::default() };
        gateway.scheme.sender = Some(Box::new(move |_| {
            let mut other = other.0.borrow_mut();
            other.1 += 1;
            other.0.clone().unwrap()
        }));
        gateway
    }
}

fn good() -> Token {
    let scope = Scope::Project { project: name("p1", "/gardens"), domain: name("d1", "smart") };
    Token { expires_at: NOW + 2_000, ..token(scope) }
}

#[test]
fn anothers_token_is_asked_about_once_in_a_while() {
    let other = Other::default();
    other.says(200, Some(&good()));
    let mut gateway = other.gateway();
    let ask = |gateway: &Fake| login(gateway, UPSTREAM, Some("smart/gardens"), FERNET_LIKE);
    let grant = ask(&gateway).unwrap().unwrap();
    assert_eq!(filters(&grant), ["smart/gardens/ann"]);
    assert_eq!((grant.expires_at, grant.renew_after), (Some(NOW + 2_000), Some(100)));
    assert!(grant.depends_on.is_empty(), "its users are not the directory's");
    gateway.now += 99;
    assert_eq!(ask(&gateway).unwrap().unwrap().renew_after, Some(1));
    assert_eq!(other.asked(), 1);
    gateway.now += 1;
    ask(&gateway).unwrap();
    assert_eq!(other.asked(), 2);
    for username in ["other", "smart/", "smart/other"] {
        assert_eq!(reason(login(&gateway, UPSTREAM, Some(username), FERNET_LIKE)), DenyReason::BadCredentials);
    }
    assert_eq!(login(&gateway, LOCAL, Some("smart"), FERNET_LIKE), Ok(None));
}

#[test]
fn a_strangers_token_does_not_shut_others_out() {
    let other = Other::default();
    let gateway = other.gateway();
    let stranger = |length: usize| format!("gAAAAA{}", "A".repeat(length - 6));
    // Too large for its server, which says so or hangs up; and what is larger still is not sent at all.
    for (length, says) in [(1_000, Some(400)), (1_000, Some(431)), (1_000, Some(200)), (4_096, None), (4_097, None)] {
        match says {
            Some(status) => other.says(status, None),
            None => other.is_away(),
        }
        let refused = reason(login(&gateway, UPSTREAM, None, &stranger(length)));
        let expected = if length > 4_096 { DenyReason::BadCredentials } else { DenyReason::Unavailable };
        assert_eq!(refused, expected, "{length} {says:?}");
        other.says(200, Some(&good()));
        let newcomer = format!("{FERNET_LIKE}{length}{}", says.unwrap_or(0));
        assert!(
            login(&gateway, UPSTREAM, None, &newcomer).unwrap().is_some(),
            "{length} {says:?}: others are asked about"
        );
    }
    // What says that it is not well is left alone.
    other.says(503, None);
    assert_eq!(reason(login(&gateway, UPSTREAM, None, FERNET_LIKE)), DenyReason::Unavailable);
    other.says(200, Some(&good()));
    assert_eq!(reason(login(&gateway, UPSTREAM, None, &stranger(200))), DenyReason::Unavailable);
}

#[test]
fn what_was_decided_stays_decided_until_it_is_too_old() {
    let other = Other::default();
    other.says(200, Some(&good()));
    let mut gateway = other.gateway();
    let ask = |gateway: &Fake| login(gateway, UPSTREAM, None, FERNET_LIKE);
    let grant = ask(&gateway).unwrap().unwrap();
    other.is_away();
    gateway.now = NOW + 500;
    assert_eq!(ask(&gateway).unwrap().unwrap().renew_after, Some(30));
    let asked = other.asked();
    ask(&gateway).unwrap();
    assert_eq!(other.asked(), asked, "nobody tries again for a moment");
    let strange = FERNET_LIKE.replace('9', "8");
    assert_eq!(reason(login(&gateway, UPSTREAM, None, &strange)), DenyReason::Unavailable);
    gateway.now = NOW + 999;
    ask(&gateway).unwrap();
    gateway.now = NOW + 1_000;
    let late = ask(&gateway).unwrap_err();
    assert_eq!(late.reason, DenyReason::Unavailable);
    assert!(late.detail.contains("http://k/v3") && late.detail.contains("connection refused"), "{}", late.detail);
    assert!(late.message.unwrap().contains("identity service"));
    let config = Config::parse(UPSTREAM).unwrap();
    let live = renew(&gateway, &config, &connection("tcp"), &grant.state).unwrap_err();
    assert_eq!(live.reason, DenyReason::Unavailable);
    other.says(200, Some(&good()));
    gateway.now += 10;
    assert_eq!(renew(&gateway, &config, &connection("tcp"), &grant.state).unwrap().rules, grant.rules);
}

#[test]
fn what_the_other_refuses_is_refused() {
    let other = Other::default();
    let mut gateway = other.gateway();
    let ask = |gateway: &Fake| login(gateway, UPSTREAM, None, FERNET_LIKE);
    for status in [404, 401] {
        gateway.now += 100;
        other.says(status, None);
        assert_eq!(reason(ask(&gateway)), DenyReason::BadCredentials);
        let asked = other.asked();
        assert_eq!(reason(ask(&gateway)), DenyReason::BadCredentials);
        assert_eq!(other.asked(), asked, "remembered");
    }
    for status in [200, 403, 429, 500, 503] {
        gateway.now += 100;
        other.says(status, None);
        assert_eq!(reason(ask(&gateway)), DenyReason::Unavailable, "{status}");
    }
    gateway.now += 100;
    other.says(200, Some(&Token { expires_at: NOW, ..good() }));
    assert_eq!(reason(ask(&gateway)), DenyReason::BadCredentials, "expired");
    other.says(200, Some(&good()));
    let asked = other.asked();
    let long = format!("gAAAAABr{}", "A".repeat(20_000));
    assert_eq!(reason(login(&gateway, UPSTREAM, None, &long)), DenyReason::BadCredentials);
    assert_eq!(other.asked(), asked, "what cannot be a token is not sent");
}

#[test]
fn a_forged_jws_is_refused_without_asking() {
    let other = Other::default();
    other.says(200, Some(&good()));
    let gateway = other.gateway();
    let config = UPSTREAM.replace("\"cache\"", "\"keys\":{\"pem\":\"p\"},\"cache\"");
    assert_eq!(reason(login(&gateway, &config, None, crate::offer::tests::TOKEN)), DenyReason::BadCredentials);
    assert_eq!(other.asked(), 0);
    login(&gateway, &config, None, FERNET_LIKE).unwrap();
}

#[test]
fn a_password_is_passed_on_and_wrong_ones_are_counted() {
    let other = Other::default();
    other.says(201, Some(&good()));
    let mut gateway = other.gateway();
    let ask = |gateway: &Fake| login(gateway, UPSTREAM, Some("ann@smart/gardens"), "correct horse");
    let grant = ask(&gateway).unwrap().unwrap();
    assert_eq!((grant.renew_after, grant.expires_at), (Some(100), Some(NOW + 2_000)));
    let asked = other.asked();
    login(&gateway, UPSTREAM, Some("smart"), FERNET_LIKE).unwrap();
    assert_eq!(other.asked(), asked, "the token that came of it is known");
    other.says(401, None);
    for _ in 0..10 {
        assert_eq!(reason(ask(&gateway)), DenyReason::BadCredentials);
    }
    let asked = other.asked();
    assert_eq!(reason(ask(&gateway)), DenyReason::RateExceeded);
    assert_eq!(other.asked(), asked);
    gateway.now += 300;
    other.is_away();
    assert_eq!(reason(ask(&gateway)), DenyReason::Unavailable);
}

#[test]
fn re_authentication_is_of_the_same_user() {
    let (gateway, token) = local();
    let gateway = by_header(gateway, &token, &[]);
    let as_subject = |subject: &str| {
        let identity = Identity {
            scheme: "keystone".into(),
            subject: subject.into(),
            tenant: None,
            acting_for: None,
            roles: vec![],
            attributes: vec![],
        };
        let known = Connection { identity: Some(identity), ..connection("wss") };
        authenticate(&gateway, &Config::parse(LOCAL).unwrap(), &known, &credentials("c", None, None))
    };
    assert!(as_subject("u1").is_ok());
    assert_eq!(reason(as_subject("u2")), DenyReason::BadCredentials);
}
