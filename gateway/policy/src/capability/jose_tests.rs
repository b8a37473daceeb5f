//! Tokens that must not be believed, and those that must.

use std::collections::HashMap;
use std::sync::LazyLock;

use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;

struct Pair {
    private: EncodingKey,
    public_pem: String,
}

/// One pair of each kind, made once: RSA keys take their time.
static PAIRS: LazyLock<HashMap<&'static str, Pair>> = LazyLock::new(|| {
    let pair = |kind: &'static rcgen::SignatureAlgorithm,
                to_key: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>| {
        let made = KeyPair::generate_for(kind).expect("a key pair");
        Pair {
            private: to_key(made.serialize_pem().as_bytes()).expect("a private key"),
            public_pem: made.public_key_pem(),
        }
    };
    HashMap::from([
        ("rsa", pair(&PKCS_RSA_SHA256, EncodingKey::from_rsa_pem)),
        ("p256", pair(&PKCS_ECDSA_P256_SHA256, EncodingKey::from_ec_pem)),
        ("p384", pair(&PKCS_ECDSA_P384_SHA384, EncodingKey::from_ec_pem)),
        ("ed25519", pair(&PKCS_ED25519, EncodingKey::from_ed_pem)),
    ])
});

fn keys(kind: &str) -> Vec<VerificationKey> {
    keys_from_pem(&PAIRS[kind].public_pem).expect("public keys")
}

fn signed(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, key).expect("a token")
}

/// A token of parts that nobody would sign.
fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}.{}", part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()), part(signature))
}

fn wanted(algorithms: &[&str]) -> Requirements {
    Requirements {
        keys: KeySource::Pem(String::new()),
        algorithms: algorithms.iter().map(|a| (*a).to_owned()).collect(),
        leeway: 30,
        issuers: Vec::new(),
        audiences: Vec::new(),
        required: Vec::new(),
    }
}

fn claims() -> Value {
    json!({ "sub": "alice", "exp": NOW + 60, "iat": NOW - 60 })
}

fn es256(claims: &Value) -> String {
    signed(Algorithm::ES256, &PAIRS["p256"].private, None, claims)
}

/// As `verify` does it, with given keys at a given time.
fn verify_with(token: &str, wanted: &Requirements, keys: &[VerificationKey], now: u64) -> Result<VerifiedToken, Error> {
    let parts = Parts::of(token)?;
    let algorithm = check_header(&parts, wanted)?;
    check_signature(&parts, algorithm, keys)?;
    check_claims(parts, wanted, now)
}

fn check(token: &str, wanted: &Requirements) -> Result<VerifiedToken, Error> {
    verify_with(token, wanted, &keys("p256"), NOW)
}

#[test]
fn each_kind_of_key_checks_its_algorithms() {
    for (algorithm, kind) in [
        (Algorithm::RS256, "rsa"),
        (Algorithm::RS512, "rsa"),
        (Algorithm::PS256, "rsa"),
        (Algorithm::ES256, "p256"),
        (Algorithm::ES384, "p384"),
        (Algorithm::EdDSA, "ed25519"),
    ] {
        let token = signed(algorithm, &PAIRS[kind].private, None, &claims());
        let name = format!("{algorithm:?}");
        let good = verify_with(&token, &wanted(&[&name]), &keys(kind), NOW).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(good.subject.as_deref(), Some("alice"));
        assert_eq!(good.expires_at, Some(NOW + 60));
        // The same token against a key of every other kind.
        for other in ["rsa", "p256", "p384", "ed25519"].into_iter().filter(|other| *other != kind) {
            let result = verify_with(&token, &wanted(&[&name]), &keys(other), NOW);
            assert!(matches!(result, Err(Error::UnknownKey(_))), "{name} with {other}: {result:?}");
        }
    }
}

