//! Keys: which texts are read, which are refused, that kinds are never confused, and that what is signed can be checked.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use portcullis_identity::*;
use portcullis_store::{Clock, Options, Store};
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};

const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::EdDSA,
];

fn pairs() -> Vec<(KeyKind, Algorithm, KeyPair)> {
    [
        (KeyKind::Rsa, Algorithm::RS256, &PKCS_RSA_SHA256),
        (KeyKind::P256, Algorithm::ES256, &PKCS_ECDSA_P256_SHA256),
        (KeyKind::P384, Algorithm::ES384, &PKCS_ECDSA_P384_SHA384),
        (KeyKind::Ed25519, Algorithm::EdDSA, &PKCS_ED25519),
    ]
    .map(|(kind, algorithm, of)| (kind, algorithm, KeyPair::generate_for(of).unwrap()))
    .into()
}

fn file(folder: &Path, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, contents).unwrap();
    path
}

fn ring(keys: &[NamedKey]) -> Result<Keyring, KeyError> {
    Keyring::open(Store::in_memory(Options::default()).unwrap(), Clock::system(), keys)
}

fn named(name: &str, source: KeySource) -> NamedKey {
    NamedKey { name: name.to_owned(), source }
}

/// Whether any of these keys may and does check the token.
fn checks(keys: &[VerificationKey], token: &str) -> bool {
    let header = decode_header(token).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.required_spec_claims.clear();
    keys.iter().filter(|key| key.answers_to(header.kid.as_deref()) && key.fits(header.alg)).any(|key| {
        decode::<serde_json::Value>(token, &key.key, &validation).is_ok_and(|token| token.claims["sub"] == "alice")
    })
}

const CLAIMS: &str = r#"{"sub":"alice","n":1.50}"#;

#[test]
fn a_key_fits_the_algorithms_of_its_kind_and_no_other() {
    let fits = |kind: KeyKind| ALL.into_iter().filter(|algorithm| kind.fits(*algorithm)).collect::<Vec<_>>();
    assert_eq!(fits(KeyKind::Secret), ALL[..3]);
    assert_eq!(fits(KeyKind::P256), [Algorithm::ES256]);
    assert_eq!(fits(KeyKind::P384), [Algorithm::ES384]);
    assert_eq!(fits(KeyKind::Rsa), ALL[5..11]);
    assert_eq!(fits(KeyKind::Ed25519), [Algorithm::EdDSA]);
}

#[test]
fn what_a_configured_key_signs_its_public_half_checks_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, algorithm, pair) in pairs() {
        let private = file(folder.path(), "private.pem", pair.serialize_pem());
        let ring = ring(&[named("k", KeySource::Pem(private))]).unwrap();
        let token = ring.sign("k", "", CLAIMS).unwrap();
        let header = decode_header(&token).unwrap();
        assert_eq!((header.alg, header.typ.as_deref()), (algorithm, Some("JWT")));

        let spki = pair.public_key_pem();
        let certificate = CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&pair).unwrap().pem();
        let jwks = ring.public_jwks("k").unwrap();
        for (form, keys) in [
            ("named", ring.verification_keys("k").unwrap().to_vec()),
            ("spki", keys_from_pem(&spki).unwrap()),
            ("certificate", keys_from_pem(&certificate).unwrap()),
            ("jwks", keys_from_jwks(&jwks).unwrap()),
            ("two blocks", keys_from_pem(&format!("{certificate}\n{spki}")).unwrap()),
        ] {
            assert!(keys.iter().all(|key| key.kind == kind), "{form}");
            assert!(checks(&keys, &token), "{form} of {kind:?}");
            assert!(!checks(&keys, &tampered(&token)), "{form}");
        }
        for (other, _, pair) in pairs().into_iter().filter(|(other, ..)| *other != kind) {
            let keys = keys_from_pem(&pair.public_key_pem()).unwrap();
            assert!(!keys.iter().any(|key| key.fits(algorithm)), "{other:?} for {algorithm:?}");
        }
        let public_only = ring_of_public(folder.path(), &spki);
        assert!(checks(&public_only.verification_keys("p").unwrap(), &token));
        assert_eq!(public_only.sign("p", "", CLAIMS), Err(KeyError::CannotSign("p".to_owned())));
        assert_eq!(public_only.can_sign("p"), Some(false));
        for secret in ["PRIVATE", "\"d\""] {
            assert!(!jwks.contains(secret));
        }
    }
}

