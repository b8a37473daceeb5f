//! Keys that check signatures, each with the algorithms that it fits, read from what owners register.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::public::PublicKey;
use super::{jwk, pem};
use crate::error::KeyError;

/// Octets of a text of keys, PEM or JSON.
pub const MAX_KEYS_TEXT: usize = 256 * 1024;
/// Keys of one text.
const MAX_KEYS: usize = 64;

/// The kind of a key: it alone decides for which algorithms the key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA of 2048 to 8192 bits: RS256, RS384, RS512, PS256, PS384, PS512 (RFC 7518 §3.3, §3.5).
    Rsa,
    /// The curve P-256: ES256 (RFC 7518 §3.4).
    P256,
    /// The curve P-384: ES384 (RFC 7518 §3.4).
    P384,
    /// Ed25519: EdDSA (RFC 8037 §3.1).
    Ed25519,
    /// A shared secret: HS256, HS384, HS512 (RFC 7518 §3.2). Only keys that were configured as secrets are of this kind.
    Secret,
}

impl KeyKind {
    /// Whether a key of this kind may check a token of this algorithm.
    #[must_use]
    pub fn fits(self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Rsa => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Self::P256 => algorithm == ES256,
            Self::P384 => algorithm == ES384,
            Self::Ed25519 => algorithm == EdDSA,
            Self::Secret => matches!(algorithm, HS256 | HS384 | HS512),
        }
    }
}

/// A key that checks signatures, and what it may check. Ask [`VerificationKey::fits`] before every use: the
/// `DecodingKey` of jsonwebtoken knows families, not curves.
#[derive(Clone)]
pub struct VerificationKey {
    /// The name by which tokens ask for it. A key without one is tried for any `kid`.
    pub kid: Option<String>,
    /// Its kind.
    pub kind: KeyKind,
    /// The one algorithm that its JWK restricts it to (RFC 7517 §4.4).
    pub only: Option<Algorithm>,
    /// As jsonwebtoken wants it.
    pub key: DecodingKey,
}

impl VerificationKey {
    /// Whether this key may check a token of this algorithm.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether this key is to be tried for a token with this `kid`: it has the same, or one of the two has none.
    #[must_use]
    pub fn answers_to(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (Some(own), Some(asked)) => own == asked,
            _ => true,
        }
    }
}

impl std::fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerificationKey").field("kid", &self.kid).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A public key as read from a text.
#[derive(Clone, Debug)]
pub(crate) struct PublicEntry {
    pub(crate) kid: Option<String>,
    pub(crate) only: Option<Algorithm>,
    pub(crate) key: PublicKey,
}

impl PublicEntry {
    /// RFC 7638.
    pub(crate) fn thumbprint(&self) -> String {
        jwk::thumbprint(&self.key)
    }
}

pub(crate) fn verification_key(entry: &PublicEntry) -> VerificationKey {
    VerificationKey { kid: entry.kid.clone(), kind: entry.key.kind(), only: entry.only, key: entry.key.decoding_key() }
}

/// Reads PEM blocks: SubjectPublicKeyInfo, certificate or PKCS#1 public key. At least one; other blocks are an error, so
/// that a private key that was pasted by mistake does not go unnoticed.
///
/// # Errors
/// Not PEM, a kind or size of key that is not accepted, or more than 256 KiB or 64 keys.
pub fn keys_from_pem(text: &str) -> Result<Vec<VerificationKey>, KeyError> {
    Ok(entries_from_pem(text)?.iter().map(verification_key).collect())
}

/// Reads a JWK or a JWK Set. Members of a set that are not for us (encryption, kinds that we do not know, secrets, keys
/// that are too weak or broken) are left out, as RFC 7517 §5 advises; a single JWK that is not for us is an error.
///
/// # Errors
/// Not such JSON, or more than 256 KiB or 64 keys.
pub fn keys_from_jwks(json: &str) -> Result<Vec<VerificationKey>, KeyError> {
    Ok(entries_from_jwks(json)?.iter().map(verification_key).collect())
}

/// PEM, JWK or JWK Set: whatever an owner registers.
pub(crate) fn entries_from_text(text: &str) -> Result<Vec<PublicEntry>, KeyError> {
    if text.trim_start().starts_with('{') { entries_from_jwks(text) } else { entries_from_pem(text) }
}

fn entries_from_pem(text: &str) -> Result<Vec<PublicEntry>, KeyError> {
    check_length(text)?;
    let mut entries = Vec::new();
    for block in pem::blocks(text)? {
        let key = match block.label.as_str() {
            "PUBLIC KEY" => PublicKey::from_spki(&block.der)?,
            "CERTIFICATE" => PublicKey::from_certificate(&block.der)?,
            "RSA PUBLIC KEY" => PublicKey::from_pkcs1(&block.der)?,
            label if label.ends_with("PRIVATE KEY") => {
                return Err(KeyError::Unsupported(
                    "this is a private key; only its public half belongs here".to_owned(),
                ));
            }
            label => return Err(KeyError::Unsupported(format!("a PEM block {label:?}; a public key was expected"))),
        };
        entries.push(PublicEntry { kid: None, only: None, key });
    }
    if entries.is_empty() {
        return Err(KeyError::Malformed("there is no PEM block in it".to_owned()));
    }
    Ok(entries)
}

fn entries_from_jwks(json: &str) -> Result<Vec<PublicEntry>, KeyError> {
    check_length(json)?;
    let malformed = |why: String| KeyError::Malformed(why);
    let value: Value = serde_json::from_str(json).map_err(|error| malformed(format!("not JSON: {error}")))?;
    let Value::Object(object) = value else {
        return Err(malformed("not a JSON object".to_owned()));
    };
    let Some(keys) = object.get("keys") else {
        let entry = jwk::read(&object)?.and_then(entry);
        return match entry {
            Some(entry) => Ok(vec![entry]),
            None => Err(KeyError::Unsupported("the JWK is not a public key for checking signatures".to_owned())),
        };
    };
    let keys = keys.as_array().ok_or_else(|| malformed("the \"keys\" of a JWK Set are not an array".to_owned()))?;
    if keys.len() > MAX_KEYS {
        return Err(malformed(format!("a JWK Set of {} keys; at most {MAX_KEYS} are accepted", keys.len())));
    }
    Ok(keys
        .iter()
        .filter_map(Value::as_object)
        .filter_map(|key| jwk::read(key).ok().flatten())
        .filter_map(entry)
        .collect())
}

/// None: the JWK is restricted to an algorithm that its kind does not have, or that we do not know.
fn entry(jwk: jwk::Jwk) -> Option<PublicEntry> {
    let only = match jwk.algorithm {
        None => None,
        Some(name) => Some(name.parse().ok().filter(|algorithm| jwk.key.kind().fits(*algorithm))?),
    };
    Some(PublicEntry { kid: jwk.kid, only, key: jwk.key })
}

fn check_length(text: &str) -> Result<(), KeyError> {
    if text.len() > MAX_KEYS_TEXT {
        return Err(KeyError::Malformed(format!("{} octets of keys; at most {MAX_KEYS_TEXT} are read", text.len())));
    }
    Ok(())
}