#[test]
fn a_public_key_is_never_an_hmac_secret() {
    let pem = &PAIRS["rsa"].public_pem;
    for secret in [pem.as_bytes(), pem.trim_end().as_bytes()] {
        let token = signed(Algorithm::HS256, &EncodingKey::from_secret(secret), None, &claims());
        for named in [vec!["RS256"], vec!["RS256", "HS256"], vec!["HS256"]] {
            let result = verify_with(&token, &wanted(&named), &keys("rsa"), NOW);
            assert!(matches!(result, Err(Error::AlgorithmNotAllowed(_))), "{named:?}: {result:?}");
            // Even as a named key: a key of this kind checks no HMAC.
            let by_name = Requirements { keys: KeySource::Named("k".into()), ..wanted(&named) };
            assert!(verify_with(&token, &by_name, &keys("rsa"), NOW).is_err(), "{named:?}");
        }
    }
}

#[test]
fn none_is_never_an_algorithm() {
    for word in ["none", "None", "NONE", "nOnE", ""] {
        let token = forged(&json!({ "alg": word }), &claims(), b"");
        assert!(matches!(check(&token, &wanted(&["ES256"])), Err(Error::AlgorithmNotAllowed(_))), "{word}");
        // A policy that asks for it is told so.
        assert!(matches!(check(&token, &wanted(&[word])), Err(Error::Other(_))), "{word}");
    }
    assert!(matches!(check(&es256(&claims()), &wanted(&[])), Err(Error::Other(_))), "an empty list is an error");
}

#[test]
fn an_algorithm_that_the_policy_did_not_name_is_refused() {
    let token = signed(Algorithm::RS512, &PAIRS["rsa"].private, None, &claims());
    let result = verify_with(&token, &wanted(&["RS256"]), &keys("rsa"), NOW);
    assert!(matches!(result, Err(Error::AlgorithmNotAllowed(word)) if word == "RS512"));
}

#[test]
fn kid_chooses_among_the_keys_and_nothing_else() {
    let with_kid = |kid: Option<&str>| {
        let mut keys = keys("p256");
        keys.iter_mut().for_each(|key| key.kid = kid.map(str::to_owned));
        keys
    };
    let token = |kid: Option<&str>| signed(Algorithm::ES256, &PAIRS["p256"].private, kid, &claims());
    let verify = |token: &str, keys: &[VerificationKey]| verify_with(token, &wanted(&["ES256"]), keys, NOW);
    assert!(verify(&token(Some("a")), &with_kid(Some("a"))).is_ok());
    assert!(verify(&token(None), &with_kid(Some("a"))).is_ok());
    assert!(verify(&token(Some("a")), &with_kid(None)).is_ok());
    for trick in ["b", "", "../../dev/null", "a' OR '1'='1", "a\0"] {
        assert!(matches!(verify(&token(Some(trick)), &with_kid(Some("a"))), Err(Error::UnknownKey(_))), "{trick:?}");
    }
    let odd = forged(&json!({ "alg": "ES256", "kid": ["a"] }), &claims(), b"x");
    assert!(matches!(verify(&odd, &with_kid(Some("a"))), Err(Error::Malformed(_))));
    assert!(matches!(verify(&token(None), &[]), Err(Error::UnknownKey(_))));
}