/// The token with another character in the middle of its signature.
fn tampered(token: &str) -> String {
    let at = token.len() - 20;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

fn ring_of_public(folder: &Path, spki: &str) -> Keyring {
    ring(&[named("p", KeySource::Pem(file(folder, "public.pem", spki)))]).unwrap()
}

#[test]
fn a_public_key_is_never_an_hmac_secret() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, _, pair) in pairs() {
        let spki = pair.public_key_pem();
        // The attack: the public key's text, which everybody has, used as an HMAC secret.
        let secret = file(folder.path(), "stolen", &spki);
        let attacker = ring(&[named("a", KeySource::Secret(secret))]).unwrap();
        let forged = attacker.sign("a", "", CLAIMS).unwrap();
        assert_eq!(decode_header(&forged).unwrap().alg, Algorithm::HS256);
        assert!(!checks(&keys_from_pem(&spki).unwrap(), &forged), "{kind:?}");
        assert!(!checks(&ring_of_public(folder.path(), &spki).verification_keys("p").unwrap(), &forged), "{kind:?}");
    }
    let octets = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0","alg":"HS256"}]}"#;
    assert!(keys_from_jwks(octets).unwrap().is_empty(), "a JWK Set brings no secrets");
}

#[test]
fn secrets_sign_and_check_and_are_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "secret", "0123456789abcdef0123456789abcdef\n");
    let ring = ring(&[named("s", KeySource::Secret(path))]).unwrap();
    let token = ring.sign("s", "", CLAIMS).unwrap();
    let keys = ring.verification_keys("s").unwrap();
    assert_eq!(keys[0].kind, KeyKind::Secret);
    assert!(checks(&keys, &token));
    assert_eq!(ring.public_jwks("s").unwrap(), r#"{"keys":[]}"#);
    assert!(!format!("{ring:?}{keys:?}").contains("0123456789"));
    let short = file(folder.path(), "short", "0123456789abcdef0123456789abcde");
    assert!(matches!(crate::ring(&[named("s", KeySource::Secret(short))]), Err(KeyError::Weak(_))));
}

