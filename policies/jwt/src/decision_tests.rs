//! Logins with tokens, against a gateway in memory.

use policy_support::fake::{Fake, connection, credentials, device, http};
use policy_support::wit::jose::{Error, KeySource, UnverifiedToken, VerifiedToken};
use policy_support::wit::types::{Connection, Credentials, DenyReason, Grant, Identity};

use super::{authenticate, probe, renew};
use crate::config::Config;

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln";

fn token(subject: &str) -> VerifiedToken {
    VerifiedToken {
        header: "{}".into(),
        claims: "{}".into(),
        issuer: None,
        subject: Some(subject.into()),
        audience: vec![],
        expires_at: Some(2_000),
        issued_at: None,
        id: Some("t1".into()),
    }
}

/// The app `app1` signs tokens of `ann`; the issuer `idp` those of `bob`.
fn gateway() -> Fake {
    let mut owned = device("d1", "thermo_a1b2c3");
    owned.app_id = Some("app1".into());
    owned.owner_id = Some("ann".into());
    Fake {
        now: 1_000,
        verifier: Some(Box::new(|_, requirements| match &requirements.keys {
            KeySource::App(app) if app == "app1" => Ok(token("ann")),
            KeySource::Pem(_) => Ok(VerifiedToken { issuer: Some("idp".into()), ..token("bob") }),
            _ => Err(Error::BadSignature),
        })),
        ..Fake::default().with_app("app1", true).with_app("app2", true).with_app("off", false).with_device(owned)
    }
}

fn failing(error: Error) -> Fake {
    Fake { verifier: Some(Box::new(move |_, _| Err(error.clone()))), ..gateway() }
}

fn saying(issuer: Option<&str>, claims: &str) -> Fake {
    let unverified = UnverifiedToken {
        header: "{}".into(),
        claims: claims.into(),
        algorithm: "ES256".into(),
        key_id: None,
        issuer: issuer.map(Into::into),
    };
    Fake { unverified: vec![(TOKEN.into(), unverified)], ..gateway() }
}

fn login(username: Option<&str>) -> Credentials {
    credentials("phone", username, Some(TOKEN))
}

