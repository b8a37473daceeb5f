//! Logins with the gateway's own tokens, against a gateway in memory.

use policy_support::fake::{Fake, connection, credentials, device, http};
use policy_support::wit::jose::{Error, UnverifiedToken, VerifiedToken};
use policy_support::wit::types::{Connection, Credentials, DenyReason, Grant};
use serde_json::{Value, json};

use crate::config::Config;
use crate::decision::{authenticate, renew};
use crate::oisp::api::tests::{gateway, verified};

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2ln";

/// A gateway that takes [`TOKEN`] for one with these claims.
fn holding(gateway: Fake, claims: &Value) -> Fake {
    let claims = claims.to_string();
    let unverified = UnverifiedToken {
        header: "{}".into(),
        claims: claims.clone(),
        algorithm: "RS256".into(),
        key_id: None,
        issuer: Some("portcullis".into()),
    };
    let verify = move |_: &str| -> Result<VerifiedToken, Error> { verified(&format!("gateway-rs256||{claims}")) };
    Fake {
        unverified: vec![(TOKEN.into(), unverified)],
        verifier: Some(Box::new(move |token, _| verify(token))),
        ..gateway
    }
}

fn ann() -> Value {
    json!({
        "jti": "j1", "iss": "portcullis", "sub": "u1", "iat": 1_700_000_000, "exp": 1_700_086_400_u64, "role": "user",
        "accounts": { "acc1": "admin", "acc2": "user" },
    })
}

fn pump() -> Value {
    json!({
        "jti": "j2", "iss": "portcullis", "sub": "d1", "iat": 1_700_000_000, "exp": 1_731_536_000_u64, "role": "device",
        "accounts": [{ "id": "acc1", "role": "device" }],
    })
}

fn person() -> Fake {
    let mut lamp = device("d3", "lamp_a1b2c3");
    lamp.owner_id = Some("u1".into());
    holding(gateway().with_device(lamp), &ann())
}

fn thing() -> Fake {
    let mut gateway = holding(gateway(), &pump());
    gateway.devices[0].0.attributes.push(("device-token-id".into(), "j2".into()));
    gateway
}

fn ask_with(
    gateway: &Fake,
    config: &str,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Grant, (DenyReason, String)> {
    authenticate(gateway, &Config::parse(config).unwrap(), connection, credentials)
        .map(|grant| grant.expect("it is a token of the gateway's own"))
        .map_err(|denial| (denial.reason, denial.detail))
}

fn ask(gateway: &Fake, client_id: &str, username: Option<&str>) -> Result<Grant, (DenyReason, String)> {
    ask_with(gateway, r#"{"oisp":{}}"#, &connection("tcp"), &credentials(client_id, username, Some(TOKEN)))
}

fn filters(grant: &Grant) -> Vec<&str> {
    grant.rules.iter().map(|rule| rule.filter.as_str()).collect()
}

#[test]
fn a_person_has_their_devices_their_branch_and_their_accounts() {
    let gateway = person();
    for username in [None, Some("u1"), Some("ANN@example.com")] {
        let grant = ask(&gateway, "phone", username).unwrap();
        assert_eq!((grant.identity.scheme.as_str(), grant.identity.subject.as_str()), ("jwt", "u1"));
        assert_eq!((grant.identity.tenant.as_deref(), &grant.identity.roles[..]), (None, &["user".to_owned()][..]));
        assert_eq!(
            filters(&grant),
            ["lamp_a1b2c3/stream", "lamp_a1b2c3/control", "users/u1/#", "accounts/acc1/#", "accounts/acc2/#"]
        );
        assert_eq!(grant.depends_on, ["user:u1", "token:j1", "domain:default", "project:acc1", "project:acc2"]);
        assert_eq!(grant.expires_at, Some(1_700_086_400));
    }
    assert_eq!(ask(&gateway, "phone", Some("bob")).unwrap_err().0, DenyReason::BadCredentials);
    assert_eq!(ask(&gateway, "lamp_a1b2c3", None).unwrap_err().0, DenyReason::ClientIdNotValid);
}

#[test]
fn rules_know_in_which_accounts_somebody_is_admin() {
    let config = r#"{"oisp":{"rules":[
        {"actions":"publish","filter":"a/{account.admin}"},{"actions":"publish","filter":"u/{account.user}"},
        {"actions":"publish","filter":"s/#","role":"sysadmin"}]}}"#;
    let credentials = credentials("phone", None, Some(TOKEN));
    let grant = ask_with(&person(), config, &connection("tcp"), &credentials).unwrap();
    assert_eq!(filters(&grant), ["a/acc1", "u/acc2"]);
    let mut claims = ann();
    claims["role"] = "sysadmin".into();
    let grant = ask_with(&holding(gateway(), &claims), config, &connection("tcp"), &credentials).unwrap();
    assert_eq!(filters(&grant).last(), Some(&"s/#"));
}