#[test]
fn a_changed_octet_breaks_the_signature() {
    let token = es256(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(json!({ "sub": "mallory", "exp": NOW + 60 }).to_string());
    assert!(matches!(check(&[parts[0], &other, parts[2]].join("."), &wanted(&["ES256"])), Err(Error::BadSignature)));
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    assert!(matches!(check(&[parts[0], parts[1], &zeros].join("."), &wanted(&["ES256"])), Err(Error::BadSignature)));
    assert!(matches!(check(&[parts[0], parts[1], ""].join("."), &wanted(&["ES256"])), Err(Error::BadSignature)));
}

#[test]
fn a_key_inside_the_token_is_not_looked_at() {
    let mut header = Header::new(Algorithm::ES384);
    header.jku = Some("https://evil.example/jwks".to_owned());
    let token = jsonwebtoken::encode(&header, &claims(), &PAIRS["p384"].private).expect("a token");
    assert!(matches!(check(&token, &wanted(&["ES256", "ES384"])), Err(Error::UnknownKey(_))));
}

#[test]
fn critical_extensions_are_not_ignored() {
    let token = forged(&json!({ "alg": "ES256", "crit": ["b64"], "b64": false }), &claims(), b"x");
    assert!(matches!(check(&token, &wanted(&["ES256"])), Err(Error::Malformed(_))));
}

#[test]
fn times_are_always_checked_with_the_leeway_and_not_a_second_more() {
    let with = |name: &str, at: u64| check(&es256(&json!({ "sub": "alice", name: at })), &wanted(&["ES256"]));
    assert!(with("exp", NOW - 29).is_ok());
    assert!(matches!(with("exp", NOW - 30), Err(Error::Expired(at)) if at == NOW - 30));
    for name in ["nbf", "iat"] {
        assert!(with(name, NOW + 30).is_ok(), "{name}");
        assert!(matches!(with(name, NOW + 31), Err(Error::NotYetValid(at)) if at == NOW + 31), "{name}");
    }
    let strict = Requirements { leeway: 0, ..wanted(&["ES256"]) };
    assert!(matches!(check(&es256(&json!({ "exp": NOW })), &strict), Err(Error::Expired(_))), "on the second");
    let lax = Requirements { leeway: 301, ..wanted(&["ES256"]) };
    assert!(matches!(check(&es256(&claims()), &lax), Err(Error::Other(_))));
}

#[test]
fn claims_of_the_wrong_type_are_refused() {
    for (name, value) in [
        ("exp", json!("2030-01-01T00:00:00Z")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("nbf", json!(true)),
        ("iat", json!(null)),
        ("sub", json!(7)),
        ("iss", json!(["a"])),
        ("aud", json!([1])),
        ("aud", json!({})),
        ("jti", json!({})),
    ] {
        let result = check(&es256(&json!({ name: value.clone() })), &wanted(&["ES256"]));
        assert!(matches!(&result, Err(Error::BadClaim(which)) if which == name), "{name} = {value}: {result:?}");
    }
}

#[test]
fn issuer_audience_and_required_claims() {
    let mut of = claims();
    of["iss"] = json!("https://issuer");
    of["aud"] = json!(["gateway", "other"]);
    let token = es256(&of);
    let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let with = |issuers: &[&str], audiences: &[&str], required: &[&str]| {
        let wanted = Requirements {
            issuers: list(issuers),
            audiences: list(audiences),
            required: list(required),
            ..wanted(&["ES256"])
        };
        check(&token, &wanted)
    };
    let good = with(&["x", "https://issuer"], &["gateway"], &["exp", "sub", "iss"]).expect("fine");
    assert_eq!(good.audience, ["gateway", "other"]);
    assert!(matches!(with(&["x"], &[], &[]), Err(Error::BadClaim(name)) if name == "iss"));
    assert!(matches!(with(&[], &["x"], &[]), Err(Error::BadClaim(name)) if name == "aud"));
    assert!(matches!(with(&[], &[], &["jti"]), Err(Error::BadClaim(name)) if name == "jti"));
}

#[test]
fn claims_come_out_as_they_were_signed() {
    let token = es256(&claims());
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims")).expect("base64"))
        .expect("text");
    assert_eq!(check(&token, &wanted(&["ES256"])).expect("fine").claims, text);
}

#[test]
fn what_is_no_token_is_malformed() {
    let long = "a".repeat(MAX_TOKEN + 1);
    for text in
        ["", ".", "..", "a.b", "a.b.c", "e30.e30", "e30.e30.e30.e30", "e30=.e30.x", "W10.e30.x", "e30.W10.x", &long]
    {
        assert!(matches!(check(text, &wanted(&["ES256"])), Err(Error::Malformed(_))), "{text:.20}");
    }
}

#[test]
fn a_token_without_kid_is_tried_with_a_bounded_number_of_keys() {
    let stranger = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key pair").public_key_pem();
    let mut many: Vec<_> = (0..MAX_TRIES).flat_map(|_| keys_from_pem(&stranger).expect("keys")).collect();
    many.extend(keys("p256"));
    for key in &mut many {
        key.kid = None;
    }
    assert!(matches!(verify_with(&es256(&claims()), &wanted(&["ES256"]), &many, NOW), Err(Error::BadSignature)));
    assert!(verify_with(&es256(&claims()), &wanted(&["ES256"]), &many[1..], NOW).is_ok());
}