fn ask(
    gateway: &Fake,
    config: &str,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Option<Grant>, DenyReason> {
    authenticate(gateway, &Config::parse(config).unwrap(), connection, credentials).map_err(|denial| denial.reason)
}

fn subject(answer: Result<Option<Grant>, DenyReason>) -> Result<(String, Option<String>), DenyReason> {
    answer.map(|grant| grant.map(|grant| (grant.identity.subject, grant.identity.tenant)).unwrap())
}

fn is(subject: &str, tenant: &str) -> Result<(String, Option<String>), DenyReason> {
    Ok((subject.into(), Some(tenant.into())))
}

#[test]
fn the_user_name_names_the_app() {
    let ask = |username| ask(&gateway(), "{}", &connection("tcp"), &login(username));
    assert_eq!(subject(ask(Some("app1"))), is("ann", "app1"));
    for (username, reason) in [
        (Some("app2"), DenyReason::BadCredentials),
        (Some("nobody"), DenyReason::BadCredentials),
        (Some("off"), DenyReason::NotAuthorized),
        (None, DenyReason::BadCredentials),
    ] {
        assert_eq!(ask(username), Err(reason), "{username:?}");
    }
}

#[test]
fn the_grant_reaches_the_devices_of_the_consumer() {
    let grant = ask(&gateway(), "{}", &connection("tcp"), &login(Some("app1"))).unwrap().unwrap();
    let filters: Vec<_> = grant.rules.iter().map(|rule| rule.filter.as_str()).collect();
    assert_eq!(filters, ["thermo_a1b2c3/stream", "thermo_a1b2c3/control", "app1/ann/#"]);
    assert_eq!(grant.depends_on, ["consumer:ann", "app:app1", "token:t1"]);
    assert_eq!(grant.client_id, None);
}

#[test]
fn headers_name_the_app() {
    let bearer = || gateway().with_header("authorization", &format!("Bearer {TOKEN}"));
    let nothing = credentials("", None, None);
    assert_eq!(subject(ask(&bearer().with_header("x-app-id", "app1"), "{}", &http(), &nothing)), is("ann", "app1"));
    assert_eq!(ask(&bearer(), "{}", &http(), &nothing), Err(DenyReason::BadCredentials));
    let upgrade = bearer().with_header("x-app-id", "app1");
    assert_eq!(
        subject(ask(&upgrade, "{}", &connection("wss"), &credentials("c", Some("ann"), None))),
        is("ann", "app1")
    );
    assert_eq!(
        ask(&upgrade, "{}", &connection("wss"), &credentials("c", Some("bob"), None)),
        Err(DenyReason::BadCredentials)
    );
}

#[test]
fn the_configuration_or_a_claim_may_name_the_app() {
    let fixed = r#"{"app":"app1"}"#;
    for username in [None, Some("ann"), Some("app1"), Some("")] {
        assert_eq!(subject(ask(&gateway(), fixed, &connection("tcp"), &login(username))), is("ann", "app1"));
    }
    assert_eq!(ask(&gateway(), fixed, &connection("tcp"), &login(Some("x"))), Err(DenyReason::BadCredentials));
    let any = r#"{"app":"app1","username":"any"}"#;
    assert_eq!(subject(ask(&gateway(), any, &connection("tcp"), &login(Some("x")))), is("ann", "app1"));
    let contradiction = gateway().with_header("x-app-id", "app2");
    assert_eq!(ask(&contradiction, fixed, &connection("ws"), &login(None)), Err(DenyReason::BadCredentials));

    let by_claim = r#"{"app-claim":"x.app"}"#;
    let named = saying(None, r#"{"x":{"app":"app1"}}"#);
    assert_eq!(subject(ask(&named, by_claim, &connection("tcp"), &login(Some("ann")))), is("ann", "app1"));
    let forged = saying(None, r#"{"x":{"app":"app2"}}"#);
    assert_eq!(ask(&forged, by_claim, &connection("tcp"), &login(Some("ann"))), Err(DenyReason::BadCredentials));
}

#[test]
fn trusted_issuers_have_keys_of_their_own() {
    let config = r#"{"apps":false,"issuers":[{"issuer":"idp","keys":{"pem":"p"}}]}"#;
    assert_eq!(
        subject(ask(&saying(Some("idp"), "{}"), config, &connection("tcp"), &login(Some("bob")))),
        is("bob", "idp")
    );
    assert_eq!(
        ask(&saying(Some("other"), "{}"), config, &connection("tcp"), &login(Some("app1"))),
        Err(DenyReason::BadCredentials)
    );
    let of_app = r#"{"issuers":[{"issuer":"idp","keys":{"pem":"p"},"app":"app2"}]}"#;
    assert_eq!(subject(ask(&saying(Some("idp"), "{}"), of_app, &connection("tcp"), &login(None))), is("bob", "app2"));
    // Another issuer, or none: the app's keys.
    assert_eq!(subject(ask(&saying(None, "{}"), of_app, &connection("tcp"), &login(Some("app1")))), is("ann", "app1"));
}

#[test]
fn foreign_tokens_may_be_passed_and_bad_ones_never() {
    let pass = r#"{"foreign-tokens":"pass"}"#;
    for username in [None, Some("nobody")] {
        assert_eq!(ask(&gateway(), pass, &connection("tcp"), &login(username)), Ok(None));
    }
    assert_eq!(ask(&gateway(), pass, &connection("tcp"), &login(Some("app2"))), Err(DenyReason::BadCredentials));
}

#[test]
fn what_the_gateway_finds_decides() {
    for (error, reason) in [
        (Error::BadSignature, DenyReason::BadCredentials),
        (Error::Expired(1), DenyReason::BadCredentials),
        (Error::NotYetValid(9_999), DenyReason::BadCredentials),
        (Error::BadClaim("aud".into()), DenyReason::BadCredentials),
        (Error::AlgorithmNotAllowed("none".into()), DenyReason::BadCredentials),
        (Error::UnknownKey("kid".into()), DenyReason::BadCredentials),
        (Error::Malformed("x".into()), DenyReason::BadCredentials),
        (Error::KeysUnavailable("x".into()), DenyReason::Unavailable),
        (Error::NotAllowed("x".into()), DenyReason::Unavailable),
        (Error::Other("x".into()), DenyReason::Unavailable),
    ] {
        assert_eq!(
            ask(&failing(error.clone()), "{}", &connection("tcp"), &login(Some("app1"))),
            Err(reason),
            "{error:?}"
        );
    }
}

#[test]
fn subjects_are_checked() {
    for subject in ["", "a\u{7}b", &"x".repeat(513)] {
        let token = token(subject);
        let gateway = Fake { verifier: Some(Box::new(move |_, _| Ok(token.clone()))), ..gateway() };
        assert_eq!(ask(&gateway, "{}", &connection("tcp"), &login(Some("app1"))), Err(DenyReason::BadCredentials));
    }
    let slashed = Fake { verifier: Some(Box::new(|_, _| Ok(token("a/b")))), ..gateway() };
    assert_eq!(ask(&slashed, "{}", &connection("tcp"), &login(Some("app1"))), Err(DenyReason::BadCredentials));
    assert!(
        ask(&slashed, r#"{"rules":[{"actions":"publish","filter":"x"}]}"#, &connection("tcp"), &login(Some("app1")))
            .is_ok()
    );
}

#[test]
fn revoked_tokens_are_refused() {
    let revoked = Fake { revoked: vec!["t1".into()], ..gateway() };
    assert_eq!(ask(&revoked, "{}", &connection("tcp"), &login(Some("app1"))), Err(DenyReason::BadCredentials));
}

#[test]
fn client_identifiers_are_bound() {
    let ask = |config: &str, client_id: &str| {
        ask(&gateway(), config, &connection("tcp"), &credentials(client_id, Some("app1"), Some(TOKEN)))
            .map(|grant| grant.unwrap().client_id)
    };
    let (any, sub, prefix) = ("{}", r#"{"client-id":"sub"}"#, r#"{"client-id":"prefix"}"#);
    let refused = Err(DenyReason::ClientIdNotValid);
    assert_eq!(ask(any, "thermo_a1b2c3"), refused, "a device's");
    assert_eq!(ask(any, ""), Ok(None));
    assert_eq!(ask(any, "whatever"), Ok(None));
    assert_eq!(ask(sub, "ann"), Ok(None));
    assert_eq!(ask(sub, ""), Ok(Some("ann".into())));
    assert_eq!(ask(sub, "ann-phone"), refused);
    for good in ["ann", "ann-phone", "ann:1", "ann/a", ""] {
        assert_eq!(ask(prefix, good), Ok(None), "{good}");
    }
    for bad in ["anna", "bob", "phone-ann", "an"] {
        assert_eq!(ask(prefix, bad), refused, "{bad}");
    }
}

fn known(subject: &str, scheme: &str) -> Connection {
    let identity = Identity {
        scheme: scheme.into(),
        subject: subject.into(),
        tenant: Some("app1".into()),
        acting_for: None,
        roles: vec![],
        attributes: vec![],
    };
    Connection { identity: Some(identity), ..connection("tcp") }
}

#[test]
fn a_token_is_exchanged_on_a_connection() {
    let mut exchange = credentials("phone", None, None);
    exchange.method = Some("JWT".into());
    exchange.data = Some(TOKEN.into());
    assert_eq!(subject(ask(&gateway(), "{}", &known("ann", "jwt"), &exchange)), is("ann", "app1"));
    assert_eq!(ask(&gateway(), "{}", &known("bob", "jwt"), &exchange), Err(DenyReason::BadCredentials));
    assert_eq!(ask(&gateway(), "{}", &known("ann", "device"), &exchange), Err(DenyReason::BadCredentials));
}

#[test]
fn a_login_is_looked_at_again() {
    let config = Config::parse("{}").unwrap();
    let grant = ask(&gateway(), "{}", &connection("tcp"), &login(Some("app1"))).unwrap().unwrap();
    let again = |gateway: &Fake, state: &[u8]| {
        let renewed = renew(gateway, &config, &known("ann", "jwt"), state);
        renewed.map(|grant| grant.rules.len()).map_err(|denial| denial.reason)
    };
    assert_eq!(again(&gateway(), &grant.state), Ok(3));
    let mut more = device("d2", "lamp_d4e5f6");
    (more.owner_id, more.app_id) = (Some("ann".into()), Some("app1".into()));
    assert_eq!(again(&gateway().with_device(more), &grant.state), Ok(5));
    let revoked = Fake { revoked: vec!["t1".into()], ..gateway() };
    assert_eq!(again(&revoked, &grant.state), Err(DenyReason::BadCredentials));
    let rotated = failing(Error::BadSignature);
    assert_eq!(again(&rotated, &grant.state), Err(DenyReason::BadCredentials));
    assert_eq!(again(&gateway(), &[]), Err(DenyReason::NotAuthorized));

    let long = format!("{TOKEN}{}", "A".repeat(8192));
    let grant =
        ask(&gateway(), "{}", &connection("tcp"), &credentials("c", Some("app1"), Some(&long))).unwrap().unwrap();
    assert!(grant.state.is_empty());
}

/// What was asked of the token when it came says nothing about now.
#[test]
fn a_login_is_looked_at_again_by_the_keys_and_the_configuration_of_now() {
    let gateway = || Fake {
        verifier: Some(Box::new(|text, requirements| match &requirements.keys {
            _ if text != TOKEN => Err(Error::Malformed("another token".into())),
            KeySource::Pem(key) if key != "p" => Err(Error::BadSignature),
            KeySource::Pem(_) if !requirements.audiences.is_empty() => Err(Error::BadClaim("aud".into())),
            KeySource::Pem(_) if requirements.algorithms == ["RS256"] => {
                Err(Error::AlgorithmNotAllowed("ES256".into()))
            }
            KeySource::Pem(_) => Ok(VerifiedToken { issuer: Some("idp".into()), ..token("bob") }),
            _ => Err(Error::KeysUnavailable("it does not answer".into())),
        })),
        ..saying(Some("idp"), "{}")
    };
    let config = |more: &str| format!(r#"{{"apps":false,"issuers":[{{"issuer":"idp",{more}}}]}}"#);
    let good = config(r#""keys":{"pem":"p"}"#);
    let grant = ask(&gateway(), &good, &connection("tcp"), &login(Some("bob"))).unwrap().unwrap();
    let again = |config: &str| {
        let connection = Connection { identity: Some(grant.identity.clone()), ..connection("tcp") };
        let renewed = renew(&gateway(), &Config::parse(config).unwrap(), &connection, &grant.state);
        renewed.map(|again| again == grant).map_err(|denial| denial.reason)
    };
    assert_eq!(again(&good), Ok(true));
    for (changed, reason) in [
        (config(r#""keys":{"pem":"q"}"#), DenyReason::BadCredentials),
        (config(r#""keys":{"pem":"p"},"algorithms":"RS256""#), DenyReason::BadCredentials),
        (config(r#""keys":{"pem":"p"},"audience":"elsewhere""#), DenyReason::BadCredentials),
        (config(r#""keys":{"jwks-url":"https://idp.example/keys"}"#), DenyReason::Unavailable),
        (good.replace("idp", "other"), DenyReason::BadCredentials),
    ] {
        assert_eq!(again(&changed), Err(reason), "{changed}");
    }
}

#[test]
fn on_http_nothing_is_kept() {
    let gateway = gateway().with_header("authorization", &format!("Bearer {TOKEN}")).with_header("x-app-id", "app1");
    assert!(ask(&gateway, "{}", &http(), &credentials("", None, None)).unwrap().unwrap().state.is_empty());
}

#[test]
fn the_probe_names_what_is_not_granted() {
    let config = Config::parse(r#"{"issuers":[{"issuer":"idp","keys":{"jwks-url":"https://example.com"}}]}"#).unwrap();
    assert_eq!(probe(&failing(Error::BadSignature), &config), Ok(()));
    assert_eq!(probe(&failing(Error::KeysUnavailable("down".into())), &config), Ok(()));
    let error = probe(&failing(Error::NotAllowed("add `allow`".into())), &config).unwrap_err();
    assert_eq!(error, "`issuers.0.keys`: add `allow`");
    assert!(probe(&Fake { verifier: Some(Box::new(|_, _| Ok(token("x")))), ..gateway() }, &config).is_err());
}
