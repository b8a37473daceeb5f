use super::{Vouched, issue, provider_id, read, verify};
use crate::config::Config;
use crate::person::Person;
use crate::stage::{NOW, at, stage};
use policy_support::SchemeGateway;
use policy_support::fake::Fake;
use policy_support::fake::scheme::user;
use policy_support::wit::types::{Denial, DenyReason};
use serde_json::{Value, json};

const OTHER: &str = "e49e50aa-ffda-453f-adc8-404f68de84ae";
const KEY: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

fn config() -> Config {
    Config::parse(&format!(r#"{{"providers":[{{"id":"{OTHER}","pem":"theirs","key-id":"{KEY}","app":"shop"}}]}}"#))
        .unwrap()
}

fn check(gateway: &Fake, config: &Config, token: &str) -> Result<Vouched, Denial> {
    verify(gateway, config, &read(gateway, token)?)
}

/// A token of the other provider, with these changes to header and claims; null takes a member away.
fn theirs(header: &Value, claims: &Value) -> String {
    let mut own_header = json!({ "typ": "JWT", "cty": "layer-eit;v=1", "kid": format!("layer:///keys/{KEY}") });
    let mut own_claims = json!({
        "iss": format!("layer:///providers/{OTHER}"), "prn": "7", "nce": "n", "iat": NOW, "exp": NOW + 300,
    });
    for (whole, changes) in [(&mut own_header, header), (&mut own_claims, claims)] {
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(whole.as_object_mut().unwrap().remove(name)),
                value => whole[name] = value.clone(),
            }
        }
    }
    format!("theirs|{own_header}|{own_claims}")
}

#[test]
fn what_is_made_for_a_user_is_as_documented_and_vouches_for_them() {
    let (gateway, config) = (stage(), config());
    let ann = user("id-ann", "ann@example.org");
    let ann = policy_support::wit::directory::User {
        attributes: vec![("first-name".into(), "Ann".into()), ("last-name".into(), String::new())],
        ..ann
    };
    let token = issue(&gateway, &config, &ann, "n1").unwrap();
    let mut parts = token.splitn(3, '|').skip(1);
    let header: Value = serde_json::from_str(parts.next().unwrap()).unwrap();
    let claims: Value = serde_json::from_str(parts.next().unwrap()).unwrap();
    assert_eq!((&header["typ"], &header["cty"]), (&json!("JWT"), &json!("layer-eit;v=1")));
    let kid = header["kid"].as_str().unwrap().strip_prefix("layer:///keys/").unwrap();
    assert_eq!(crate::uuid::parse(kid).as_deref(), Some(kid));
    let provider = provider_id(&gateway, &config).unwrap();
    assert_eq!(
        claims,
        json!({
            "iss": format!("layer:///providers/{provider}"),
            "prn": "id-ann", "iat": NOW, "exp": NOW + 300, "nce": "n1", "first_name": "Ann",
        })
    );
    let vouched = check(&gateway, &config, &token).ok().unwrap();
    assert!(matches!(vouched.person, Person::Local(user) if user.id == "id-ann"));
    assert_eq!(vouched.issued_at, NOW);
}

