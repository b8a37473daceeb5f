//! Logins with keys, against a directory in memory.

use policy_support::fake::{Fake, connection, credentials, device, http};
use policy_support::wit::directory::{Device, Key};
use policy_support::wit::types::{Actions, Connection, Credentials, DenyReason, Grant, Identity};

use super::{authenticate, renew};
use crate::config::Config;

const SECRET: &str = "sk_0123456789012345678901234567890123456789ABcde";
const RESET: &str = "rk_0123456789012345678901234567890123456789ABcde";

fn key(kind: &str, owner: &str) -> Key {
    Key {
        id: "k1".into(),
        kind: kind.into(),
        owner: owner.into(),
        created_at: 0,
        expires_at: Some(5_000),
        last_used_at: None,
        attributes: vec![],
    }
}

/// `ann` owns a device in `app1` and one in `app2`.
fn gateway(secret: &str, key: Key) -> Fake {
    let owned = |id: &str, namespace: &str, app: &str| Device {
        owner_id: Some("ann".into()),
        app_id: Some(app.into()),
        ..device(id, namespace)
    };
    Fake { keys: vec![(secret.into(), key)], ..Fake::default() }
        .with_device(owned("d1", "thermo_a1b2c3", "app1"))
        .with_device(owned("d2", "lamp_d4e5f6", "app2"))
}

fn of_app() -> Fake {
    gateway(SECRET, key("secret", "app:app1"))
}

