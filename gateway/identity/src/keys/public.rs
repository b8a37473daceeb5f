//! Public keys, checked when they are read: kind, curve, size, and that the point lies on its curve.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use jsonwebtoken::DecodingKey;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::verification::KeyKind;
use crate::error::KeyError;

/// A public key of a kind that we check with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// Uncompressed point: 4, x, y; 65 octets.
    P256(Vec<u8>),
    /// Uncompressed point; 97 octets.
    P384(Vec<u8>),
    /// 32 octets.
    Ed25519(Vec<u8>),
}

/// Least bits of an RSA modulus (NIST SP 800-131A), and most: a huge one would make checking dear.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

impl PublicKey {
    /// From modulus and exponent.
    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::Weak(format!("the RSA key has {bits} bits; 2048 to 8192 are accepted")));
        }
        PublicKeyComponents { n, e }
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_| KeyError::Malformed("the RSA key's modulus or exponent is not valid".to_owned()))?;
        Ok(Self::Rsa { n: n.to_vec(), e: e.to_vec() })
    }

    /// From an uncompressed point.
    pub(crate) fn p256(point: &[u8]) -> Result<Self, KeyError> {
        on_curve(&ECDSA_P256_SHA256_FIXED, point, 65, "P-256")?;
        Ok(Self::P256(point.to_vec()))
    }

    /// From an uncompressed point.
    pub(crate) fn p384(point: &[u8]) -> Result<Self, KeyError> {
        on_curve(&ECDSA_P384_SHA384_FIXED, point, 97, "P-384")?;
        Ok(Self::P384(point.to_vec()))
    }

    /// From the 32 octets of RFC 8032.
    pub(crate) fn ed25519(key: &[u8]) -> Result<Self, KeyError> {
        let good = key.len() == 32 && ParsedPublicKey::new(&ED25519, key).is_ok();
        if good { Ok(Self::Ed25519(key.to_vec())) } else { Err(KeyError::Malformed("not an Ed25519 key".to_owned())) }
    }

    /// From a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        match SubjectPublicKeyInfo::from_der(der) {
            Ok(([], info)) => Self::from_info(&info),
            _ => Err(KeyError::Malformed("not a SubjectPublicKeyInfo".to_owned())),
        }
    }

    /// From the public key of a certificate. The certificate itself is not checked: whoever registers it vouches for it.
    pub(crate) fn from_certificate(der: &[u8]) -> Result<Self, KeyError> {
        match x509_parser::parse_x509_certificate(der) {
            Ok(([], certificate)) => Self::from_info(certificate.public_key()),
            _ => Err(KeyError::Malformed("not an X.509 certificate".to_owned())),
        }
    }

    /// From an RSAPublicKey (RFC 8017 §A.1.1).
    pub(crate) fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        match RSAPublicKey::from_der(der) {
            Ok(([], key)) => Self::rsa(key.modulus, key.exponent),
            _ => Err(KeyError::Malformed("not a PKCS#1 public key".to_owned())),
        }
    }

    fn from_info(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyError> {
        let bits = &info.subject_public_key.data;
        match info.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => Self::from_pkcs1(bits),
            "1.3.101.112" => Self::ed25519(bits),
            "1.2.840.10045.2.1" => {
                let curve =
                    info.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|oid| oid.to_id_string());
                match curve.as_deref() {
                    Some("1.2.840.10045.3.1.7") => Self::p256(bits),
                    Some("1.3.132.0.34") => Self::p384(bits),
                    _ => Err(KeyError::Unsupported(
                        "an elliptic-curve key of another curve than P-256 and P-384".to_owned(),
                    )),
                }
            }
            other => Err(KeyError::Unsupported(format!(
                "a key of the algorithm {other}; RSA, P-256, P-384 and Ed25519 are accepted"
            ))),
        }
    }

    /// What it may check.
    pub(crate) fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa { .. } => KeyKind::Rsa,
            Self::P256(_) => KeyKind::P256,
            Self::P384(_) => KeyKind::P384,
            Self::Ed25519(_) => KeyKind::Ed25519,
        }
    }

    /// As jsonwebtoken wants it.
    pub(crate) fn decoding_key(&self) -> DecodingKey {
        match self {
            Self::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Self::P256(point) | Self::P384(point) => DecodingKey::from_ec_der(point),
            Self::Ed25519(key) => DecodingKey::from_ed_der(key),
        }
    }
}

fn on_curve(
    algorithm: &'static aws_lc_rs::signature::EcdsaVerificationAlgorithm,
    point: &[u8],
    length: usize,
    curve: &str,
) -> Result<(), KeyError> {
    if point.len() != length || point.first() != Some(&4) {
        return Err(KeyError::Malformed(format!("not an uncompressed point of {curve}")));
    }
    match ParsedPublicKey::new(algorithm, point) {
        Ok(_) => Ok(()),
        Err(_) => Err(KeyError::Malformed(format!("the point does not lie on {curve}"))),
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    &number[zeros..]
}