#[test]
fn the_providers_uuid_is_made_once_or_configured() {
    let (gateway, config) = (stage(), config());
    let made = provider_id(&gateway, &config).unwrap();
    assert_eq!(provider_id(&gateway, &config).unwrap(), made);
    let named = Config::parse(&format!(r#"{{"provider-id":"{OTHER}","key-id":"{KEY}"}}"#)).unwrap();
    assert_eq!(provider_id(&gateway, &named).unwrap(), OTHER);
    let token = issue(&gateway, &named, &user("id-ann", "ann@example.org"), "n").unwrap();
    assert!(token.contains(&format!("layer:///keys/{KEY}")) && token.contains(OTHER), "{token}");
    assert!(check(&gateway, &named, &token).is_ok());
}

#[test]
fn another_provider_vouches_for_its_own_and_for_nobody_here() {
    let (gateway, config) = (stage(), config());
    let vouched = check(&gateway, &config, &theirs(&json!({}), &json!({ "prn": "id-ann" }))).ok().unwrap();
    assert!(matches!(vouched.person, Person::Foreign { provider, principal, app: Some(app) }
            if provider == OTHER && principal == "id-ann" && app == "shop"));
    // With their key, in our name.
    let own = format!("layer:///providers/{}", provider_id(&gateway, &config).unwrap());
    assert!(check(&gateway, &config, &theirs(&json!({}), &json!({ "iss": own }))).is_err());
}

#[test]
fn each_thing_that_is_wrong_refuses_the_token() {
    let (gateway, config) = (stage(), config());
    assert!(check(&gateway, &config, &theirs(&json!({}), &json!({}))).is_ok());
    for (header, claims, part) in [
        (json!({ "typ": null }), json!({}), "typ"),
        (json!({ "cty": "layer-eit;v=2" }), json!({}), "cty"),
        (json!({ "kid": null }), json!({}), "kid"),
        (json!({ "kid": format!("layer:///keys/{OTHER}") }), json!({}), "another key's"),
        (json!({ "kid": "layer:///keys/../../etc/passwd" }), json!({}), "kid"),
        (json!({}), json!({ "iss": null }), "iss"),
        (json!({}), json!({ "iss": OTHER }), "iss"),
        (json!({}), json!({ "iss": format!("layer:///providers/{KEY}") }), "not believed here"),
        (json!({}), json!({ "prn": null }), "prn"),
        (json!({}), json!({ "prn": 7 }), "prn"),
        (json!({}), json!({ "prn": "" }), "prn"),
        (json!({}), json!({ "prn": "a\nb" }), "prn"),
        (json!({}), json!({ "prn": "x".repeat(257) }), "prn"),
        (json!({}), json!({ "nce": null }), "nce"),
        (json!({}), json!({ "nce": 1 }), "nce"),
        (json!({}), json!({ "iat": null }), "iat"),
        (json!({}), json!({ "exp": null }), "exp"),
        (json!({}), json!({ "exp": NOW }), "expired"),
    ] {
        let token = theirs(&header, &claims);
        let denial = check(&gateway, &config, &token).err().unwrap();
        assert_eq!(denial.reason, DenyReason::BadCredentials, "{token}");
        assert!(denial.detail.contains(part), "{token}: {}", denial.detail);
    }
    let forged = theirs(&json!({}), &json!({})).replacen("theirs", "mine", 1);
    assert!(check(&gateway, &config, &forged).err().unwrap().detail.contains("signature"));
    assert!(check(&gateway, &config, "no token").is_err());
}

#[test]
fn a_token_ends_to_the_second_and_with_what_its_user_had() {
    let config = config();
    let token = issue(&stage(), &config, &user("id-ann", "ann@example.org"), "n").unwrap();
    let gateway = stage();
    let token = token.replace(&provider_id(&stage(), &config).unwrap(), &provider_id(&gateway, &config).unwrap());
    let gateway = at(NOW + 299, gateway);
    assert!(check(&gateway, &config, &token).is_ok());
    gateway.revoke_tokens("id-ann").unwrap();
    assert!(check(&gateway, &config, &token).err().unwrap().detail.contains("made void"));
    let gateway = at(NOW + 300, gateway);
    assert!(check(&gateway, &config, &token).err().unwrap().detail.contains("expired"));
}

#[test]
fn nobody_who_is_gone_or_disabled_is_vouched_for() {
    let (gateway, config) = (stage(), config());
    let token = issue(&gateway, &config, &user("u2", "bob@example.org"), "n").unwrap();
    assert_eq!(check(&gateway, &config, &token).err().unwrap().reason, DenyReason::BadCredentials);
    let token = issue(&gateway, &config, &user("id-ann", "ann@example.org"), "n").unwrap();
    gateway.update_user("id-ann", &[("enabled".into(), "false".into())]).unwrap();
    assert_eq!(check(&gateway, &config, &token).err().unwrap().reason, DenyReason::BadCredentials);
}