#[test]
fn a_token_opens_http_as_well() {
    let gateway = person().with_header("authorization", &format!("Bearer {TOKEN}"));
    let grant = ask_with(&gateway, r#"{"oisp":{}}"#, &http(), &credentials("", None, None)).unwrap();
    assert_eq!((grant.identity.subject.as_str(), grant.state.len()), ("u1", 0));
}

#[test]
fn a_device_is_known_by_its_names_and_uses_its_client_identifier() {
    let gateway = thing();
    for (client_id, renamed) in [("pump_a1b2c3", None), ("d1", Some("pump_a1b2c3")), ("", Some("pump_a1b2c3"))] {
        for username in ["d1", "pump_a1b2c3"] {
            let grant = ask(&gateway, client_id, Some(username)).unwrap();
            assert_eq!((grant.identity.subject.as_str(), grant.client_id.as_deref()), ("d1", renamed));
            assert_eq!(
                filters(&grant),
                ["pump_a1b2c3/stream", "$reset/pump_a1b2c3", "pump_a1b2c3/control", "accounts/acc1/pump_a1b2c3/#"]
            );
            assert_eq!(grant.depends_on, ["device:d1", "token:j2", "domain:default", "project:acc1"]);
        }
    }
    assert_eq!(ask(&gateway, "else", Some("d1")).unwrap_err().0, DenyReason::ClientIdNotValid);
    assert_eq!(ask(&gateway, "d1", Some("d2")).unwrap_err().0, DenyReason::BadCredentials);
}

#[test]
fn a_device_that_was_activated_anew_has_no_use_for_its_old_token() {
    let mut gateway = thing();
    gateway.devices[0].0.attributes.retain(|(name, _)| name != "device-token-id");
    let (reason, detail) = ask(&gateway, "d1", Some("d1")).unwrap_err();
    assert_eq!(reason, DenyReason::BadCredentials);
    assert!(detail.contains("activated anew"), "{detail}");
    let mut gateway = thing();
    gateway.devices[0].0.credential = "username".into();
    assert_eq!(ask(&gateway, "d1", Some("d1")).unwrap_err().0, DenyReason::BadCredentials);
    let mut gateway = thing();
    gateway.devices[0].0.enabled = false;
    assert_eq!(ask(&gateway, "d1", Some("d1")).unwrap_err().0, DenyReason::NotAuthorized);
}

#[test]
fn claims_of_the_wrong_type_are_refused() {
    for (name, value) in [
        ("role", json!("system")),
        ("role", json!(1)),
        ("accounts", json!("acc1")),
        ("accounts", json!(null)),
        ("accounts", json!({ "acc1": 1 })),
        ("accounts", json!([{ "id": 1, "role": "device" }])),
        ("jti", json!("")),
        ("jti", json!("j".repeat(513))),
        ("sub", json!("nobody")),
    ] {
        let mut claims = ann();
        claims[name] = value.clone();
        let refused = ask(&holding(gateway(), &claims), "phone", None).unwrap_err();
        assert_eq!(refused.0, DenyReason::BadCredentials, "{name} {value}: {}", refused.1);
    }
}

#[test]
fn an_account_that_is_no_level_of_a_topic_refuses_the_login() {
    for id in ["#", "a/b", "+", "$SYS"] {
        let mut claims = ann();
        claims["accounts"] = json!({ id: "user" });
        let mut gateway = holding(gateway(), &claims);
        assert!(!filters(&ask(&gateway, "phone", None).unwrap()).iter().any(|filter| filter.starts_with("accounts/")));
        gateway.scheme.projects[0].id = id.into();
        assert!(ask(&gateway, "phone", None).is_err(), "{id}");
    }
}

#[test]
fn a_device_has_the_account_that_both_its_token_and_the_directory_name() {
    let mut gateway = thing();
    let own =
        |gateway: &Fake| filters(&ask(gateway, "d1", None).unwrap()).last().map(|last| (*last).to_owned()).unwrap();
    assert_eq!(own(&gateway), "accounts/acc1/pump_a1b2c3/#");
    gateway.scheme.projects[0].enabled = false;
    assert_eq!(own(&gateway), "pump_a1b2c3/control");
    gateway.scheme.projects[0].enabled = true;
    let place = gateway.devices[0].0.attributes.iter_mut().find(|(name, _)| name == "account").unwrap();
    "acc2".clone_into(&mut place.1);
    assert_eq!(own(&gateway), "pump_a1b2c3/control", "an older token does not follow it to another account");
}

#[test]
fn a_connection_ends_when_its_token_or_its_person_does() {
    let mut gateway = person();
    let config = Config::parse(r#"{"oisp":{}}"#).unwrap();
    let grant = ask(&gateway, "phone", None).unwrap();
    let mut living = connection("tcp");
    living.identity = Some(grant.identity.clone());
    let again = |gateway: &Fake| {
        renew(gateway, &config, &living, &grant.state).map_err(|denial| (denial.reason, denial.detail))
    };
    assert_eq!(again(&gateway).unwrap().rules, grant.rules);
    gateway.scheme.valid_from.borrow_mut().insert("u1".into(), 1_700_000_001);
    assert!(again(&gateway).unwrap_err().1.contains("are void"));
    gateway.scheme.valid_from.borrow_mut().clear();
    gateway.scheme.users.borrow_mut()[0].0.enabled = false;
    assert_eq!(again(&gateway).unwrap_err().0, DenyReason::NotAuthorized);
    gateway.scheme.users.borrow_mut()[0].0.enabled = true;
    gateway.revoked.push("j1".into());
    assert!(again(&gateway).unwrap_err().1.contains("was revoked"));
}

#[test]
fn a_device_keeps_its_client_identifier_on_renewal() {
    let gateway = thing();
    let config = Config::parse(r#"{"oisp":{}}"#).unwrap();
    let grant = ask(&gateway, "d1", Some("d1")).unwrap();
    let mut living = connection("tcp");
    living.identity = Some(grant.identity.clone());
    let renewed = renew(&gateway, &config, &living, &grant.state).unwrap();
    assert_eq!((renewed.client_id, renewed.rules), (None, grant.rules));
}

#[test]
fn without_the_table_such_a_token_is_a_strangers() {
    let credentials = credentials("phone", None, Some(TOKEN));
    let refused = ask_with(&person(), "{}", &connection("tcp"), &credentials).unwrap_err();
    assert_eq!(refused.0, DenyReason::BadCredentials);
    assert!(refused.1.contains("nothing names the app"), "{}", refused.1);
}
