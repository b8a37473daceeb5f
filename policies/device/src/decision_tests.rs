//! Logins of devices, against a directory in memory.

use policy_support::fake::{Fake, connection, credentials, device, http};
use policy_support::wit::directory::Device;
use policy_support::wit::peer::{AlternativeName, Certificate};
use policy_support::wit::types::{Actions, Connection, Credentials, DenyReason, Grant, Identity, Qos};

use super::{authenticate, renew};
use crate::config::Config;

const NS: &str = "thermo_a1b2c3";

fn config(json: &str) -> Config {
    Config::parse(json).unwrap()
}

fn ask(gateway: &Fake, connection: &Connection, credentials: &Credentials) -> Result<Option<Grant>, DenyReason> {
    authenticate(gateway, &config("{}"), connection, credentials).map_err(|denial| denial.reason)
}

fn certificate() -> Certificate {
    Certificate {
        subject: "CN=thermo,O=Example".into(),
        common_name: Some("thermo".into()),
        issuer: "CN=CA".into(),
        serial: "01".into(),
        fingerprint: "f1".into(),
        not_before_at: 0,
        not_after_at: 2_000,
        alternative_names: vec![],
        der: vec![],
    }
}

fn certified() -> Device {
    Device { credential: "x509".into(), ..device("d2", NS) }
}

fn by_name() -> Fake {
    Fake::default().with_device(device("d1", NS))
}

fn by_certificate() -> Fake {
    Fake { certificate: Some(certificate()), ..Fake::default().with_certified_device(certified(), "f1") }
}

#[test]
fn a_user_name_without_password_admits_with_the_default_rules() {
    for password in [None, Some("")] {
        let grant = ask(&by_name(), &connection("tcp"), &credentials(NS, Some(NS), password)).unwrap().unwrap();
        assert_eq!((grant.identity.scheme.as_str(), grant.identity.subject.as_str()), ("device", "d1"));
        assert_eq!(grant.depends_on, ["device:d1"]);
        let rules: Vec<_> = grant.rules.iter().map(|r| (r.filter.as_str(), r.actions, r.max_qos)).collect();
        let most = Qos::ExactlyOnce;
        assert_eq!(
            rules,
            [
                ("thermo_a1b2c3/stream", Actions::PUBLISH | Actions::WILL, most),
                ("$reset/thermo_a1b2c3", Actions::PUBLISH, most),
                ("thermo_a1b2c3/control", Actions::SUBSCRIBE, most),
            ]
        );
    }
}

#[test]
fn a_password_is_refused_where_there_must_be_none_and_passed_elsewhere() {
    let ask = |credentials| ask(&by_name(), &connection("tcp"), &credentials);
    assert_eq!(ask(credentials(NS, Some(NS), Some("x"))), Err(DenyReason::BadCredentials));
    assert_eq!(ask(credentials("other", Some("other"), Some("x"))), Ok(None));
    assert_eq!(ask(credentials("other", None, Some("x"))), Ok(None));
}

#[test]
fn other_schemes_are_passed_on_without_a_call() {
    let gateway = by_name();
    let mut with_method = credentials(NS, Some(NS), None);
    with_method.method = Some("JWT".into());
    assert_eq!(ask(&gateway, &connection("tls"), &with_method), Ok(None));
    assert_eq!(ask(&gateway, &connection("tls"), &credentials("c", Some("app"), Some("eyJ"))), Ok(None));
    assert_eq!(ask(&gateway, &connection("tcp"), &credentials("c", None, None)), Ok(None));
    assert_eq!(gateway.calls.get(), 0);
}

#[test]
fn the_client_id_must_be_the_devices() {
    for client_id in ["", "another"] {
        let answer = ask(&by_name(), &connection("tcp"), &credentials(client_id, Some(NS), None));
        assert_eq!(answer, Err(DenyReason::ClientIdNotValid), "{client_id:?}");
        let answer = ask(&by_certificate(), &connection("tls"), &credentials(client_id, None, None));
        assert_eq!(answer, Err(DenyReason::ClientIdNotValid), "{client_id:?}");
    }
}

