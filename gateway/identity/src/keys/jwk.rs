//! JSON Web Keys (RFC 7517, 7518 §6, 8037) of the kinds that we check with, and their thumbprints (RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::public::PublicKey;
use crate::error::KeyError;

/// A JWK, as far as it concerns us.
pub(crate) struct Jwk {
    pub(crate) kid: Option<String>,
    /// The one algorithm that it is for, if it says so.
    pub(crate) algorithm: Option<String>,
    pub(crate) key: PublicKey,
}

/// Octets of a `kid`.
const MAX_KID: usize = 256;

/// Reads a JWK. None: it is valid, but not for checking signatures with a public key.
pub(crate) fn read(jwk: &Map<String, Value>) -> Result<Option<Jwk>, KeyError> {
    let kid = text(jwk, "kid")?.map(str::to_owned);
    if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
        return Err(KeyError::Malformed(format!("the JWK's \"kid\" is longer than {MAX_KID} octets")));
    }
    let algorithm = text(jwk, "alg")?.map(str::to_owned);
    if text(jwk, "use")?.is_some_and(|usage| usage != "sig") {
        return Ok(None);
    }
    if let Some(operations) = jwk.get("key_ops") {
        let operations = operations.as_array().ok_or_else(|| wrong("key_ops"))?;
        if !operations.iter().any(|operation| operation == "verify") {
            return Ok(None);
        }
    }
    let curve = text(jwk, "crv")?;
    let key = match (text(jwk, "kty")?, curve) {
        (Some("RSA"), _) => PublicKey::rsa(&octets(jwk, "n")?, &octets(jwk, "e")?)?,
        (Some("EC"), Some("P-256")) => PublicKey::p256(&point(jwk, 32)?)?,
        (Some("EC"), Some("P-384")) => PublicKey::p384(&point(jwk, 48)?)?,
        (Some("OKP"), Some("Ed25519")) => PublicKey::ed25519(&octets(jwk, "x")?)?,
        (Some(_), _) => return Ok(None),
        (None, _) => return Err(KeyError::Malformed("a JWK without \"kty\"".to_owned())),
    };
    Ok(Some(Jwk { kid, algorithm, key }))
}

/// Writes a public key as a JWK.
pub(crate) fn write(kid: &str, algorithm: Option<&str>, key: &PublicKey) -> String {
    value(kid, algorithm, key).to_string()
}

/// Writes a JWK Set of public keys: `(kid, alg, key)`.
pub(crate) fn set<'a>(keys: impl Iterator<Item = (&'a str, Option<&'a str>, &'a PublicKey)>) -> String {
    let keys: Vec<Value> = keys.map(|(kid, algorithm, key)| value(kid, algorithm, key)).collect();
    json!({ "keys": keys }).to_string()
}

fn value(kid: &str, algorithm: Option<&str>, key: &PublicKey) -> Value {
    let mut jwk = members(key);
    jwk.insert("kid".to_owned(), json!(kid));
    jwk.insert("use".to_owned(), json!("sig"));
    if let Some(algorithm) = algorithm {
        jwk.insert("alg".to_owned(), json!(algorithm));
    }
    Value::Object(jwk)
}

/// The members that RFC 7638 §3.2 requires, and no other.
fn members(key: &PublicKey) -> Map<String, Value> {
    let encoded = |octets: &[u8]| json!(URL_SAFE_NO_PAD.encode(octets));
    let pairs: Vec<(&str, Value)> = match key {
        PublicKey::Rsa { n, e } => vec![("e", encoded(e)), ("kty", json!("RSA")), ("n", encoded(n))],
        PublicKey::P256(point) | PublicKey::P384(point) => {
            let (x, y) = point[1..].split_at(point.len() / 2);
            let curve = if point.len() == 65 { "P-256" } else { "P-384" };
            vec![("crv", json!(curve)), ("kty", json!("EC")), ("x", encoded(x)), ("y", encoded(y))]
        }
        PublicKey::Ed25519(x) => vec![("crv", json!("Ed25519")), ("kty", json!("OKP")), ("x", encoded(x))],
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// SHA-256 over the required members in lexicographic order without white space, base64url: 43 characters.
pub(crate) fn thumbprint(key: &PublicKey) -> String {
    // Written out and not serialised: whether a map keeps the order of insertion is a feature that any crate may turn on.
    let mut members: Vec<_> = members(key).into_iter().collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{{{}}}", members.join(","))))
}

fn wrong(name: &str) -> KeyError {
    KeyError::Malformed(format!("the JWK's {name:?} is not what RFC 7517 says"))
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, KeyError> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(name)),
    }
}

fn octets(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, KeyError> {
    let encoded = text(jwk, name)?.ok_or_else(|| KeyError::Malformed(format!("a JWK without {name:?}")))?;
    URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).map_err(|_| wrong(name))
}

/// An uncompressed point from `x` and `y`, which have the full length of the curve's field (RFC 7518 §6.2.1.2).
fn point(jwk: &Map<String, Value>, length: usize) -> Result<Vec<u8>, KeyError> {
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = octets(jwk, name)?;
        if coordinate.len() != length {
            return Err(wrong(name));
        }
        point.extend_from_slice(&coordinate);
    }
    Ok(point)
}