#[test]
fn headers_are_the_schemes_own_and_claims_are_untouched() {
    let ring = ring(&[]).unwrap();
    let part = |token: &str, n: usize| {
        use base64::Engine;
        let part = token.split('.').nth(n).unwrap();
        String::from_utf8(base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let own = r#"{"typ":"JWT","cty":"layer-eit;v=1","kid":"layer:///keys/1"}"#;
    let token = ring.sign(GATEWAY_RS256, own, CLAIMS).unwrap();
    assert_eq!(part(&token, 1), CLAIMS);
    let header: serde_json::Value = serde_json::from_str(&part(&token, 0)).unwrap();
    assert_eq!(
        header,
        serde_json::json!({"alg": "RS256", "typ": "JWT", "cty": "layer-eit;v=1", "kid": "layer:///keys/1"})
    );
    let bare = ring.sign(GATEWAY_ES256, r#"{"typ":"JWT"}"#, CLAIMS).unwrap();
    assert_eq!(decode_header(&bare).unwrap().kid, None, "a scheme may forbid a kid");
    for (header, claims) in [
        ("[]", CLAIMS),
        ("{", CLAIMS),
        (r#"{"alg":"none"}"#, CLAIMS),
        (r#"{"crit":["b64"]}"#, CLAIMS),
        (r#"{"b64":false}"#, CLAIMS),
        ("", "1"),
        ("", ""),
        ("", &format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 16))),
    ] {
        assert!(matches!(ring.sign(GATEWAY_ES256, header, claims), Err(KeyError::BadToken(_))), "{header} {claims:.9}");
    }
    assert_eq!(ring.sign("no", "", CLAIMS), Err(KeyError::Unknown("no".to_owned())));
    assert_eq!(ring.can_sign("no"), None);
}

#[test]
fn the_gateways_keys_are_made_once_outlast_a_restart_and_rotate_with_overlap() {
    let data = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual(NOW * 1000);
    let open = || Keyring::open(Store::open(data.path(), Options::default()).unwrap(), clock.clone(), &[]).unwrap();
    let ring = open();
    assert!(ring.verification_keys(GATEWAY_ES256).unwrap().is_empty(), "made when first used");
    let old = ring.sign(GATEWAY_ES256, "", CLAIMS).unwrap();
    let kid = decode_header(&old).unwrap().kid.unwrap();
    assert_eq!(kid.len(), 43, "an RFC 7638 thumbprint");
    drop(ring);
    let ring = open();
    assert_eq!(decode_header(ring.sign(GATEWAY_ES256, "", CLAIMS).unwrap()).unwrap().kid.unwrap(), kid);

    ring.rotate(GATEWAY_ES256, 60).unwrap();
    let new = ring.sign(GATEWAY_ES256, "", CLAIMS).unwrap();
    assert_ne!(decode_header(&new).unwrap().kid.unwrap(), kid);
    drop(ring);
    let ring = open();
    let good = |token: &str| {
        let published = keys_from_jwks(&ring.gateway_jwks().unwrap()).unwrap();
        (checks(&ring.verification_keys(GATEWAY_ES256).unwrap(), token), checks(&published, token))
    };
    assert_eq!((good(&old), good(&new)), ((true, true), (true, true)));
    hand.advance_ms(60_000);
    assert_eq!((good(&old), good(&new)), ((false, false), (true, true)), "the overlap has ended");
    ring.rotate(GATEWAY_ES256, 0).unwrap();
    assert_eq!(good(&new), (false, false));
    assert_eq!(ring.rotate("no", 1), Err(KeyError::Unknown("no".to_owned())));
    assert_eq!(keys_from_jwks(&ring.gateway_jwks().unwrap()).unwrap().len(), 2, "one of each kind");
}

#[test]
fn weak_wrong_and_misplaced_keys_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let pair = KeyPair::generate().unwrap();
    let why = |text: &str| keys_from_pem(text).unwrap_err().to_string();
    assert!(why(&pair.serialize_pem()).contains("private key"));
    assert!(why("").contains("no PEM block"));
    assert!(why("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").contains("SubjectPublicKeyInfo"));
    assert!(why(&"x".repeat(MAX_KEYS_TEXT + 1)).contains("octets"));
    // A modulus of 1,024 bits: its size alone is enough to refuse it.
    use base64::Engine;
    let n = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([0xC5; 128]);
    let weak = format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#);
    assert!(keys_from_jwks(&weak).unwrap_err().to_string().contains("1024 bits"));
    assert!(keys_from_jwks(&format!(r#"{{"keys":[{weak}]}}"#)).unwrap().is_empty());
    // A point that is not on the curve (invalid-curve attack).
    let off = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([1; 32]);
    let off = format!(r#"{{"kty":"EC","crv":"P-256","x":"{off}","y":"{off}"}}"#);
    assert!(keys_from_jwks(&off).unwrap_err().to_string().contains("lie on"));
    for json in [
        "",
        "[]",
        "{}",
        r#"{"keys":1}"#,
        r#"{"kty":7}"#,
        r#"{"kty":"EC","crv":"P-256"}"#,
        r#"{"kty":"EC","crv":"P-521","x":"","y":""}"#,
    ] {
        assert!(keys_from_jwks(json).is_err(), "{json}");
    }
    for name in ["", "gateway-rs256", "gateway-mine"] {
        let path = file(folder.path(), "k", pair.serialize_pem());
        assert!(ring(&[named(name, KeySource::Pem(path))]).is_err(), "{name:?}");
    }
    let missing = ring(&[named("k", KeySource::Pem(folder.path().join("missing")))]).unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
}

#[test]
fn a_jwk_is_for_what_it_says() {
    let (_, _, pair) = pairs().remove(0);
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(&[named("k", KeySource::Pem(file(folder.path(), "k", pair.serialize_pem())))]).unwrap();
    let set: serde_json::Value = serde_json::from_str(&ring.public_jwks("k").unwrap()).unwrap();
    let with = |name: &str, value: serde_json::Value| {
        let mut jwk = set["keys"][0].clone();
        jwk[name] = value;
        keys_from_jwks(&serde_json::json!({ "keys": [jwk] }).to_string()).unwrap()
    };
    let only = &with("alg", "PS256".into())[0];
    assert!(only.fits(Algorithm::PS256) && !only.fits(Algorithm::RS256));
    for (name, value) in [
        ("alg", "HS256".into()),
        ("alg", "ES256".into()),
        ("alg", "RSA-OAEP".into()),
        ("use", "enc".into()),
        ("key_ops", serde_json::json!(["encrypt"])),
    ] {
        assert!(with(name, value.clone()).is_empty(), "{name} {value}");
    }
    assert_eq!(with("key_ops", serde_json::json!(["verify"])).len(), 1);
    let key = &with("kid", "one".into())[0];
    assert!(key.answers_to(Some("one")) && key.answers_to(None) && !key.answers_to(Some("two")));
}

#[test]
fn an_apps_keys_verify_while_it_is_enabled() {
    let Home { directory, .. } = memory();
    let folder = tempfile::tempdir().unwrap();
    let (_, _, first) = pairs().remove(1);
    let (_, _, second) = pairs().remove(3);
    let owner = ring(&[
        named("first", KeySource::Pem(file(folder.path(), "1", first.serialize_pem()))),
        named("second", KeySource::Pem(file(folder.path(), "2", second.serialize_pem()))),
    ])
    .unwrap();
    let made = directory.create_app(NewApp { keys: vec![first.public_key_pem()], ..app("lamps") }).unwrap();
    let good = |name: &str, header: &str| {
        let token = owner.sign(name, header, CLAIMS).unwrap();
        directory.app_keys("lamps").is_some_and(|keys| checks(&keys, &token))
    };
    assert!(good("first", "") && !good("second", ""));
    assert!(good("first", r#"{"kid":"whatever"}"#), "a key without a name is tried for any");
    directory.add_app_key("lamps", &owner.public_jwks("second").unwrap()).unwrap();
    assert!(good("first", "") && good("second", ""));
    assert!(!good("second", r#"{"kid":"whatever"}"#), "one with a name is not");
    assert_eq!(directory.add_app_key("lamps", &first.public_key_pem()).unwrap_err(), DirectoryError::Conflict("key"));
    assert!(matches!(directory.add_app_key("lamps", "junk"), Err(DirectoryError::Invalid(_))));
    directory.set_app_enabled("lamps", false).unwrap();
    assert!(directory.app_keys("lamps").is_none() && directory.find_app("lamps").is_some());
    directory.set_app_enabled("lamps", true).unwrap();
    directory.remove_app_key("lamps", &made.keys[0].kid).unwrap();
    assert!(!good("first", "") && good("second", ""));
    assert_eq!(directory.remove_app_key("lamps", "no").unwrap_err(), DirectoryError::NotFound);
    for _ in 0..15 {
        directory.add_app_key("lamps", &KeyPair::generate().unwrap().public_key_pem()).unwrap();
    }
    assert!(matches!(
        directory.add_app_key("lamps", &KeyPair::generate().unwrap().public_key_pem()),
        Err(DirectoryError::Invalid(_))
    ));
}

/// RFC 7638 §3.1 gives this key and its thumbprint.
#[test]
fn thumbprints_are_those_of_the_standard() {
    let Home { directory, .. } = memory();
    let jwk = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}"#;
    let app = directory.create_app(NewApp { keys: vec![jwk.to_owned()], ..app("lamps") }).unwrap();
    assert_eq!(app.keys[0].kid, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn no_private_key_is_readable_by_others_or_printed() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path(), Options::default()).unwrap();
    let ring = Keyring::open(store, Clock::system(), &[]).unwrap();
    ring.sign(GATEWAY_ES256, "", CLAIMS).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(data.path().join("portcullis.redb")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
    assert!(!format!("{ring:?}").contains("MIG"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_refused_or_read_without_panic(text in "\\PC{0,200}") {
        let _ = keys_from_pem(&text);
        let _ = keys_from_jwks(&text);
    }

    #[test]
    fn any_der_in_a_block_is_refused_or_read_without_panic(der in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        use base64::Engine;
        let body = base64::engine::general_purpose::STANDARD.encode(&der);
        for label in ["PUBLIC KEY", "CERTIFICATE", "RSA PUBLIC KEY"] {
            let _ = keys_from_pem(&format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"));
        }
    }
}