#[test]
fn unknown_user_names_are_refused_unless_a_header_says_more() {
    let unknown = credentials("x", Some("x"), None);
    assert_eq!(ask(&by_name(), &connection("tcp"), &unknown), Err(DenyReason::BadCredentials));
    assert_eq!(ask(&by_name(), &connection("ws"), &unknown), Err(DenyReason::BadCredentials));
    let with_header = by_name().with_header("authorization", "Bearer x");
    assert_eq!(ask(&with_header, &connection("ws"), &unknown), Ok(None));
}

#[test]
fn disabled_devices_and_apps_are_refused() {
    let disabled = Fake::default().with_device(Device { enabled: false, ..device("d1", NS) });
    let login = credentials(NS, Some(NS), None);
    assert_eq!(ask(&disabled, &connection("tcp"), &login), Err(DenyReason::NotAuthorized));
    let of_app = || Fake::default().with_device(Device { app_id: Some("a1".into()), ..device("d1", NS) });
    assert_eq!(ask(&of_app(), &connection("tcp"), &login), Err(DenyReason::NotAuthorized));
    assert_eq!(ask(&of_app().with_app("a1", false), &connection("tcp"), &login), Err(DenyReason::NotAuthorized));
    let grant = ask(&of_app().with_app("a1", true), &connection("tcp"), &login).unwrap().unwrap();
    assert_eq!((grant.identity.tenant.as_deref(), grant.depends_on.len()), (Some("a1"), 2));
}

#[test]
fn a_certificate_is_its_device() {
    for username in [None, Some(""), Some(NS)] {
        let grant = ask(&by_certificate(), &connection("wss"), &credentials(NS, username, None)).unwrap().unwrap();
        assert_eq!(grant.identity.subject, "d2");
        assert_eq!(grant.expires_at, Some(2_000));
        assert_eq!(grant.depends_on, ["device:d2", "certificate:f1"]);
    }
    let of_another = credentials(NS, Some("another"), None);
    assert_eq!(ask(&by_certificate(), &connection("tls"), &of_another), Err(DenyReason::BadCredentials));
    let on_http =
        ask(&by_certificate(), &Connection { transport: "tls".into(), ..http() }, &credentials("", None, None));
    assert!(on_http.unwrap().is_some());
}

#[test]
fn the_directory_may_name_the_subject_instead() {
    for (name, value, admitted) in [
        ("certificate-subject", "CN=thermo,O=Example", true),
        ("certificate-common-name", "thermo", true),
        ("certificate-subject", "CN=thermo", false),
        ("certificate-common-name", "", false),
    ] {
        let device = Device { attributes: vec![(name.into(), value.into())], ..certified() };
        let gateway = Fake { certificate: Some(certificate()), ..Fake::default().with_device(device) };
        let answer = ask(&gateway, &connection("tls"), &credentials(NS, None, None));
        assert_eq!(answer.is_ok(), admitted, "{name} = {value}");
    }
}

#[test]
fn a_device_with_a_certificate_does_not_come_in_without() {
    let gateway = Fake::default().with_certified_device(certified(), "f1");
    let answer = ask(&gateway, &connection("tls"), &credentials(NS, Some(NS), None));
    assert_eq!(answer, Err(DenyReason::BadCredentials));
    let named_wrongly =
        Fake { certificate: Some(certificate()), ..Fake::default().with_certified_device(device("d", NS), "f1") };
    assert_eq!(ask(&named_wrongly, &connection("tls"), &credentials(NS, None, None)), Err(DenyReason::BadCredentials));
}

