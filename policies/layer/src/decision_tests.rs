use super::{authenticate, continue_authentication, probe, renew};
use crate::config::Config;
use crate::identity_token::issue;
use crate::nonce;
use crate::offer::METHOD;
use crate::person::{APP, PROVIDER, SESSION, SESSION_PREFIX, TOKEN};
use crate::stage::{NOW, at, header_of, json_of, stage};
use policy_support::SchemeGateway;
use policy_support::fake::scheme::user;
use policy_support::fake::{Fake, connection, credentials, device, http};
use policy_support::wit::directory::{RoleAssignment, Scope};
use policy_support::wit::directory_admin::{IssuedKey, NewKey};
use policy_support::wit::types::{Challenge, Credentials, Denial, DenyReason, Grant, Verdict};

const OTHER: &str = "e49e50aa-ffda-453f-adc8-404f68de84ae";

fn config(json: &str) -> Config {
    Config::parse(json).unwrap()
}

fn key(gateway: &Fake, kind: &str, owner: &str, prefix: &str, length: u8, ends: Option<u64>) -> IssuedKey {
    let attributes = vec![(APP.to_owned(), "app1".to_owned()), (PROVIDER.to_owned(), OTHER.to_owned())];
    let new = NewKey {
        kind: kind.into(),
        owner: owner.into(),
        prefix: prefix.into(),
        length,
        alphabet: "hex".into(),
        expires_at: ends,
        attributes,
    };
    gateway.create_key(&new).unwrap()
}

fn token(gateway: &Fake) -> IssuedKey {
    key(gateway, TOKEN, "user:id-ann", "", 40, None)
}

fn session(gateway: &Fake, owner: &str) -> IssuedKey {
    key(gateway, SESSION, owner, SESSION_PREFIX, 48, Some(NOW + 100))
}

fn allowed(verdict: Verdict) -> Grant {
    match verdict {
        Verdict::Allow(grant) => grant,
        other => panic!("expected a grant, got {other:?}"),
    }
}