fn ask(
    gateway: &Fake,
    config: &str,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Option<Grant>, DenyReason> {
    authenticate(gateway, &Config::parse(config).unwrap(), connection, credentials).map_err(|denial| denial.reason)
}

fn on_mqtt(gateway: &Fake, config: &str, consumer: Option<&str>, secret: &str) -> Result<Option<Grant>, DenyReason> {
    ask(gateway, config, &connection("tcp"), &credentials("backend", consumer, Some(secret)))
}

fn filters(grant: &Grant) -> Vec<&str> {
    grant.rules.iter().map(|rule| rule.filter.as_str()).collect()
}

#[test]
fn a_key_acts_for_a_consumer_of_its_app() {
    let grant = on_mqtt(&of_app(), "{}", Some("ann"), SECRET).unwrap().unwrap();
    assert_eq!(filters(&grant), ["thermo_a1b2c3/stream", "thermo_a1b2c3/control", "app1/ann/#"]);
    let identity = &grant.identity;
    assert_eq!((identity.scheme.as_str(), identity.subject.as_str()), ("api-key", "k1"));
    assert_eq!((identity.tenant.as_deref(), identity.acting_for.as_deref()), (Some("app1"), Some("ann")));
    assert_eq!(grant.depends_on, ["key:k1", "app:app1", "consumer:ann"]);
    assert_eq!(grant.expires_at, Some(5_000));
    let on_http = of_app().with_header("x-api-key", SECRET).with_header("x-on-behalf-of", "ann");
    let grant = ask(&on_http, "{}", &http(), &credentials("", None, None)).unwrap().unwrap();
    assert_eq!(grant.identity.acting_for.as_deref(), Some("ann"));
    assert!(grant.state.is_empty(), "nothing is kept on HTTP");
}

#[test]
fn unknown_keys_and_wrong_kinds_are_refused() {
    assert_eq!(on_mqtt(&Fake::default(), "{}", Some("ann"), SECRET), Err(DenyReason::BadCredentials));
    let wrong = gateway(SECRET, key("reset", "app:app1"));
    assert_eq!(on_mqtt(&wrong, "{}", Some("ann"), SECRET), Err(DenyReason::BadCredentials));
    for owner in ["user:u1", "device:d1", "app:", "app1"] {
        let gateway = gateway(SECRET, key("secret", owner));
        assert_eq!(on_mqtt(&gateway, "{}", Some("ann"), SECRET), Err(DenyReason::NotAuthorized), "{owner}");
    }
}

#[test]
fn a_consumer_must_be_named_unless_configured() {
    assert_eq!(on_mqtt(&of_app(), "{}", None, SECRET), Err(DenyReason::Malformed));
    let grant = on_mqtt(&of_app(), r#"{"require-consumer":false}"#, None, SECRET).unwrap().unwrap();
    assert_eq!((filters(&grant), grant.identity.acting_for.as_deref()), (vec![], None));
    for bad in ["a\u{1}", &"x".repeat(513)] {
        assert_eq!(on_mqtt(&of_app(), "{}", Some(bad), SECRET), Err(DenyReason::Malformed));
    }
    assert_eq!(on_mqtt(&of_app(), "{}", Some("+"), SECRET), Err(DenyReason::NotAuthorized));
}

#[test]
fn a_consumers_own_key_is_for_nobody_else() {
    let mut own = key("secret", "consumer:ann");
    own.attributes = vec![("app-id".into(), "app1".into())];
    let gateway = gateway(SECRET, own);
    for named in [None, Some("ann")] {
        let grant = on_mqtt(&gateway, "{}", named, SECRET).unwrap().unwrap();
        assert_eq!(filters(&grant), ["thermo_a1b2c3/stream", "thermo_a1b2c3/control", "app1/ann/#"]);
    }
    assert_eq!(on_mqtt(&gateway, "{}", Some("bob"), SECRET), Err(DenyReason::NotAuthorized));
}

#[test]
fn reset_keys_only_reset() {
    let gateway = gateway(RESET, key("reset", "app:app1"));
    assert_eq!(on_mqtt(&gateway, "{}", Some("ann"), RESET), Err(DenyReason::NotAuthorized));
    assert_eq!(gateway.calls.get(), 0, "not even looked up");
    let grant = on_mqtt(&gateway, r#"{"reset-keys":true}"#, Some("ann"), RESET).unwrap().unwrap();
    assert_eq!(filters(&grant), ["$reset/thermo_a1b2c3"]);
    assert_eq!(grant.rules[0].actions, Actions::PUBLISH);
}

#[test]
fn a_devices_client_id_is_not_to_be_had() {
    let login = credentials("lamp_d4e5f6", Some("ann"), Some(SECRET));
    assert_eq!(ask(&of_app(), "{}", &connection("tcp"), &login), Err(DenyReason::ClientIdNotValid));
}

fn known(subject: &str, acting_for: Option<&str>) -> Connection {
    let identity = Identity {
        scheme: "api-key".into(),
        subject: subject.into(),
        tenant: Some("app1".into()),
        acting_for: acting_for.map(Into::into),
        roles: vec![],
        attributes: vec![],
    };
    Connection { identity: Some(identity), ..connection("tcp") }
}

#[test]
fn re_authentication_keeps_the_consumer() {
    let mut exchange = credentials("backend", None, None);
    exchange.method = Some("API-KEY".into());
    exchange.data = Some(SECRET.into());
    let grant = ask(&of_app(), "{}", &known("k1", Some("ann")), &exchange).unwrap().unwrap();
    assert_eq!(grant.identity.acting_for.as_deref(), Some("ann"));
    assert_eq!(ask(&of_app(), "{}", &connection("tcp"), &exchange), Err(DenyReason::Malformed));
}

#[test]
fn a_login_is_looked_at_again() {
    let config = Config::parse("{}").unwrap();
    let state = on_mqtt(&of_app(), "{}", Some("ann"), SECRET).unwrap().unwrap().state;
    let again = |gateway: &Fake, state: &[u8]| {
        let renewed = renew(gateway, &config, &known("k1", Some("ann")), state);
        renewed.map(|grant| grant.identity.acting_for).map_err(|denial| denial.reason)
    };
    assert_eq!(again(&of_app(), &state), Ok(Some("ann".into())));
    assert_eq!(again(&Fake::default(), &state), Err(DenyReason::BadCredentials));
    let another = gateway(SECRET, Key { id: "k2".into(), ..key("secret", "app:app1") });
    assert_eq!(again(&another, &state), Err(DenyReason::BadCredentials));
    assert_eq!(again(&of_app(), &[1, 0]), Err(DenyReason::NotAuthorized));
}