#[test]
fn unknown_certificates_are_refused_or_passed() {
    let gateway = || Fake { certificate: Some(certificate()), ..Fake::default() };
    let login = credentials("c", None, None);
    assert_eq!(ask(&gateway(), &connection("tls"), &login), Err(DenyReason::BadCredentials));
    assert_eq!(ask(&gateway().with_header("x-api-key", "sk_"), &connection("wss"), &login), Ok(None));
    let pass = config(r#"{"unknown-certificate":"pass"}"#);
    assert_eq!(authenticate(&gateway(), &pass, &connection("tls"), &login), Ok(None));
    let names_only = config(r#"{"credentials":"username"}"#);
    assert_eq!(
        authenticate(&by_certificate(), &names_only, &connection("tls"), &credentials(NS, None, None)),
        Ok(None)
    );
}

#[test]
fn rules_are_configurable() {
    let config = config(
        r#"{"rules":[{"actions":"publish","filter":"{app}/{attribute.room}/{device-id}"},
                     {"actions":"subscribe","filter":"{owner}/{client-id}/+","max-qos":1}]}"#,
    );
    let mut device = device("d1", NS);
    device.attributes = vec![("room".into(), "attic".into())];
    device.owner_id = Some("ann".into());
    let login = credentials(NS, Some(NS), None);
    let filters = |device: &Device| {
        let gateway = Fake::default().with_device(device.clone()).with_app("a1", true);
        let grant = authenticate(&gateway, &config, &connection("tcp"), &login);
        grant.map(|grant| grant.unwrap().rules.into_iter().map(|rule| rule.filter).collect::<Vec<_>>())
    };
    // Without an app there is nothing to write for it.
    assert_eq!(filters(&device), Ok(vec!["ann/thermo_a1b2c3/+".into()]));
    device.app_id = Some("a1".into());
    assert_eq!(filters(&device).unwrap()[0], "a1/attic/d1");
    device.owner_id = Some("ann/+".into());
    assert_eq!(filters(&device).unwrap_err().reason, DenyReason::NotAuthorized);
}

#[test]
fn a_login_is_looked_at_again() {
    let state = |gateway: &Fake, transport, username| {
        let grant = ask(gateway, &connection(transport), &credentials(NS, username, None)).unwrap().unwrap();
        (grant.identity, grant.state)
    };
    let again = |gateway: &Fake, (identity, state): &(Identity, Vec<u8>)| {
        renew(gateway, &config("{}"), Some(identity), state)
            .map(|grant| grant.identity.subject)
            .map_err(|denial| denial.reason)
    };
    let named = state(&by_name(), "tcp", Some(NS));
    assert_eq!(again(&by_name(), &named), Ok("d1".into()));
    assert_eq!(again(&Fake::default(), &named), Err(DenyReason::BadCredentials));
    let disabled = Fake::default().with_device(Device { enabled: false, ..device("d1", NS) });
    assert_eq!(again(&disabled, &named), Err(DenyReason::NotAuthorized));
    let moved = Fake::default().with_device(device("d1", "thermo_z9y8x7"));
    assert_eq!(again(&moved, &named), Err(DenyReason::ClientIdNotValid));
    let hardened = Fake::default().with_device(Device { id: "d1".into(), ..certified() });
    assert_eq!(again(&hardened, &named), Err(DenyReason::BadCredentials));

    let proved = state(&by_certificate(), "tls", None);
    assert_eq!(again(&by_certificate(), &proved), Ok("d2".into()));
    let replaced = Fake::default().with_certified_device(certified(), "f2");
    assert_eq!(again(&replaced, &proved), Err(DenyReason::BadCredentials));
    assert_eq!(again(&by_name(), &(named.0, b"\x09what?".to_vec())), Err(DenyReason::NotAuthorized));
}

#[test]
fn a_silent_directory_admits_nobody() {
    let down = policy_support::deny(DenyReason::Unavailable, "down");
    let gateway = Fake { directory_down: Some(down), ..by_name() };
    assert_eq!(ask(&gateway, &connection("tcp"), &credentials(NS, Some(NS), None)), Err(DenyReason::Unavailable));
}

/// A certificate with these alternative names.
fn naming(names: &[(&str, &str)]) -> Fake {
    let named = |(kind, value): &(&str, &str)| AlternativeName { kind: (*kind).into(), value: (*value).into() };
    let certificate = Certificate { alternative_names: names.iter().map(named).collect(), ..certificate() };
    Fake { certificate: Some(certificate), ..Fake::default() }
}

const BY_DNS: &str = r#"{"certificates":[{"issuer":"CN=CA","from":"san.dns","pattern":"{name}.devices.example"}]}"#;
const BY_URI: &str = r#"{"certificates":[{"from":"san.uri","pattern":"spiffe://plant.example/{site}/{name}",
    "client-id":"{site}-{name}","registered":false,"tenant":"plant-{site}"}],
    "rules":[{"actions":"publish","filter":"sites/{attribute.site}/{device}/#"}]}"#;

