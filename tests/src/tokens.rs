//! Keys and the tokens signed with them: good ones, and every kind of bad one.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::Value;

/// A key pair of one signature algorithm.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: KeyPair,
}

impl SigningKey {
    /// A new key for `RS256`, `PS256`, `ES256`, `ES384` or `EdDSA`.
    ///
    /// # Panics
    /// For any other name.
    #[must_use]
    pub fn new(algorithm: &str) -> Self {
        let algorithm: Algorithm = algorithm.parse().unwrap();
        let kind = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            other => panic!("no key pairs are made for {other:?}"),
        };
        Self { algorithm, pair: KeyPair::generate_for(kind).unwrap() }
    }

    /// The public key: SubjectPublicKeyInfo in PEM.
    #[must_use]
    pub fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// A JWK Set with the public key of an `ES256` key, by this name.
    ///
    /// # Panics
    /// For a key of another algorithm.
    #[must_use]
    pub fn jwks(&self, kid: &str) -> String {
        assert_eq!(self.algorithm, Algorithm::ES256, "the point of a P-256 key is read");
        let point = self.pair.der_bytes();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..65]));
        serde_json::json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y }] }).to_string()
    }

    /// The public key's octets, DER.
    #[must_use]
    pub fn public_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// A JWT with these claims.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&Header::new(self.algorithm), claims)
    }

    /// A JWT with this header, whose algorithm must fit the key.
    #[must_use]
    pub fn token_with(&self, header: &Header, claims: &Value) -> String {
        let pem = self.pair.serialize_pem();
        let key = match self.algorithm {
            Algorithm::RS256 | Algorithm::PS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        jsonwebtoken::encode(header, claims, &key.unwrap()).unwrap()
    }
}

/// A token with an HMAC over `secret`: with a public key as the secret, the classic confusion of algorithms.
#[must_use]
pub fn hmac(secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// The same claims with `alg` `none` and no signature, in the spelling given (`none`, `None`, …).
#[must_use]
pub fn unsigned(spelling: &str, claims: &Value) -> String {
    let header = serde_json::json!({ "typ": "JWT", "alg": spelling });
    format!("{}.{}.", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()))
}

/// `token` with one bit of its signature turned.
#[must_use]
pub fn tampered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let turned = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{turned}{}", &signature[1..])
}

/// base64url without padding (RFC 4648 §5).
#[must_use]
pub fn base64url(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in octets.chunks(3) {
        let mut word = [0u8; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for index in 0..=chunk.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * index)) as usize & 63]));
        }
    }
    text
}

/// The claims of a token, nothing checked.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn claims_of(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    let digit = |octet: u8| (0..64).find(|n| base64url(&[n << 2]).as_bytes()[0] == octet).expect("base64url");
    let mut octets = Vec::new();
    let (mut word, mut bits) = (0u32, 0);
    for octet in part.bytes() {
        (word, bits) = (word << 6 | u32::from(digit(octet)), bits + 6);
        if bits >= 8 {
            bits -= 8;
            octets.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    serde_json::from_slice(&octets).expect("claims in JSON")
}

/// Seconds since 1970, now.
#[must_use]
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}
