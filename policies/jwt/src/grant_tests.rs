//! Grants from claims.

use policy_support::wit::jose::VerifiedToken;
use policy_support::wit::types::{DenyReason, Effect, Grant};

use super::{Bearer, end, grant};
use crate::config::Config;

fn token(claims: &str) -> VerifiedToken {
    VerifiedToken {
        header: "{}".into(),
        claims: claims.into(),
        issuer: None,
        subject: Some("ann".into()),
        audience: vec![],
        expires_at: Some(2_000),
        issued_at: None,
        id: Some("t1".into()),
    }
}

fn ask(config: &str, claims: &str) -> Result<Grant, (DenyReason, String)> {
    let token = token(claims);
    let bearer = Bearer {
        token: &token,
        subject: "ann",
        app: Some("app1"),
        client_id: "c",
        devices: vec!["d1".into(), "d2".into()],
    };
    grant(&Config::parse(config).unwrap(), &bearer, 1_000).map_err(|denial| (denial.reason, denial.detail))
}

fn filters(config: &str, claims: &str) -> Result<Vec<String>, String> {
    match ask(config, claims) {
        Ok(grant) => Ok(grant.rules.into_iter().map(|rule| rule.filter).collect()),
        Err((_, detail)) => Err(detail),
    }
}

#[test]
fn the_defaults_are_the_devices_and_a_branch_of_ones_own() {
    let grant = ask("{}", "not looked at").unwrap();
    let filters: Vec<_> = grant.rules.iter().map(|rule| rule.filter.as_str()).collect();
    assert_eq!(filters, ["d1/stream", "d2/stream", "d1/control", "d2/control", "app1/ann/#"]);
    assert_eq!(grant.expires_at, Some(2_000));
    assert_eq!(grant.depends_on, ["consumer:ann", "app:app1", "token:t1"]);
    assert_eq!((grant.identity.subject.as_str(), grant.identity.tenant.as_deref()), ("ann", Some("app1")));
}

#[test]
fn claims_fill_rules() {
    let config = r#"{"rules":[{"actions":"subscribe","filter":"{claim.org.site}/{claim.rooms}/{client-id}"}]}"#;
    assert_eq!(filters(config, r#"{"org":{"site":"s"},"rooms":["a","b"]}"#), Ok(vec!["s/a/c".into(), "s/b/c".into()]));
    assert_eq!(filters(config, r#"{"org":{"site":"s"},"rooms":"a"}"#), Ok(vec!["s/a/c".into()]));
    assert_eq!(filters(config, r#"{"rooms":["a"]}"#), Ok(vec![]));
    for (claims, part) in [
        (r#"{"org":{"site":"s"},"rooms":7}"#, "{claim.rooms} cannot be written into a topic filter: it is neither"),
        (r#"{"org":{"site":"s"},"rooms":["a","+"]}"#, "it contains `+`"),
        (
            r#"{"org":{"site":"a/b"},"rooms":["a"]}"#,
            "{claim.org.site} cannot be written into a topic filter: it contains `/`",
        ),
        ("[", "the claims cannot be read"),
    ] {
        let error = filters(config, claims).unwrap_err();
        assert!(error.contains(part), "{claims}: {error}");
    }
}

#[test]
fn roles_come_from_a_claim_and_decide_about_rules() {
    let config = r#"{"roles-claim":"r.names","rules":[
        {"actions":"publish","filter":"a"},{"actions":"publish","filter":"b","role":"operator"}]}"#;
    let of = |claims| ask(config, claims).map(|grant| (grant.identity.roles, grant.rules.len()));
    assert_eq!(of(r#"{"r":{"names":["user","operator"]}}"#), Ok((vec!["user".into(), "operator".into()], 2)));
    assert_eq!(of(r#"{"r":{"names":"operator"}}"#), Ok((vec!["operator".into()], 2)));
    assert_eq!(of("{}"), Ok((vec![], 1)));
    assert_eq!(of(r#"{"r":{"names":[1]}}"#).unwrap_err().0, DenyReason::BadCredentials);
    let many = format!(r#"{{"r":{{"names":[{}"x"]}}}}"#, r#""x","#.repeat(256));
    assert_eq!(of(&many).unwrap_err().0, DenyReason::BadCredentials);
}

#[test]
fn a_claim_may_bring_rules_within_bounds() {
    let claims = |rule: &str| format!(r#"{{"mqtt":[{rule}]}}"#);
    let config = r#"{"rules-claim":"mqtt","rules":[]}"#;
    let allowed = filters(config, &claims(r#"{"actions":["publish"],"filter":"app1/x/+","max-qos":0}"#));
    assert_eq!(allowed, Ok(vec!["app1/x/+".into()]));
    for (rule, part) in [
        (r##"{"actions":"publish","filter":"#"}"##, "lies outside of what `rules-within` permits"),
        (r#"{"actions":"publish","filter":"app2/x"}"#, "lies outside"),
        (r#"{"actions":"publish","filter":"+/x"}"#, "lies outside"),
        (r#"{"actions":"publish","filter":"app1/a+"}"#, "`mqtt.0.filter`: it has a wildcard beside"),
        (r#"{"actions":"publish","filter":"app1/x","qos":1}"#, "`mqtt.0.qos`: there is no such key"),
        (r#"{"actions":"all","filter":"app1/x"}"#, "found \"all\""),
        ("1", "`mqtt.0`: expected an object"),
    ] {
        let error = filters(config, &claims(rule)).unwrap_err();
        assert!(error.contains(part), "{rule}: {error}");
    }
    let denied = ask(config, &claims(r##"{"effect":"deny","actions":"publish","filter":"#"}"##)).unwrap();
    assert_eq!(denied.rules[0].effect, Effect::Deny);
    assert_eq!(filters(config, "{}"), Ok(vec![]));
    assert!(filters(config, r#"{"mqtt":{}}"#).is_err());
    let many = claims(&vec![r#"{"actions":"publish","filter":"app1/x"}"#; 257].join(","));
    assert!(filters(config, &many).unwrap_err().contains("more than 256"));

    let wider = r#"{"rules-claim":"mqtt","rules":[],"rules-within":["{device}/#","all/{sub}/+"]}"#;
    assert!(filters(wider, &claims(r#"{"actions":"publish","filter":"d2/a/b"}"#)).is_ok());
    assert!(filters(wider, &claims(r#"{"actions":"publish","filter":"all/ann/a"}"#)).is_ok());
    assert!(filters(wider, &claims(r#"{"actions":"publish","filter":"all/bob/a"}"#)).is_err());
}

#[test]
fn a_session_ends_with_its_token() {
    assert_eq!(end(2_000, 1_000, 30), 2_000);
    assert_eq!(end(1_000, 1_000, 30), 1_030);
    assert_eq!(end(990, 1_000, 30), 1_020);
}