fn ask_tls(gateway: &Fake, json: &str, client_id: &str) -> Result<Option<Grant>, (DenyReason, String)> {
    authenticate(gateway, &config(json), &connection("tls"), &credentials(client_id, None, None))
        .map_err(|denial| (denial.reason, denial.detail))
}

#[test]
fn an_alternative_name_names_a_registered_device() {
    let gateway = naming(&[("dns", "thermo_a1b2c3.devices.example")]).with_device(certified());
    let grant = ask_tls(&gateway, BY_DNS, NS).unwrap().unwrap();
    assert_eq!((grant.identity.subject.as_str(), grant.expires_at), ("d2", Some(2_000)));
    assert_eq!(grant.depends_on, ["device:d2", "certificate:f1"]);
    assert_eq!(renew(&gateway, &config(BY_DNS), Some(&grant.identity), &grant.state).unwrap().rules, grant.rules);
    assert!(
        renew(&gateway, &config("{}"), Some(&grant.identity), &grant.state).is_err(),
        "the operator took the entry away"
    );
    assert_eq!(ask_tls(&gateway, BY_DNS, "else").unwrap_err().0, DenyReason::ClientIdNotValid);
    let others = BY_DNS.replace("CN=CA", "CN=Another");
    assert_eq!(ask_tls(&gateway, &others, NS).unwrap_err().0, DenyReason::BadCredentials);
    let unknown = naming(&[("dns", "nobody.devices.example")]);
    assert_eq!(ask_tls(&unknown, BY_DNS, "nobody").unwrap_err().0, DenyReason::BadCredentials);
    let by_name = naming(&[("dns", "thermo_a1b2c3.devices.example")]).with_device(device("d1", NS));
    assert_eq!(ask_tls(&by_name, BY_DNS, NS).unwrap_err().0, DenyReason::BadCredentials, "it logs in otherwise");
}

#[test]
fn a_certificate_alone_makes_a_device_where_the_operator_says_so() {
    let gateway = naming(&[("dns", "x"), ("uri", "spiffe://plant.example/north/pump7")]);
    let grant = ask_tls(&gateway, BY_URI, "north-pump7").unwrap().unwrap();
    assert_eq!(grant.identity.subject, "north-pump7");
    assert_eq!(grant.identity.tenant.as_deref(), Some("plant-north"));
    assert_eq!(grant.rules[0].filter, "sites/north/north-pump7/#");
    assert_eq!((grant.depends_on.as_slice(), grant.expires_at), (&["certificate:f1".to_owned()][..], Some(2_000)));
    assert_eq!(renew(&gateway, &config(BY_URI), Some(&grant.identity), &grant.state).unwrap().rules, grant.rules);
    assert!(renew(&gateway, &config(BY_DNS), Some(&grant.identity), &grant.state).is_err());
    assert_eq!(ask_tls(&gateway, BY_URI, "north-pump8").unwrap_err().0, DenyReason::ClientIdNotValid);
    let two = naming(&[("uri", "spiffe://plant.example/north/pump7"), ("uri", "spiffe://plant.example/north/pump8")]);
    assert_eq!(ask_tls(&two, BY_URI, "north-pump7").unwrap_err().0, DenyReason::BadCredentials);
}

#[test]
fn what_the_directory_says_of_a_device_comes_before_its_certificate() {
    let uri = [("uri", "spiffe://plant.example/north/pump7")];
    let disabled = Device { enabled: false, credential: "x509".into(), ..device("d9", "north-pump7") };
    let gateway = naming(&uri).with_device(disabled);
    assert_eq!(ask_tls(&gateway, BY_URI, "north-pump7").unwrap_err().0, DenyReason::NotAuthorized);
    let grant = ask_tls(&naming(&uri), BY_URI, "north-pump7").unwrap().unwrap();
    assert!(renew(&gateway, &config(BY_URI), Some(&grant.identity), &grant.state).is_err(), "it was registered since");
    let by_name = naming(&uri).with_device(device("d9", "north-pump7"));
    assert_eq!(ask_tls(&by_name, BY_URI, "north-pump7").unwrap_err().0, DenyReason::BadCredentials);
}