fn denied(verdict: Verdict) -> Denial {
    match verdict {
        Verdict::Deny(denial) => denial,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn challenged(verdict: Verdict) -> Challenge {
    match verdict {
        Verdict::Challenge(challenge) => challenge,
        other => panic!("expected a challenge, got {other:?}"),
    }
}

fn login(gateway: &Fake, config: &Config, username: Option<&str>, password: &str) -> Verdict {
    authenticate(gateway, config, &connection("tcp"), &credentials("c", username, Some(password)))
}

fn with_method(data: Option<&str>) -> Credentials {
    Credentials { method: Some(METHOD.into()), data: data.map(Into::into), ..credentials("c", None, None) }
}

fn filters(grant: &Grant) -> Vec<&str> {
    grant.rules.iter().map(|rule| rule.filter.as_str()).collect()
}

#[test]
fn a_token_of_km_api_is_its_users() {
    let mut lamp = device("d1", "lamp_a");
    lamp.owner_id = Some("id-ann".into());
    let mut gateway = stage().with_device(lamp);
    gateway.scheme.roles.push(("id-ann".into(), RoleAssignment { role: "operator".into(), scope: Scope::System }));
    gateway
        .scheme
        .roles
        .push(("id-ann".into(), RoleAssignment { role: "admin".into(), scope: Scope::Project("p".into()) }));
    let config = config("");
    let issued = token(&gateway);
    for username in [None, Some(""), Some("id-ann"), Some("Ann@Example.org")] {
        let grant = allowed(login(&gateway, &config, username, &issued.secret));
        assert_eq!((grant.identity.scheme.as_str(), grant.identity.subject.as_str()), ("layer", "id-ann"));
        assert_eq!((&grant.identity.tenant, &grant.identity.roles[..]), (&None, &["operator".to_owned()][..]));
        assert_eq!(filters(&grant), ["lamp_a/stream", "lamp_a/control", "users/id-ann/#"]);
        assert_eq!(grant.depends_on, ["user:id-ann", &format!("key:{}", issued.key.id)]);
        assert_eq!(grant.expires_at, None);
    }
    let refused = denied(login(&gateway, &config, Some("bob@example.org"), &issued.secret));
    assert_eq!(refused.reason, DenyReason::BadCredentials);
    assert!(!refused.detail.contains(&issued.secret));
}

#[test]
fn tokens_that_are_not_good_are_refused() {
    let gateway = stage();
    let config = config("");
    let issued = token(&gateway);
    let of_a_device = key(&gateway, TOKEN, "device:d1", "", 40, None);
    let of_another_kind = key(&gateway, "activation", "user:id-ann", "", 40, None);
    for secret in [of_a_device.secret, of_another_kind.secret, "0".repeat(40)] {
        assert_eq!(denied(login(&gateway, &config, None, &secret)).reason, DenyReason::BadCredentials);
    }
    assert!(gateway.revoke_key(&issued.key.id).unwrap());
    assert_eq!(denied(login(&gateway, &config, None, &issued.secret)).reason, DenyReason::BadCredentials);
    assert_eq!(login(&gateway, &config, None, "another scheme's password"), Verdict::Pass);
}

#[test]
fn who_has_not_confirmed_the_address_is_refused_where_that_is_asked() {
    let gateway = stage();
    gateway.scheme.users.borrow_mut()[0].0.verified = false;
    let issued = token(&gateway);
    assert!(matches!(login(&gateway, &config(""), None, &issued.secret), Verdict::Allow(_)));
    let refused = denied(login(&gateway, &config(r#"{"require-verified":true}"#), None, &issued.secret));
    assert_eq!(refused.reason, DenyReason::NotAuthorized);
}

#[test]
fn a_session_lasts_until_its_end_and_no_password_survives_it() {
    let gateway = stage();
    let config = config("");
    let issued = session(&gateway, "user:id-ann");
    let grant = allowed(login(&gateway, &config, Some("anything"), &issued.secret));
    assert_eq!(grant.expires_at, Some(NOW + 100));
    assert!(grant.identity.attributes.contains(&(APP.into(), "app1".into())));
    let gateway = at(NOW + 99, gateway);
    gateway.revoke_tokens("id-ann").unwrap();
    assert!(denied(login(&gateway, &config, None, &issued.secret)).detail.contains("made void"));
    let gateway = at(NOW + 100, gateway);
    assert!(denied(login(&gateway, &config, None, &issued.secret)).detail.contains("expired"));
    assert_eq!(denied(login(&gateway, &config, None, "layer_short")).reason, DenyReason::BadCredentials);
}

#[test]
fn a_session_ends_when_its_app_is_no_longer_listed() {
    let gateway = stage();
    let issued = session(&gateway, "user:id-ann");
    let listed = config(r#"{"apps":["e49e50aa-ffda-453f-adc8-404f68de84ae"]}"#);
    assert!(denied(login(&gateway, &listed, None, &issued.secret)).detail.contains("not one of this service"));
    let grant = allowed(login(&gateway, &config(""), None, &issued.secret));
    assert!(renew(&gateway, &listed, &connection("tcp"), &grant.state).is_err());
}

#[test]
fn a_principal_of_another_provider_has_a_branch_of_its_own_and_its_apps_devices() {
    let mut lamp = device("d1", "lamp_a");
    (lamp.owner_id, lamp.app_id) = (Some("id-ann".into()), Some("shop".into()));
    let mut own = device("d2", "fan_b");
    own.owner_id = Some("id-ann".into());
    let gateway = stage().with_device(lamp).with_device(own);
    let issued = session(&gateway, "consumer:id-ann");
    let provider = |app: &str| config(&format!(r#"{{"providers":[{{"id":"{OTHER}","pem":"theirs"{app}}}]}}"#));
    let branch = format!("providers/{OTHER}/id-ann/#");
    let grant = allowed(login(&gateway, &provider(r#","app":"shop""#), None, &issued.secret));
    assert_eq!(filters(&grant), ["lamp_a/stream", "lamp_a/control", &branch]);
    assert_eq!(grant.identity.tenant.as_deref(), Some(&*format!("layer:///providers/{OTHER}")));
    assert!(!grant.depends_on.contains(&"user:id-ann".to_owned()), "the name of a user here is not that user");
    assert_eq!(filters(&allowed(login(&gateway, &provider(""), None, &issued.secret))), [&branch]);
    assert!(denied(login(&gateway, &config(""), None, &issued.secret)).detail.contains("not believed any more"));
}

#[test]
fn a_nonce_is_asked_and_its_answer_lets_in() {
    let gateway = stage();
    let config = config(r#"{"session-lifetime":60}"#);
    let ann = user("id-ann", "ann@example.org");
    let challenge = challenged(authenticate(&gateway, &config, &connection("tcp"), &with_method(None)));
    let nonce = String::from_utf8(challenge.data).unwrap();
    let answer = issue(&gateway, &config, &ann, &nonce).unwrap();
    let step = |state: &[u8], data: Option<&str>| {
        continue_authentication(&gateway, &config, "c", state, data.map(str::as_bytes))
    };
    let grant = allowed(step(&challenge.state, Some(&answer)));
    assert_eq!((grant.identity.subject.as_str(), grant.expires_at), ("id-ann", Some(NOW + 60)));
    assert_eq!(grant.depends_on, ["user:id-ann"]);

    // Another exchange has another nonce: the answer is good for one only.
    let next = challenged(authenticate(&gateway, &config, &connection("tcp"), &with_method(None)));
    assert_ne!(next.data, nonce.as_bytes());
    assert!(denied(step(&next.state, Some(&answer))).detail.contains("another nonce"));
    assert_eq!(denied(step(&next.state, None)).reason, DenyReason::BadCredentials);
    assert_eq!(denied(step(&next.state, Some("no token"))).reason, DenyReason::BadCredentials);
    assert_eq!(denied(step(b"", Some(&answer))).reason, DenyReason::BadCredentials);
    // Nor does it open a session over HTTP, where that nonce was never given out.
    let replayed = authenticate(&gateway, &config, &connection("tcp"), &with_method(Some(&answer)));
    assert!(denied(replayed).detail.contains("no nonce"));
}

#[test]
fn an_answer_to_a_nonce_from_elsewhere_is_good_once() {
    let gateway = stage();
    let config = config("");
    let ann = user("id-ann", "ann@example.org");
    let fresh = nonce::issue(&gateway, &config, "192.0.2.1").unwrap();
    let answer = issue(&gateway, &config, &ann, &fresh).unwrap();
    let come = |data: &str| authenticate(&gateway, &config, &connection("tcp"), &with_method(Some(data)));
    assert_eq!(allowed(come(&answer)).identity.subject, "id-ann");
    assert!(denied(come(&answer)).detail.contains("was used"));
    // Used up by a wrong answer too.
    let fresh = nonce::issue(&gateway, &config, "192.0.2.1").unwrap();
    let wrong = issue(&gateway, &config, &user("nobody", "no@example.org"), &fresh).unwrap();
    assert!(denied(come(&wrong)).detail.contains("no user"));
    assert!(denied(come(&issue(&gateway, &config, &ann, &fresh).unwrap())).detail.contains("was used"));
}

#[test]
fn a_login_is_looked_at_again_as_if_it_came_anew() {
    let gateway = stage();
    let config = config("");
    let again = |gateway: &Fake, grant: &Grant| {
        let mut connection = connection("tcp");
        connection.identity = Some(grant.identity.clone());
        renew(gateway, &config, &connection, &grant.state)
    };
    let issued = token(&gateway);
    let by_token = allowed(login(&gateway, &config, Some("ann@example.org"), &issued.secret));
    let by_session = allowed(login(&gateway, &config, None, &session(&gateway, "user:id-ann").secret));
    let asked = challenged(authenticate(&gateway, &config, &connection("tcp"), &with_method(None)));
    let nonce = String::from_utf8(asked.data).unwrap();
    let answer = issue(&gateway, &config, &user("id-ann", "ann@example.org"), &nonce).unwrap();
    let by_answer = allowed(continue_authentication(&gateway, &config, "c", &asked.state, Some(answer.as_bytes())));

    // Another e-mail address is no reason to leave.
    gateway.update_user("id-ann", &[("email".into(), "annie@example.org".into())]).unwrap();
    for grant in [&by_token, &by_session, &by_answer] {
        let renewed = again(&gateway, grant).unwrap();
        assert_eq!((&renewed.identity.subject, renewed.expires_at), (&grant.identity.subject, grant.expires_at));
        assert_eq!(renewed.state, grant.state);
        assert!(renewed.identity.attributes.contains(&("email".into(), "annie@example.org".into())));
    }
    // What was made void ends what came of it; the token of km-api outlives that, and ends as a key.
    let gateway = at(NOW + 1, gateway);
    gateway.revoke_tokens("id-ann").unwrap();
    assert!(again(&gateway, &by_session).is_err() && again(&gateway, &by_answer).is_err());
    assert!(again(&gateway, &by_token).is_ok());
    gateway.revoke_key(&issued.key.id).unwrap();
    assert_eq!(again(&gateway, &by_token).unwrap_err().reason, DenyReason::BadCredentials);
    assert_eq!(renew(&gateway, &config, &connection("tcp"), b"x").unwrap_err().reason, DenyReason::NotAuthorized);
}

#[test]
fn a_devices_client_identifier_is_its_own() {
    let gateway = stage().with_device(device("d1", "lamp_a"));
    let issued = token(&gateway);
    let dial = credentials("lamp_a", None, Some(&issued.secret));
    let refused = denied(authenticate(&gateway, &config(""), &connection("tcp"), &dial));
    assert_eq!(refused.reason, DenyReason::ClientIdNotValid);
}

#[test]
fn a_request_with_an_ended_session_is_told_how_to_begin_another() {
    let gateway = stage().with_header("authorization", "Layer session-token=\"layer_0\"");
    let config = config("");
    let none = credentials("", None, None);
    let response = denied(authenticate(&gateway, &config, &http(), &none)).http.unwrap();
    assert_eq!((response.status, header_of(&response, "www-authenticate")), (401, Some("Layer")));
    let body = json_of(&response);
    assert_eq!((&body["id"], &body["code"]), (&"authentication_required".into(), &4.into()));
    assert_eq!(nonce::consume(&gateway, body["data"]["nonce"].as_str().unwrap()), Ok(true));

    let gateway = stage().with_header("authorization", "Token 0123");
    let response = denied(authenticate(&gateway, &config, &http(), &none)).http.unwrap();
    assert_eq!((response.status, header_of(&response, "www-authenticate")), (401, Some("Token")));
    assert_eq!(json_of(&response)["detail"], "Invalid token.");
    let over_websocket = denied(authenticate(&gateway, &config, &connection("ws"), &none));
    assert_eq!(over_websocket.http, None);
}

#[test]
fn a_good_request_is_let_in() {
    let gateway = stage();
    let issued = session(&gateway, "user:id-ann");
    let gateway = gateway.with_header("authorization", &format!("Layer session-token=\"{}\"", issued.secret));
    let grant = allowed(authenticate(&gateway, &config(""), &http(), &credentials("", None, None)));
    assert_eq!((grant.identity.subject.as_str(), &grant.state[..]), ("id-ann", &[][..]));
}

#[test]
fn the_self_test_asks_for_everything_that_a_login_needs() {
    assert_eq!(probe(&stage(), &config("")), Ok(()));
}
